variable "name" {
  description = "First part of the secrets' names."
  type        = string
}

variable "key_arn" {
  description = "KMS key of the secrets."
  type        = string
}

variable "password_version" {
  description = "A higher number (from 1) makes new passwords."
  type        = number
}

variable "recovery_days" {
  description = "Days (7 to 30; 0: none) in which a deleted secret can be restored."
  type        = number
}

variable "global_brokers" {
  description = "Short names of the Global Brokers whose URL with login is stored in a secret."
  type        = set(string)
}

variable "broker_accounts" {
  description = "Names of the accounts that Global Brokers have on our broker: a password each."
  type        = set(string)
}
