# Certificates and records in an existing hosted zone.

locals {
  # Of both kinds, only those that were not given.
  make_data_certificate   = var.data_domain != null && var.existing_data_certificate_arn == null
  make_public_certificate = var.existing_public_certificate_arn == null
}

resource "aws_acm_certificate" "data" {
  count = local.make_data_certificate ? 1 : 0

  provider = aws.us_east_1

  domain_name       = var.data_domain
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

# One certificate for the broker's and the metrics service's load balancers.
resource "aws_acm_certificate" "public" {
  count = local.make_public_certificate ? 1 : 0

  domain_name               = var.broker_domain
  subject_alternative_names = [var.metrics_domain]
  validation_method         = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

locals {
  # The plan must know the keys: so they are the names, not what ACM answers.
  validated = concat(
    local.make_data_certificate ? [var.data_domain] : [],
    local.make_public_certificate ? [var.broker_domain, var.metrics_domain] : [],
  )
  validation_options = merge([
    for certificate in concat(aws_acm_certificate.data, aws_acm_certificate.public) : {
      for option in certificate.domain_validation_options : option.domain_name => option
    }
  ]...)
}

resource "aws_route53_record" "validation" {
  for_each = toset(local.validated)

  zone_id         = var.zone_id
  name            = local.validation_options[each.key].resource_record_name
  type            = local.validation_options[each.key].resource_record_type
  records         = [local.validation_options[each.key].resource_record_value]
  ttl             = 300
  allow_overwrite = true
}

resource "aws_acm_certificate_validation" "data" {
  count = local.make_data_certificate ? 1 : 0

  provider = aws.us_east_1

  certificate_arn         = aws_acm_certificate.data[0].arn
  validation_record_fqdns = [aws_route53_record.validation[var.data_domain].fqdn]
}

resource "aws_acm_certificate_validation" "public" {
  count = local.make_public_certificate ? 1 : 0

  certificate_arn = aws_acm_certificate.public[0].arn
  validation_record_fqdns = [
    aws_route53_record.validation[var.broker_domain].fqdn,
    aws_route53_record.validation[var.metrics_domain].fqdn,
  ]
}

resource "aws_route53_record" "data" {
  for_each = var.data_domain == null ? toset([]) : toset(["A", "AAAA"])

  zone_id = var.zone_id
  name    = var.data_domain
  type    = each.key

  alias {
    name                   = var.distribution_domain
    zone_id                = var.distribution_zone_id
    evaluate_target_health = false
  }
}

# The broker's addresses are fixed: plain A records, without the name of a load balancer.
resource "aws_route53_record" "broker" {
  #checkov:skip=CKV2_AWS_23:The addresses are our own elastic IPs, from modules/addresses.
  zone_id = var.zone_id
  name    = var.broker_domain
  type    = "A"
  ttl     = 300
  records = var.broker_ips
}

# Only if external-dns does not keep this record.
resource "aws_route53_record" "metrics" {
  #checkov:skip=CKV2_AWS_23:The load balancer is made by Kubernetes.
  count = var.metrics_load_balancer == null ? 0 : 1

  zone_id = var.zone_id
  name    = var.metrics_domain
  type    = "CNAME"
  ttl     = 300
  records = [var.metrics_load_balancer]
}
