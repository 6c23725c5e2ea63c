variable "name" {
  description = "Prefix of the names, and the cluster whose pods are behind it."
  type        = string
}

variable "vpc_id" {
  description = "VPC of the cluster."
  type        = string
}

variable "subnet_ids" {
  description = "Public subnets, one in each zone."
  type        = list(string)
}

variable "allocation_ids" {
  description = "Of each subnet: the elastic IP that clients know."
  type        = list(string)
}

variable "certificate_arn" {
  description = "Certificate that TLS ends with."
  type        = string
}

variable "pods_security_group_id" {
  description = "Security group of nodes and pods."
  type        = string
}

variable "has_accounts" {
  description = "Whether Global Brokers have accounts, and with them a port of their own."
  type        = bool
}
