variable "name" {
  description = "Prefix of every name, as in `wis2-gc-prod`."
  type        = string
}

variable "account_id" {
  description = "AWS account, 12 digits."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "cidr" {
  description = "IPv4 range of the VPC, /16 to /20."
  type        = string
}

variable "zones" {
  description = "The three availability zones."
  type        = list(string)
}

variable "one_nat_gateway" {
  description = "One NAT gateway for all zones (cheap), instead of one for each (survives a zone)."
  type        = bool
}

variable "nat_allocation_ids" {
  description = "Elastic IPs of the NAT gateways: one, or one for each zone."
  type        = list(string)
}

variable "interface_endpoints" {
  description = "AWS services reached by interface endpoints instead of NAT, as in `sqs`, `ecr.api`."
  type        = set(string)
}

variable "log_retention_days" {
  description = "Days that flow logs are kept."
  type        = number
}

variable "log_key_arn" {
  description = "KMS key of the flow logs."
  type        = string
}

variable "alarm_topic_arn" {
  description = "SNS topic that alarms go to."
  type        = string
}
