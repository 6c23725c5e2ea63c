# terraform test -filter=tests/modules.tftest.hcl
#
# What matters in each module, looked at from inside.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

mock_provider "aws" {
  alias           = "us_east_1"
  source          = "./tests/mocks"
  override_during = plan
}

run "a_store_is_private_short_lived_and_served_over_tls" {
  command = plan

  module {
    source = "../modules/store"
  }

  variables {
    name            = "wis2-gc-test"
    bucket_name     = "wis2-gc-test-data"
    domain          = "data.example.org"
    certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/mocked"
    expiration_days = 1
    price_class     = "PriceClass_100"
    force_destroy   = false
    alarm_topic_arn = "arn:aws:sns:us-east-1:123456789012:mocked"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.errors.alarm_actions == toset(["arn:aws:sns:us-east-1:123456789012:mocked"]) && aws_cloudwatch_metric_alarm.errors.ok_actions == aws_cloudwatch_metric_alarm.errors.alarm_actions
    error_message = "Errors of CloudFront must raise an alarm, and its end be told"
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls,
      aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls,
      aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "The bucket could become public"
  }

  assert {
    condition     = aws_s3_bucket_ownership_controls.this.rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "ACLs must mean nothing"
  }

  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"
    error_message = "The bucket must be encrypted"
  }

  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Disabled"
    error_message = "Expired must mean gone"
  }

  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.this.rule[0].expiration[0].days == 1 && aws_s3_bucket_lifecycle_configuration.this.rule[0].abort_incomplete_multipart_upload[0].days_after_initiation == 1
    error_message = "Objects and unfinished uploads expire after a day"
  }

  assert {
    condition = anytrue([
      for statement in jsondecode(aws_s3_bucket_policy.this.policy).Statement :
      statement.Effect == "Deny" && statement.Principal == "*" && try(statement.Condition.Bool["aws:SecureTransport"], "") == "false"
    ])
    error_message = "What is not TLS must be denied to everybody"
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_s3_bucket_policy.this.policy).Statement :
      statement.Effect == "Deny" || (
        try(statement.Principal.Service, "") == "cloudfront.amazonaws.com" &&
        try(statement.Condition.StringEquals["AWS:SourceArn"], "") == aws_cloudfront_distribution.this.arn
      )
    ])
    error_message = "Only our own distribution may read the bucket"
  }

  assert {
    condition     = one(aws_cloudfront_distribution.this.viewer_certificate).minimum_protocol_version == "TLSv1.2_2021" && one(aws_cloudfront_distribution.this.default_cache_behavior).viewer_protocol_policy == "redirect-to-https"
    error_message = "Data are served over TLS 1.2 and later only"
  }

  assert {
    condition     = aws_cloudfront_distribution.this.http_version == "http2" && aws_cloudfront_distribution.this.aliases == toset(["data.example.org"])
    error_message = "HTTP/2 under our own name"
  }

  assert {
    condition     = one(aws_cloudfront_distribution.this.default_cache_behavior).compress == false
    error_message = "The bytes that were announced are the bytes that are served"
  }

  assert {
    condition     = aws_cloudfront_response_headers_policy.this.security_headers_config[0].content_type_options[0].override && startswith(aws_cloudfront_response_headers_policy.this.security_headers_config[0].content_security_policy[0].content_security_policy, "sandbox")
    error_message = "A browser must run nothing of the data"
  }

  assert {
    condition     = aws_cloudfront_origin_access_control.this.signing_behavior == "always"
    error_message = "CloudFront must sign what it asks the bucket"
  }
}

run "a_queue_is_encrypted_for_our_roles_only_and_watched" {
  command = plan

  module {
    source = "../modules/queue"
  }

  variables {
    name                          = "wis2-gc-test"
    retention_seconds             = 86400
    dead_letter_retention_seconds = 1209600
    visibility_timeout_seconds    = 120
    max_receive_count             = 8
    message_role_arns             = ["arn:aws:iam::123456789012:role/listener", "arn:aws:iam::123456789012:role/manager"]
    alarm_dead_letters            = 0
    alarm_oldest_message_seconds  = 300
    alarm_topic_arn               = "arn:aws:sns:eu-west-3:123456789012:mocked"
  }

  assert {
    condition     = aws_sqs_queue.notifications.sqs_managed_sse_enabled && aws_sqs_queue.dead_letters.sqs_managed_sse_enabled
    error_message = "Both queues must be encrypted"
  }

  assert {
    condition     = aws_sqs_queue.notifications.redrive_policy == jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead_letters.arn, maxReceiveCount = 8 })
    error_message = "The queue has no dead letters"
  }

  assert {
    condition     = aws_sqs_queue_redrive_allow_policy.dead_letters.redrive_allow_policy == jsonencode({ redrivePermission = "byQueue", sourceQueueArns = [aws_sqs_queue.notifications.arn] })
    error_message = "The dead letters are of our queue only"
  }

  assert {
    condition     = aws_sqs_queue.notifications.visibility_timeout_seconds == 120 && aws_sqs_queue.notifications.message_retention_seconds == 86400 && aws_sqs_queue.dead_letters.message_retention_seconds == 1209600
    error_message = "Times are those of architecture.md#queue"
  }

  assert {
    condition = alltrue([
      for policy in aws_sqs_queue_policy.this : length([
        for statement in jsondecode(policy.policy).Statement : statement
        if statement.Effect == "Deny" && try(statement.Condition.Bool["aws:SecureTransport"], "") == "false"
      ]) == 1
    ])
    error_message = "What is not TLS must be denied on both queues"
  }

  assert {
    condition = alltrue([
      for policy in aws_sqs_queue_policy.this : anytrue([
        for statement in jsondecode(policy.policy).Statement :
        toset(try(statement.Condition.ArnNotEquals["aws:PrincipalArn"], [])) == toset(var.message_role_arns) &&
        contains(flatten([statement.Action]), "sqs:SendMessage") && contains(flatten([statement.Action]), "sqs:ReceiveMessage")
      ])
    ])
    error_message = "Only the roles of the services may touch messages"
  }

  assert {
    condition     = alltrue([for policy in aws_sqs_queue_policy.this : alltrue([for statement in jsondecode(policy.policy).Statement : statement.Effect == "Deny"])])
    error_message = "The queue policies grant nothing"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.dead_letters.threshold == 0 && contains(aws_cloudwatch_metric_alarm.dead_letters.alarm_actions, "arn:aws:sns:eu-west-3:123456789012:mocked") && contains(aws_cloudwatch_metric_alarm.oldest_message.alarm_actions, "arn:aws:sns:eu-west-3:123456789012:mocked")
    error_message = "Dead letters and old messages must raise alarms"
  }
}

run "a_registry_fails_over_forgets_nothing_and_knows_no_stranger" {
  command = plan

  module {
    source = "../modules/registry"
  }

  variables {
    name                          = "wis2-gc-test"
    region                        = "eu-west-3"
    engine                        = "valkey-7.2"
    node_type                     = "cache.r7g.large"
    node_count                    = 2
    snapshot_retention_days       = 1
    maintenance_window            = "tue:03:30-tue:04:30"
    vpc_id                        = "vpc-0123456789abcdef0"
    subnet_ids                    = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
    client_security_group_id      = "sg-0cccccccccccccccc"
    key_arn                       = "arn:aws:kms:eu-west-3:123456789012:key/11111111-2222-3333-4444-555555555555"
    secret_arn                    = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:registry"
    secret_version                = 1
    alarm_memory_percent          = 70
    alarm_replication_lag_seconds = 10
    alarm_topic_arn               = "arn:aws:sns:eu-west-3:123456789012:mocked"
  }

  assert {
    condition     = tobool(aws_elasticache_replication_group.this.at_rest_encryption_enabled) && aws_elasticache_replication_group.this.transit_encryption_enabled && aws_elasticache_replication_group.this.transit_encryption_mode == "required"
    error_message = "The registry must be encrypted, on disk and on the wire"
  }

  assert {
    condition     = aws_elasticache_replication_group.this.automatic_failover_enabled && aws_elasticache_replication_group.this.multi_az_enabled
    error_message = "The registry must survive a zone"
  }

  assert {
    condition     = contains([for parameter in aws_elasticache_parameter_group.this.parameter : "${parameter.name}=${parameter.value}"], "maxmemory-policy=noeviction")
    error_message = "Eviction would silently forget"
  }

  assert {
    condition     = aws_elasticache_parameter_group.this.family == "valkey7" && aws_elasticache_replication_group.this.engine == "valkey" && aws_elasticache_replication_group.this.engine_version == "7.2"
    error_message = "Engine and parameter family do not fit"
  }

  assert {
    condition     = aws_elasticache_replication_group.this.auth_token == null && aws_elasticache_user.cache.passwords == null && one(aws_elasticache_user.cache.authentication_mode).passwords == null
    error_message = "A password would lie in the state"
  }

  assert {
    condition     = startswith(aws_elasticache_user.default.access_string, "off ") && one(aws_elasticache_user.cache.authentication_mode).type == "iam"
    error_message = "Before its password is set, nobody may log in"
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.cluster.referenced_security_group_id == "sg-0cccccccccccccccc" && aws_vpc_security_group_ingress_rule.cluster.cidr_ipv4 == null
    error_message = "Only the cluster may connect"
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.node) == 8 && alltrue([for alarm in aws_cloudwatch_metric_alarm.node : contains(alarm.alarm_actions, "arn:aws:sns:eu-west-3:123456789012:mocked")])
    error_message = "Memory, evictions, lag and CPU of each node must raise alarms"
  }
}

run "a_registry_of_one_node_has_no_failover" {
  command = plan

  module {
    source = "../modules/registry"
  }

  variables {
    name                          = "wis2-gc-test"
    region                        = "eu-west-3"
    engine                        = "redis-7.1"
    node_type                     = "cache.r7g.large"
    node_count                    = 1
    snapshot_retention_days       = 1
    maintenance_window            = "tue:03:30-tue:04:30"
    vpc_id                        = "vpc-0123456789abcdef0"
    subnet_ids                    = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
    client_security_group_id      = "sg-0cccccccccccccccc"
    key_arn                       = "arn:aws:kms:eu-west-3:123456789012:key/11111111-2222-3333-4444-555555555555"
    secret_arn                    = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:registry"
    secret_version                = 1
    alarm_memory_percent          = 70
    alarm_replication_lag_seconds = 10
    alarm_topic_arn               = "arn:aws:sns:eu-west-3:123456789012:mocked"
  }

  assert {
    condition     = aws_elasticache_replication_group.this.automatic_failover_enabled == false && aws_elasticache_replication_group.this.multi_az_enabled == false
    error_message = "AWS refuses failover with one node"
  }

  assert {
    condition     = aws_elasticache_parameter_group.this.family == "redis7"
    error_message = "Engine and parameter family do not fit"
  }
}

run "a_network_has_a_nat_gateway_in_each_zone" {
  command = plan

  module {
    source = "../modules/network"
  }

  variables {
    name                = "wis2-gc-test"
    account_id          = "123456789012"
    region              = "eu-west-3"
    cidr                = "10.64.0.0/16"
    zones               = ["eu-west-3a", "eu-west-3b", "eu-west-3c"]
    one_nat_gateway     = false
    nat_allocation_ids  = ["eipalloc-01", "eipalloc-02", "eipalloc-03"]
    interface_endpoints = ["sqs"]
    log_retention_days  = 7
    log_key_arn         = "arn:aws:kms:eu-west-3:123456789012:key/11111111-2222-3333-4444-555555555555"
    alarm_topic_arn     = "arn:aws:sns:eu-west-3:123456789012:mocked"
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 3 && toset([for gateway in aws_nat_gateway.this : gateway.allocation_id]) == toset(var.nat_allocation_ids)
    error_message = "Each zone requires its own NAT gateway and address"
  }

  assert {
    condition     = length(distinct(concat([for subnet in aws_subnet.private : subnet.cidr_block], [for subnet in aws_subnet.public : subnet.cidr_block], [for subnet in aws_subnet.isolated : subnet.cidr_block]))) == 9
    error_message = "Nine subnets"
  }

  assert {
    condition     = toset([for subnet in aws_subnet.private : subnet.cidr_block]) == toset(["10.64.0.0/19", "10.64.32.0/19", "10.64.64.0/19"])
    error_message = "Private subnets hold 8190 pods each"
  }

  assert {
    condition     = alltrue([for subnet in aws_subnet.public : subnet.map_public_ip_on_launch == false])
    error_message = "Nothing gets a public address by itself"
  }

  assert {
    condition     = aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway" && toset(keys(aws_vpc_endpoint.interface)) == toset(["sqs"]) && aws_vpc_endpoint.interface["sqs"].private_dns_enabled
    error_message = "S3 by its gateway, SQS by its endpoint"
  }

  assert {
    condition     = length(aws_default_security_group.this.ingress) == 0 && length(aws_default_security_group.this.egress) == 0
    error_message = "The default security group must let nothing through"
  }
}

run "a_small_network_has_one_nat_gateway" {
  command = plan

  module {
    source = "../modules/network"
  }

  variables {
    name                = "wis2-gc-test"
    account_id          = "123456789012"
    region              = "eu-west-3"
    cidr                = "10.64.0.0/16"
    zones               = ["eu-west-3a", "eu-west-3b", "eu-west-3c"]
    one_nat_gateway     = true
    nat_allocation_ids  = ["eipalloc-01"]
    interface_endpoints = ["sqs"]
    log_retention_days  = 7
    log_key_arn         = "arn:aws:kms:eu-west-3:123456789012:key/11111111-2222-3333-4444-555555555555"
    alarm_topic_arn     = "arn:aws:sns:eu-west-3:123456789012:mocked"
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 1 && length(aws_route.private_internet) == 3
    error_message = "All zones go through one NAT gateway"
  }
}

run "addresses_are_protected" {
  command = plan

  module {
    source = "../modules/addresses"
  }

  variables {
    names     = ["a-1", "a-2", "a-3"]
    protected = true
  }

  assert {
    condition     = length(aws_eip.protected) == 3 && length(aws_eip.disposable) == 0
    error_message = "Addresses must be protected"
  }

  assert {
    condition     = length(output.allocation_ids) == 3
    error_message = "Every address gets the alarms"
  }
}

run "addresses_are_disposable" {
  command = plan

  module {
    source = "../modules/addresses"
  }

  variables {
    names     = ["a-1", "a-2", "a-3"]
    protected = false
  }

  assert {
    condition     = length(aws_eip.disposable) == 3 && length(aws_eip.protected) == 0
    error_message = "Addresses must be disposable"
  }

  assert {
    condition     = length(output.allocation_ids) == 3
    error_message = "Every address gets the alarms"
  }
}

run "a_cluster_of_node_groups_is_closed_and_logged" {
  command = plan

  module {
    source = "../modules/cluster"
  }

  variables {
    name                   = "wis2-gc-test"
    partition              = "aws"
    kubernetes_version     = "1.35"
    service_cidr           = "172.20.0.0/16"
    compute                = "node_groups"
    subnet_ids             = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
    public_access_cidrs    = []
    admin_arns             = ["arn:aws:iam::123456789012:role/wis2-gc-deploy"]
    viewer_arns            = ["arn:aws:iam::123456789012:role/looks"]
    namespace              = "wis2-global-cache"
    node_instance_types    = ["m7i.large"]
    node_count_min         = 3
    node_count_max         = 9
    volume_driver_role_arn = "arn:aws:iam::123456789012:role/volumes"
    log_retention_days     = 90
    key_arn                = "arn:aws:kms:eu-west-3:123456789012:key/11111111-2222-3333-4444-555555555555"
  }

  assert {
    condition     = one(aws_eks_cluster.this.encryption_config).provider[0].key_arn == "arn:aws:kms:eu-west-3:123456789012:key/11111111-2222-3333-4444-555555555555"
    error_message = "Kubernetes secrets must be encrypted"
  }

  assert {
    condition     = one(aws_eks_cluster.this.kubernetes_network_config).service_ipv4_cidr == "172.20.0.0/16" && output.dns_address == "172.20.0.10" && output.api_address == "172.20.0.1"
    error_message = "The network policies must know the address of the cluster's DNS"
  }

  assert {
    condition     = one(aws_eks_cluster.this.vpc_config).endpoint_public_access == false && one(aws_eks_cluster.this.vpc_config).endpoint_private_access
    error_message = "Without ranges the API is private"
  }

  assert {
    condition     = length(aws_eks_cluster.this.enabled_cluster_log_types) == 5
    error_message = "Every log of the control plane"
  }

  assert {
    condition     = one(aws_eks_cluster.this.access_config).authentication_mode == "API" && one(aws_eks_cluster.this.access_config).bootstrap_cluster_creator_admin_permissions == false
    error_message = "Access is by access entries only"
  }

  assert {
    condition     = contains(keys(aws_eks_addon.before_nodes), "eks-pod-identity-agent") && jsondecode(aws_eks_addon.before_nodes["vpc-cni"].configuration_values).enableNetworkPolicy == "true"
    error_message = "Pod Identity and network policies need their add-ons"
  }

  assert {
    condition = alltrue([
      for group in aws_eks_node_group.this : length(group.subnet_ids) == 1 && one(group.scaling_config).min_size == 2 && one(group.scaling_config).max_size == 5
    ]) && length(aws_eks_node_group.this) == 2
    error_message = "Volumes stay in their zone: each zone has a group of its own"
  }

  assert {
    condition     = one(aws_eks_addon.after_nodes["aws-ebs-csi-driver"].pod_identity_association).role_arn == var.volume_driver_role_arn && length(aws_eks_addon.after_nodes["coredns"].pod_identity_association) == 0
    error_message = "The driver of the volumes must have its role when it starts"
  }

  assert {
    condition     = one(aws_launch_template.node[0].metadata_options).http_tokens == "required" && one(aws_launch_template.node[0].metadata_options).http_put_response_hop_limit == 1
    error_message = "Pods must not reach the credentials of the node"
  }

  assert {
    condition     = { for tags in aws_launch_template.node[0].tag_specifications : tags.resource_type => tags.tags["Project"] } == { for type in ["instance", "network-interface", "volume"] : type => "wis2-global-cache" }
    error_message = "Nodes, their volumes and interfaces must have the tags of everything else"
  }

  assert {
    condition     = tobool(one(one(aws_launch_template.node[0].block_device_mappings).ebs).encrypted)
    error_message = "The disks of nodes must be encrypted"
  }

  assert {
    condition     = one(aws_eks_access_policy_association.viewer["arn:aws:iam::123456789012:role/looks"].access_scope).namespaces == toset(["wis2-global-cache"])
    error_message = "Viewers see one namespace"
  }
}

run "an_auto_mode_cluster_has_no_nodes_of_ours" {
  command = plan

  module {
    source = "../modules/cluster"
  }

  variables {
    name                   = "wis2-gc-test"
    partition              = "aws"
    kubernetes_version     = "1.35"
    service_cidr           = "172.20.0.0/16"
    compute                = "auto"
    subnet_ids             = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
    public_access_cidrs    = ["192.0.2.0/24"]
    admin_arns             = ["arn:aws:iam::123456789012:role/wis2-gc-deploy"]
    viewer_arns            = ["arn:aws:iam::123456789012:role/looks"]
    namespace              = "wis2-global-cache"
    node_instance_types    = ["m7i.large"]
    node_count_min         = 3
    node_count_max         = 9
    volume_driver_role_arn = "arn:aws:iam::123456789012:role/volumes"
    log_retention_days     = 90
    key_arn                = "arn:aws:kms:eu-west-3:123456789012:key/11111111-2222-3333-4444-555555555555"
  }

  assert {
    condition     = one(aws_eks_cluster.this.compute_config).enabled && one(one(aws_eks_cluster.this.kubernetes_network_config).elastic_load_balancing).enabled && one(one(aws_eks_cluster.this.storage_config).block_storage).enabled
    error_message = "Auto Mode is all three, or none"
  }

  assert {
    condition     = one(aws_eks_cluster.this.compute_config).node_pools == toset(["system"]) && can(regex("CriticalAddonsOnly", aws_eks_addon.after_nodes["metrics-server"].configuration_values))
    error_message = "Ours stand on nodes of our own pool; until it is there, nodes of \"system\" take the metrics server, for which Terraform waits"
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.cluster_tags[0].policy).Statement :
      statement.Condition.StringEquals == { "aws:RequestTag/eks:eks-cluster-name" = "wis2-gc-test" }
    ])
    error_message = "Auto Mode may put tags of ours on what it makes for this cluster, and on nothing else"
  }

  assert {
    condition     = length(aws_eks_node_group.this) == 0 && length(aws_eks_addon.before_nodes) == 0
    error_message = "Nodes and their add-ons are AWS's work"
  }

  assert {
    condition     = one(aws_eks_cluster.this.vpc_config).public_access_cidrs == toset(["192.0.2.0/24"])
    error_message = "The API is open to the given ranges"
  }
}

run "images_do_not_move_and_are_scanned" {
  command = plan

  module {
    source = "../modules/images"
  }

  variables {
    name         = "wis2-gc-test"
    services     = ["listener", "manager"]
    kept_images  = 5
    force_delete = false
  }

  assert {
    condition     = alltrue([for repository in aws_ecr_repository.this : repository.image_tag_mutability == "IMMUTABLE" && repository.image_scanning_configuration[0].scan_on_push])
    error_message = "Tags must not move, and images be scanned"
  }

  assert {
    condition     = toset([for repository in aws_ecr_repository.this : repository.name]) == toset(["wis2-gc-test/wis2-gc-listener", "wis2-gc-test/wis2-gc-manager"])
    error_message = "The chart looks for {registry}/wis2-gc-{service}"
  }

  assert {
    condition = alltrue([
      for policy in aws_ecr_lifecycle_policy.this : alltrue([
        for rule in jsondecode(policy.policy).rules : rule.selection.tagStatus == "tagged" && rule.selection.countNumber == 5
        if rule.selection.countType == "imageCountMoreThan"
      ])
    ])
    error_message = "Only tags are releases: their parts may not count as images to keep"
  }
}

run "a_topic_is_encrypted_and_for_our_account_only" {
  command = plan

  module {
    source = "../modules/alarms"
  }

  variables {
    name       = "wis2-gc-test"
    account_id = "123456789012"
    key_arn    = "arn:aws:kms:eu-west-3:123456789012:key/11111111-2222-3333-4444-555555555555"
    emails     = ["operations@example.org"]
  }

  assert {
    condition     = aws_sns_topic.this.kms_master_key_id == "arn:aws:kms:eu-west-3:123456789012:key/11111111-2222-3333-4444-555555555555"
    error_message = "The topic must be encrypted"
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_sns_topic_policy.this.policy).Statement :
      statement.Effect == "Deny" || try(statement.Condition.StringEquals["aws:SourceAccount"], "") == "123456789012"
    ])
    error_message = "Only services of our own account may publish"
  }

  assert {
    condition = anytrue([
      for statement in jsondecode(aws_sns_topic_policy.this.policy).Statement :
      statement.Effect == "Deny" && statement.Principal == "*" && try(statement.Condition.Bool["aws:SecureTransport"], "") == "false"
    ])
    error_message = "What is not TLS must be denied to everybody"
  }
}

run "a_key_rotates_and_is_locked_out_by_nobody" {
  command = plan

  module {
    source = "../modules/key"
  }

  variables {
    name        = "wis2-gc-test"
    description = "test"
  }

  assert {
    condition     = aws_kms_key.this.enable_key_rotation
    error_message = "The key must rotate"
  }

  assert {
    condition = alltrue(flatten([
      for statement in jsondecode(aws_kms_key.this.policy).Statement : [for action in statement.Action : !strcontains(action, "*")]
    ]))
    error_message = "An action with a wildcard"
  }

  assert {
    condition = anytrue([
      for statement in jsondecode(aws_kms_key.this.policy).Statement :
      try(statement.Principal.AWS, "") == "arn:aws:iam::123456789012:root" && contains(statement.Action, "kms:PutKeyPolicy")
    ])
    error_message = "The account must be able to change the policy"
  }
}

run "a_budget_warns_before_it_is_spent" {
  command = plan

  module {
    source = "../modules/budget"
  }

  variables {
    name            = "wis2-gc-test"
    monthly_usd     = 500
    alarm_topic_arn = "arn:aws:sns:eu-west-3:123456789012:mocked"
  }

  assert {
    condition     = toset([for notification in aws_budgets_budget.monthly.notification : "${notification.notification_type} ${notification.threshold}"]) == toset(["ACTUAL 80", "FORECASTED 100"])
    error_message = "At 80 % spent, and when 100 % is forecast"
  }
}
