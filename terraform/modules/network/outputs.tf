output "vpc_id" {
  description = "Id of the VPC."
  value       = aws_vpc.this.id
}

output "public_subnet_ids" {
  description = "Public subnets, in the order of the zones."
  value       = [for zone in var.zones : aws_subnet.public[zone].id]

  # A load balancer with public addresses is made after the gateway, and removed before it.
  depends_on = [aws_route.public_internet]
}

output "private_subnet_ids" {
  description = "Private subnets, in the order of the zones."
  value       = [for zone in var.zones : aws_subnet.private[zone].id]
}

output "isolated_subnet_ids" {
  description = "Subnets without a way to the internet, in the order of the zones."
  value       = [for zone in var.zones : aws_subnet.isolated[zone].id]
}

output "private_cidrs" {
  description = "IPv4 ranges of the private subnets, where interface endpoints answer too."
  value       = [for zone in var.zones : aws_subnet.private[zone].cidr_block]
}

output "isolated_cidrs" {
  description = "IPv4 ranges of the isolated subnets."
  value       = [for zone in var.zones : aws_subnet.isolated[zone].cidr_block]
}
