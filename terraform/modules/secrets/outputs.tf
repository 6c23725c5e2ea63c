output "names" {
  description = "Names of the secrets: registry (JSON: password), broker (publisherPassword, dashboardPassword), deployment (secret), accounts/{name} (password), global-brokers/{name} (url, the operator's to fill)."
  value       = { for key, secret in aws_secretsmanager_secret.this : key => secret.name }
}

output "arns" {
  description = "ARNs of the secrets, by the same keys."
  value       = { for key, secret in aws_secretsmanager_secret.this : key => secret.arn }
}

output "registry_arn" {
  description = "ARN of the registry's secret, known when its password is there."
  value       = aws_secretsmanager_secret_version.generated["registry"].arn
}
