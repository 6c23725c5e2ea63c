variable "name" {
  description = "Name of the cluster."
  type        = string
}

variable "partition" {
  description = "AWS partition, `aws` but for China and GovCloud."
  type        = string
}

variable "kubernetes_version" {
  description = "Kubernetes version, as in `1.35`."
  type        = string
}

variable "compute" {
  description = "`auto` (EKS Auto Mode) or `node_groups`."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of nodes and pods, in at least two zones."
  type        = list(string)
}

variable "service_cidr" {
  description = "IPv4 range of Kubernetes' Services."
  type        = string
}

variable "public_access_cidrs" {
  description = "IPv4 ranges that may reach the API endpoint from the internet; empty: private only."
  type        = list(string)
}

variable "admin_arns" {
  description = "IAM roles and users that administer the cluster."
  type        = set(string)
}

variable "viewer_arns" {
  description = "IAM roles and users that may look at the cache's namespace."
  type        = set(string)
}

variable "namespace" {
  description = "Kubernetes namespace of the cache."
  type        = string
}

variable "node_instance_types" {
  description = "x86-64 instance types of the node group."
  type        = list(string)
}

variable "node_count_min" {
  description = "Nodes at least, and at first; shared out over the subnets, and rounded up in each."
  type        = number
}

variable "node_count_max" {
  description = "Nodes at most; shared out in the same way."
  type        = number
}

variable "volume_driver_role_arn" {
  description = "With node groups: IAM role of the EBS CSI driver."
  type        = string
}

variable "ship_pod_logs" {
  description = "Whether there is a log group for the pods' logs."
  type        = bool
  default     = false
}

variable "log_retention_days" {
  description = "Days that logs of control plane and pods are kept."
  type        = number
}

variable "key_arn" {
  description = "KMS key of Kubernetes secrets and of the control plane logs."
  type        = string
}
