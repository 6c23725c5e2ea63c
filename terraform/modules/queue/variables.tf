variable "name" {
  description = "Prefix of the queues' names."
  type        = string
}

variable "retention_seconds" {
  description = "Seconds a notification waits at most (60 to 1209600)."
  type        = number
}

variable "dead_letter_retention_seconds" {
  description = "Seconds a dead letter is kept (60 to 1209600)."
  type        = number
}

variable "visibility_timeout_seconds" {
  description = "Seconds after which the work of a dead manager is handed to another (0 to 43200)."
  type        = number
}

variable "max_receive_count" {
  description = "Deliveries after which a message is a dead letter (1 to 1000)."
  type        = number
}

variable "message_role_arns" {
  description = "The only IAM roles that may send, receive and delete."
  type        = list(string)
}

variable "alarm_dead_letters" {
  description = "Dead letters above which an alarm is raised."
  type        = number
}

variable "alarm_oldest_message_seconds" {
  description = "Age in seconds of the oldest message above which an alarm is raised, after five minutes."
  type        = number
}

variable "alarm_topic_arn" {
  description = "SNS topic that alarms go to."
  type        = string
}
