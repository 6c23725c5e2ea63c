# The registry (architecture.md#registry): one primary and its replicas, TLS, a user with a password.

locals {
  engine = split("-", var.engine)[0]
  family = { "valkey-7.2" = "valkey7", "valkey-8.0" = "valkey8", "redis-7.1" = "redis7" }[var.engine]
  nodes  = { for number in range(1, var.node_count + 1) : format("%03d", number) => format("%s-%03d", var.name, number) }
}

resource "aws_elasticache_replication_group" "this" {
  #checkov:skip=CKV2_AWS_50:It is on with two or more nodes; dev has one (node_count).
  #checkov:skip=CKV_AWS_31:Authentication is by the user group; auth_token would put the password into the state.
  replication_group_id = var.name
  description          = "Registry of the WIS2 Global Cache ${var.name}"

  engine               = local.engine
  engine_version       = split("-", var.engine)[1]
  parameter_group_name = aws_elasticache_parameter_group.this.name
  node_type            = var.node_type
  port                 = 6379

  num_cache_clusters         = var.node_count
  automatic_failover_enabled = var.node_count > 1
  multi_az_enabled           = var.node_count > 1

  subnet_group_name  = aws_elasticache_subnet_group.this.name
  security_group_ids = [aws_security_group.this.id]

  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  at_rest_encryption_enabled = true
  kms_key_id                 = var.key_arn
  user_group_ids             = [aws_elasticache_user_group.this.user_group_id]

  snapshot_retention_limit   = var.snapshot_retention_days
  snapshot_window            = "02:00-03:00"
  maintenance_window         = var.maintenance_window
  auto_minor_version_upgrade = true
  # A restart of the primary must wait for the maintenance window.
  apply_immediately = false
}

resource "aws_elasticache_parameter_group" "this" {
  name        = "${var.name}-${local.family}"
  family      = local.family
  description = "Nothing is evicted: an evicted record would be an item forgotten in silence"

  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }

  # Records stay listpacks. Their size (docs/costs.md) was measured with these values, so they do not
  # depend on the defaults of the family.
  parameter {
    name  = "hash-max-listpack-entries"
    value = "128"
  }

  parameter {
    name  = "hash-max-listpack-value"
    value = "64"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_elasticache_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

resource "aws_security_group" "this" {
  name        = "${var.name}-registry"
  description = "Redis protocol from the cluster's nodes and pods"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-registry" }
}

resource "aws_vpc_security_group_ingress_rule" "cluster" {
  security_group_id            = aws_security_group.this.id
  description                  = "Redis over TLS from the cluster"
  referenced_security_group_id = var.client_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
}
