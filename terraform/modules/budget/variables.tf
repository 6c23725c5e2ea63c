variable "name" {
  description = "Prefix of the budget's name."
  type        = string
}

variable "monthly_usd" {
  description = "US dollars a month."
  type        = number
}

variable "alarm_topic_arn" {
  description = "SNS topic that gets the messages."
  type        = string
}
