output "repository_urls" {
  description = "Of each service: where its image is pushed to."
  value       = { for service, repository in aws_ecr_repository.this : service => repository.repository_url }
}
