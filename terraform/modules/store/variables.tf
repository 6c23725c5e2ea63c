variable "name" {
  description = "Prefix of every name."
  type        = string
}

variable "bucket_name" {
  description = "Name of the bucket, unique in the world."
  type        = string
}

variable "domain" {
  description = "Public name under which the objects are served."
  type        = string
}

variable "certificate_arn" {
  description = "Certificate for that name, in us-east-1."
  type        = string
}

variable "expiration_days" {
  description = "Days (1 to 31) after which an object is deleted, at the next midnight UTC."
  type        = number
}

variable "price_class" {
  description = "CloudFront price class: `PriceClass_100`, `PriceClass_200` or `PriceClass_All`."
  type        = string
}

variable "force_destroy" {
  description = "Whether destroying the bucket deletes what is in it."
  type        = bool
}

variable "alarm_topic_arn" {
  description = "SNS topic in us-east-1 that gets the alarms about CloudFront's errors."
  type        = string
}
