variable "name" {
  description = "Prefix of the topic's name."
  type        = string
}

variable "account_id" {
  description = "AWS account, 12 digits."
  type        = string
}

variable "key_arn" {
  description = "KMS key of the topic."
  type        = string
}

variable "emails" {
  description = "Addresses that get every alarm; each must confirm once."
  type        = set(string)
}
