locals {
  made = merge(aws_eip.protected, aws_eip.disposable)
}

output "allocation_ids" {
  description = "Allocation ids, in the order of their names (or as given)."
  value       = tolist(concat([for name in sort(keys(local.made)) : local.made[name].id], var.existing_allocation_ids))
}

output "public_ips" {
  description = "The IPv4 addresses, in the same order."
  value = tolist(concat(
    [for name in sort(keys(local.made)) : local.made[name].public_ip],
    data.aws_eip.existing[*].public_ip,
  ))
}
