variable "name" {
  description = "Name of the replication group, at most 40 characters."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "engine" {
  description = "`valkey-7.2`, `valkey-8.0` or `redis-7.1`."
  type        = string
}

variable "node_type" {
  description = "Node type, as in `cache.r7g.large`; its memory bounds how many items are known."
  type        = string
}

variable "node_count" {
  description = "Nodes (1 to 6): one primary and its replicas; from 2 on there is failover."
  type        = number
}

variable "snapshot_retention_days" {
  description = "Days (0 to 35) that nightly snapshots are kept; 0: none are made."
  type        = number
}

variable "maintenance_window" {
  description = "Weekly window in UTC, as in `tue:03:30-tue:04:30`."
  type        = string
}

variable "vpc_id" {
  description = "VPC of the registry."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the registry."
  type        = list(string)
}

variable "client_security_group_id" {
  description = "Security group that may connect."
  type        = string
}

variable "key_arn" {
  description = "KMS key that encrypts it at rest."
  type        = string
}

variable "secret_arn" {
  description = "Secret that holds the password."
  type        = string
}

variable "secret_version" {
  description = "Number of the password; a new number sets the password again."
  type        = number
}

variable "alarm_memory_percent" {
  description = "Memory in use, in percent (1 to 99), above which an alarm is raised."
  type        = number
}

variable "alarm_replication_lag_seconds" {
  description = "Seconds a replica may be behind."
  type        = number
}

variable "alarm_topic_arn" {
  description = "SNS topic that alarms go to."
  type        = string
}
