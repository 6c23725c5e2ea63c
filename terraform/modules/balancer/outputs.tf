output "target_group_arns" {
  description = "Of each of the broker's ports: the target group that its pods belong into."
  value       = { for name, group in aws_lb_target_group.this : name => group.arn }
}

output "addresses" {
  description = "Of each subnet: the allocation id of the address there."
  value       = tomap({ for mapping in aws_lb.this.subnet_mapping : mapping.subnet_id => mapping.allocation_id })
}
