# Elastic IPs that WIS2 Nodes and Global Brokers admit by number (wis2-rules.md 25). If one is lost, you
# must write to every centre, so no plan can destroy the protected ones. `prevent_destroy`
# takes no variable: therefore there are two resources, and one of them stays empty.

resource "aws_eip" "protected" {
  #checkov:skip=CKV2_AWS_19:Not for an instance. NAT gateways take them in modules/network, the load balancer by its annotation.
  for_each = var.protected ? var.names : toset([])

  domain = "vpc"
  tags   = { Name = each.key }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_eip" "disposable" {
  #checkov:skip=CKV2_AWS_19:Not for an instance. NAT gateways take them in modules/network, the load balancer by its annotation.
  for_each = var.protected ? toset([]) : var.names

  domain = "vpc"
  tags   = { Name = each.key }
}

# Addresses that the centre already holds; they survive even this configuration.
data "aws_eip" "existing" {
  count = length(var.existing_allocation_ids)

  id = var.existing_allocation_ids[count.index]
}
