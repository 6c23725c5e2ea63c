variable "name" {
  description = "Alias of the key, without `alias/`."
  type        = string
}

variable "description" {
  description = "What the key encrypts."
  type        = string
}

variable "deletion_window_days" {
  description = "Days (7 to 30) between the order to delete the key and its end."
  type        = number
  default     = 30
}

variable "services" {
  description = "AWS services that use the key by themselves, by statement id: principal, actions, and the condition (key, ARN pattern) that ties the use to our own resources."
  type = map(object({
    principal     = string
    actions       = list(string)
    condition_key = string
    condition_arn = string
  }))
  default = {}
}
