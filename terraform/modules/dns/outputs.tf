output "data_certificate_arn" {
  description = "Certificate of the data's name, once it is valid; null when the data are served elsewhere."
  value       = try(coalesce(var.existing_data_certificate_arn, try(aws_acm_certificate_validation.data[0].certificate_arn, null)), null)
}

output "public_certificate_arn" {
  description = "Certificate of the broker's and the metrics service's names, once it is valid."
  value       = local.make_public_certificate ? aws_acm_certificate_validation.public[0].certificate_arn : var.existing_public_certificate_arn
}
