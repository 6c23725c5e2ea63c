# A repository for each service. Tags never move, so a release never changes; the chart uses digests.

resource "aws_ecr_repository" "this" {
  #checkov:skip=CKV_AWS_136:Encrypted with AES256; the code is public.
  for_each = var.services

  name                 = "${var.name}/wis2-gc-${each.key}"
  image_tag_mutability = "IMMUTABLE"
  force_delete         = var.force_delete

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "AES256"
  }
}

resource "aws_ecr_lifecycle_policy" "this" {
  for_each = aws_ecr_repository.this

  repository = each.value.name

  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "Untagged images are of no release"
        selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 1 }
        action       = { type = "expire" }
      },
      {
        rulePriority = 2
        # Only tagged ones: each is an index. What it refers to (an image, its bill of materials) has no
        # tag, and would count too; ECR keeps it as long as it keeps the index.
        description = "Enough releases to roll back to"
        selection   = { tagStatus = "tagged", tagPatternList = ["*"], countType = "imageCountMoreThan", countNumber = var.kept_images }
        action      = { type = "expire" }
      },
    ]
  })
}
