# The whole Global Cache on AWS, except what runs in Kubernetes: the chart makes that from the
# output helm_values.

locals {
  name     = "wis2-gc-${var.environment}"
  services = toset(["listener", "manager", "metrics"])

  makes_vpc    = var.existing_vpc_id == null
  makes_bucket = var.existing_bucket_name == null
  # CloudFront's alarm is in this region, and an alarm can only notify a topic of its own region.
  makes_us_east_1_topic = local.makes_bucket && var.region != "us-east-1"

  zones     = length(var.availability_zones) > 0 ? var.availability_zones : slice(sort(data.aws_availability_zones.all.names), 0, 3)
  nat_count = local.makes_vpc ? (var.one_nat_gateway ? 1 : 3) : 0

  vpc_id             = local.makes_vpc ? module.network[0].vpc_id : var.existing_vpc_id
  public_subnet_ids  = local.makes_vpc ? module.network[0].public_subnet_ids : var.existing_public_subnet_ids
  private_subnet_ids = local.makes_vpc ? module.network[0].private_subnet_ids : var.existing_private_subnet_ids
  registry_subnets   = local.makes_vpc ? module.network[0].isolated_subnet_ids : var.existing_private_subnet_ids
  registry_cidrs     = local.makes_vpc ? module.network[0].isolated_cidrs : distinct([for id in var.existing_private_subnet_ids : data.aws_subnet.existing[id].cidr_block])
  # EKS puts the Kubernetes API's own addresses into the cluster's subnets.
  cluster_cidrs = local.makes_vpc ? module.network[0].private_cidrs : local.registry_cidrs
  # The network load balancer is in these zones, and reaches pods only there.
  broker_zones = local.makes_vpc ? slice(local.zones, 0, var.broker_address_count) : [for id in slice(var.existing_public_subnet_ids, 0, var.broker_address_count) : data.aws_subnet.existing[id].availability_zone]
  # With interface endpoints, AWS answers from inside the VPC.
  endpoint_cidrs = local.makes_vpc && length(var.interface_endpoints) > 0 ? module.network[0].private_cidrs : []

  bucket_name   = local.makes_bucket ? module.store[0].bucket_name : var.existing_bucket_name
  bucket_arn    = local.makes_bucket ? module.store[0].bucket_arn : "arn:${local.partition}:s3:::${var.existing_bucket_name}"
  data_base_url = local.makes_bucket ? "https://${var.data_domain}" : var.existing_data_base_url

  partition = data.aws_partition.current.partition
  arn_tail  = "${var.region}:${var.account_id}"
}

data "aws_partition" "current" {}

# Chosen by name and not by state: a zone that fails must not lead to a plan that moves subnets.
data "aws_availability_zones" "all" {
  #checkov:skip=CKV_AWS_394:The first three by name; new zones sort behind them, and availability_zones pins them.
  all_availability_zones = true

  # No local zones.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

data "aws_route53_zone" "this" {
  name         = "${var.hosted_zone_name}."
  private_zone = false
}

data "aws_vpc" "existing" {
  count = local.makes_vpc ? 0 : 1

  id = var.existing_vpc_id

  lifecycle {
    # For a VPC that Terraform makes, the variable itself refuses it.
    postcondition {
      condition = (
        cidrhost("${cidrhost(var.service_cidr, 0)}/${min(split("/", var.service_cidr)[1], split("/", self.cidr_block)[1])}", 0) !=
        cidrhost("${cidrhost(self.cidr_block, 0)}/${min(split("/", var.service_cidr)[1], split("/", self.cidr_block)[1])}", 0)
      )
      error_message = "service_cidr ${var.service_cidr} must be a range apart from ${self.cidr_block} of ${self.id}."
    }
  }
}

data "aws_subnet" "existing" {
  for_each = toset(concat(var.existing_private_subnet_ids, var.existing_public_subnet_ids))

  id = each.key
}

module "key" {
  source = "../modules/key"

  name        = local.name
  description = "WIS2 Global Cache ${var.environment}: Kubernetes secrets, passwords, registry, logs, alarms"

  services = {
    Logs = {
      principal     = "logs.${var.region}.amazonaws.com"
      actions       = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
      condition_key = "kms:EncryptionContext:aws:logs:arn"
      condition_arn = "arn:${local.partition}:logs:${local.arn_tail}:log-group:*"
    }
    Alarms = {
      principal     = "cloudwatch.amazonaws.com"
      actions       = ["kms:Decrypt", "kms:GenerateDataKey"]
      condition_key = "aws:SourceArn"
      condition_arn = "arn:${local.partition}:cloudwatch:${local.arn_tail}:alarm:${local.name}-*"
    }
    Budgets = {
      principal     = "budgets.amazonaws.com"
      actions       = ["kms:Decrypt", "kms:GenerateDataKey"]
      condition_key = "aws:SourceArn"
      condition_arn = "arn:${local.partition}:budgets::${var.account_id}:*"
    }
  }
}

module "alarms" {
  source = "../modules/alarms"

  name       = local.name
  account_id = var.account_id
  key_arn    = module.key.arn
  emails     = var.alarm_emails
}

# A key belongs to one region, like a topic.
module "key_us_east_1" {
  source = "../modules/key"
  count  = local.makes_us_east_1_topic ? 1 : 0

  providers = { aws = aws.us_east_1 }

  name        = local.name
  description = "WIS2 Global Cache ${var.environment}: the alarm of CloudFront"

  services = {
    Alarms = {
      principal     = "cloudwatch.amazonaws.com"
      actions       = ["kms:Decrypt", "kms:GenerateDataKey"]
      condition_key = "aws:SourceArn"
      condition_arn = "arn:${local.partition}:cloudwatch:us-east-1:${var.account_id}:alarm:${local.name}-*"
    }
  }
}

module "alarms_us_east_1" {
  source = "../modules/alarms"
  count  = local.makes_us_east_1_topic ? 1 : 0

  providers = { aws = aws.us_east_1 }

  name       = local.name
  account_id = var.account_id
  key_arn    = module.key_us_east_1[0].arn
  emails     = var.alarm_emails
}

module "budget" {
  source = "../modules/budget"
  count  = var.budget_usd > 0 ? 1 : 0

  name            = local.name
  monthly_usd     = var.budget_usd
  alarm_topic_arn = module.alarms.topic_arn
}

module "nat_addresses" {
  source = "../modules/addresses"

  names                   = length(var.existing_nat_allocation_ids) > 0 ? [] : [for number in range(local.nat_count) : "${local.name}-egress-${number + 1}"]
  protected               = var.protect_addresses
  existing_allocation_ids = local.makes_vpc ? var.existing_nat_allocation_ids : []
}

module "broker_addresses" {
  source = "../modules/addresses"

  names                   = length(var.existing_broker_allocation_ids) > 0 ? [] : [for number in range(var.broker_address_count) : "${local.name}-broker-${number + 1}"]
  protected               = var.protect_addresses
  existing_allocation_ids = var.existing_broker_allocation_ids
}

module "balancer" {
  source = "../modules/balancer"

  name                   = local.name
  vpc_id                 = local.vpc_id
  subnet_ids             = slice(local.public_subnet_ids, 0, var.broker_address_count)
  allocation_ids         = module.broker_addresses.allocation_ids
  certificate_arn        = module.dns.public_certificate_arn
  pods_security_group_id = module.cluster.security_group_id
  has_accounts           = length(var.broker_accounts) > 0
}

module "network" {
  source = "../modules/network"
  count  = local.makes_vpc ? 1 : 0

  name                = local.name
  account_id          = var.account_id
  region              = var.region
  cidr                = var.vpc_cidr
  zones               = local.zones
  one_nat_gateway     = var.one_nat_gateway
  nat_allocation_ids  = module.nat_addresses.allocation_ids
  interface_endpoints = var.interface_endpoints
  log_retention_days  = var.log_retention_days
  log_key_arn         = module.key.arn
  alarm_topic_arn     = module.alarms.topic_arn
}

module "cluster" {
  source = "../modules/cluster"

  name                = local.name
  partition           = local.partition
  kubernetes_version  = var.kubernetes_version
  compute             = var.compute
  subnet_ids          = local.private_subnet_ids
  service_cidr        = var.service_cidr
  public_access_cidrs = var.cluster_public_access_cidrs
  admin_arns          = var.cluster_admin_arns
  viewer_arns         = var.cluster_viewer_arns
  namespace           = var.namespace
  node_instance_types = var.node_instance_types
  node_count_min      = var.node_count_min
  node_count_max      = var.node_count_max
  # This requires only the ARN of the cluster, so there is no cycle.
  volume_driver_role_arn = try(module.identity.add_ons["ebs-csi-driver"].role_arn, null)
  ship_pod_logs          = var.ship_pod_logs
  log_retention_days     = var.log_retention_days
  key_arn                = module.key.arn
}

module "queue" {
  source = "../modules/queue"

  name                          = local.name
  retention_seconds             = var.queue_retention_seconds
  dead_letter_retention_seconds = var.dead_letter_retention_seconds
  visibility_timeout_seconds    = var.queue_visibility_seconds
  max_receive_count             = var.queue_max_receive_count
  message_role_arns             = [for service in ["listener", "manager"] : module.identity.service_accounts[service].roleArn]
  alarm_dead_letters            = var.alarm_dead_letters
  alarm_oldest_message_seconds  = var.alarm_oldest_message_seconds
  alarm_topic_arn               = module.alarms.topic_arn
}

module "secrets" {
  source = "../modules/secrets"

  providers = {
    aws           = aws
    aws.passwords = aws.passwords
  }

  name             = local.name
  key_arn          = module.key.arn
  password_version = var.password_version
  recovery_days    = var.secret_recovery_days
  global_brokers   = var.global_brokers
  broker_accounts  = var.broker_accounts
}

module "registry" {
  source = "../modules/registry"

  name                          = local.name
  region                        = var.region
  engine                        = var.registry_engine
  node_type                     = var.registry_node_type
  node_count                    = var.registry_node_count
  snapshot_retention_days       = var.registry_snapshot_days
  maintenance_window            = var.registry_maintenance_window
  vpc_id                        = local.vpc_id
  subnet_ids                    = local.registry_subnets
  client_security_group_id      = module.cluster.security_group_id
  key_arn                       = module.key.arn
  secret_arn                    = module.secrets.registry_arn
  secret_version                = var.password_version
  alarm_memory_percent          = var.alarm_registry_memory_percent
  alarm_replication_lag_seconds = var.alarm_registry_lag_seconds
  alarm_topic_arn               = module.alarms.topic_arn
}

module "store" {
  source = "../modules/store"
  count  = local.makes_bucket ? 1 : 0

  providers = {
    aws           = aws
    aws.us_east_1 = aws.us_east_1
  }

  name = local.name
  # Bucket names are unique in the whole world; the account's number makes this one ours.
  bucket_name     = "${local.name}-data-${var.account_id}"
  domain          = var.data_domain
  certificate_arn = module.dns.data_certificate_arn
  expiration_days = var.store_expiration_days
  price_class     = var.store_price_class
  force_destroy   = var.disposable
  alarm_topic_arn = local.makes_us_east_1_topic ? module.alarms_us_east_1[0].topic_arn : module.alarms.topic_arn
}

module "dns" {
  source = "../modules/dns"

  providers = {
    aws           = aws
    aws.us_east_1 = aws.us_east_1
  }

  zone_id                         = data.aws_route53_zone.this.zone_id
  data_domain                     = local.makes_bucket ? var.data_domain : null
  broker_domain                   = var.broker_domain
  metrics_domain                  = var.metrics_domain
  existing_data_certificate_arn   = var.existing_data_certificate_arn
  existing_public_certificate_arn = var.existing_public_certificate_arn
  distribution_domain             = local.makes_bucket ? module.store[0].distribution_domain : null
  distribution_zone_id            = local.makes_bucket ? module.store[0].distribution_zone_id : null
  broker_ips                      = module.broker_addresses.public_ips
  metrics_load_balancer           = var.metrics_load_balancer
}

module "images" {
  source = "../modules/images"

  name         = local.name
  services     = local.services
  kept_images  = var.kept_images
  force_delete = var.disposable
}

module "identity" {
  source = "../modules/identity"

  name                   = local.name
  partition              = local.partition
  region                 = var.region
  account_id             = var.account_id
  vpc_id                 = local.vpc_id
  cluster_name           = module.cluster.name
  cluster_arn            = module.cluster.arn
  compute                = var.compute
  namespace              = var.namespace
  service_account_prefix = var.service_account_prefix
  queue_arn              = module.queue.arn
  dead_letter_queue_arn  = module.queue.dead_letter_arn
  bucket_arn             = local.bucket_arn
  bucket_key_arn         = var.existing_bucket_key_arn
  object_prefix          = var.existing_bucket_prefix == "" ? "" : "${var.existing_bucket_prefix}/"
  secret_arns            = values(module.secrets.arns)
  secrets_key_arn        = module.key.arn
  alarm_topic_arn        = module.alarms.topic_arn
  alarm_key_arn          = module.key.arn
  hosted_zone_arn        = data.aws_route53_zone.this.arn
  metrics_domain         = var.metrics_domain
  ship_pod_logs          = var.ship_pod_logs
}
