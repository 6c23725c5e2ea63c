output "name" {
  description = "Name of the cluster; what uses it waits for the whole cluster."
  value       = aws_eks_cluster.this.name
}

output "arn" {
  description = "ARN of the cluster."
  value       = aws_eks_cluster.this.arn
}

output "security_group_id" {
  description = "Security group that EKS puts on nodes and control plane."
  value       = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
}

output "api_address" {
  description = "Address of the Kubernetes API as a Service: always the first of the Services' range."
  value       = cidrhost(var.service_cidr, 1)
}

output "dns_address" {
  description = "Address of the cluster's DNS: EKS takes the tenth of the Services' range."
  value       = cidrhost(var.service_cidr, 10)
}

output "pod_log_group" {
  description = "Log group of the pods' logs; empty: there is none."
  value       = one(aws_cloudwatch_log_group.pods[*].name) == null ? "" : one(aws_cloudwatch_log_group.pods[*].name)
}
