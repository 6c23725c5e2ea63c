output "bucket" {
  description = "Name of the state bucket."
  value       = aws_s3_bucket.state.bucket
}

output "backend_arguments" {
  description = "Options of `terraform init` for ../main, in addition to -backend-config=key={environment}.tfstate."
  value = [
    "-backend-config=bucket=${aws_s3_bucket.state.bucket}",
    "-backend-config=region=${var.region}",
  ]
}
