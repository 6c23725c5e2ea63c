variable "zone_id" {
  description = "Hosted zone of all names."
  type        = string
}

variable "data_domain" {
  description = "Public name of the data; null: served elsewhere."
  type        = string
}

variable "broker_domain" {
  description = "Public name of the broker."
  type        = string
}

variable "metrics_domain" {
  description = "Public name of the metrics service."
  type        = string
}

variable "existing_data_certificate_arn" {
  description = "Certificate of the data's name, in us-east-1, to use instead of making one."
  type        = string
}

variable "existing_public_certificate_arn" {
  description = "Certificate of the broker's and the metrics service's names to use instead of making one."
  type        = string
}

variable "distribution_domain" {
  description = "CloudFront's own name of the distribution; null when there is none."
  type        = string
}

variable "distribution_zone_id" {
  description = "Hosted zone of that name; null when there is none."
  type        = string
}

variable "broker_ips" {
  description = "IPv4 addresses of the broker."
  type        = list(string)
}

variable "metrics_load_balancer" {
  description = "Name of the metrics service's load balancer; null: external-dns keeps the record."
  type        = string
}
