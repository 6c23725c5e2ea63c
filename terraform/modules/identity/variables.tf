variable "name" {
  description = "Prefix of the roles' names."
  type        = string
}

variable "partition" {
  description = "AWS partition, `aws` but for China and GovCloud."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "account_id" {
  description = "AWS account, 12 digits."
  type        = string
}

variable "vpc_id" {
  description = "VPC in which load balancers are made."
  type        = string
}

variable "cluster_name" {
  description = "Name of the EKS cluster."
  type        = string
}

variable "cluster_arn" {
  description = "ARN of the EKS cluster."
  type        = string
}

variable "compute" {
  description = "`auto` or `node_groups`."
  type        = string
}

variable "namespace" {
  description = "Kubernetes namespace of the cache."
  type        = string
}

variable "service_account_prefix" {
  description = "What the chart puts before `-listener`, `-manager`, `-metrics` in the names of its service accounts."
  type        = string
}

variable "queue_arn" {
  description = "ARN of the queue."
  type        = string
}

variable "dead_letter_queue_arn" {
  description = "ARN of the dead letter queue."
  type        = string
}

variable "bucket_arn" {
  description = "ARN of the bucket."
  type        = string
}

variable "bucket_key_arn" {
  description = "KMS key of a bucket that is encrypted with one; null: it is not."
  type        = string
}

variable "object_prefix" {
  description = "Empty, or the prefix of all our keys with a slash at its end."
  type        = string
}

variable "secret_arns" {
  description = "Secrets that External Secrets may read."
  type        = list(string)
}

variable "secrets_key_arn" {
  description = "KMS key of these secrets."
  type        = string
}

variable "alarm_topic_arn" {
  description = "SNS topic of all alarms."
  type        = string
}

variable "alarm_key_arn" {
  description = "KMS key of this topic."
  type        = string
}

variable "hosted_zone_arn" {
  description = "ARN of the hosted zone."
  type        = string
}

variable "metrics_domain" {
  description = "Public name of the metrics service."
  type        = string
}

variable "ship_pod_logs" {
  description = "Whether Fluent Bit puts the pods' logs into the log group /wis2-gc/{name}/pods."
  type        = bool
  default     = false
}
