# terraform test -filter=tests/rejects.tftest.hcl -var-file=../environments/prod.tfvars
#
# One mistake each. A variable without a run here is found by tests/deployment/test_terraform_files.py.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

mock_provider "aws" {
  alias           = "us_east_1"
  source          = "./tests/mocks"
  override_during = plan
}

# Terraform mocks no ephemeral resource: this one is real, and asks testkit/deployment/terraform_passwords.py.
provider "aws" {
  alias                       = "passwords"
  region                      = "eu-west-3"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

run "reject_environment_an_upper_case" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    environment = "Prod"
  }

  expect_failures = [var.environment]
}

run "reject_account_id_a_short" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    account_id = "1234"
  }

  expect_failures = [var.account_id]
}

run "reject_region_a_zone" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    region = "eu-west-3a"
  }

  expect_failures = [var.region]
}

run "reject_centre_id_another_kind_of_centre" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    centre_id = "fr-meteofrance"
  }

  expect_failures = [var.centre_id]
}

run "reject_tags_our_own" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    tags = { Project = "mine" }
  }

  expect_failures = [var.tags]
}

run "reject_tags_of_aws" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    tags = { "aws:cost" = "x" }
  }

  expect_failures = [var.tags]
}

run "reject_hosted_zone_name_a_trailing_dot" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    hosted_zone_name = "example.org."
  }

  expect_failures = [var.hosted_zone_name]
}

run "reject_data_domain_outside_the_zone" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    data_domain = "data.example.net"
  }

  expect_failures = [var.data_domain]
}

run "reject_broker_domain_outside_the_zone" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    broker_domain = "broker.notexample.org"
  }

  expect_failures = [var.broker_domain]
}

run "reject_broker_domain_too_long" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    broker_domain = "a-broker-whose-name-is-longer-than-a-certificate-can-hold.example.org"
  }

  expect_failures = [var.broker_domain]
}

run "reject_metrics_domain_the_name_of_the_broker" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    metrics_domain = "wis2-broker.example.org"
  }

  expect_failures = [var.metrics_domain]
}

run "reject_metrics_load_balancer_a_url" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    metrics_load_balancer = "https://lb.example.org/"
  }

  expect_failures = [var.metrics_load_balancer]
}

run "reject_existing_data_certificate_arn_of_another_region" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    existing_data_certificate_arn = "arn:aws:acm:eu-west-3:123456789012:certificate/x"
  }

  expect_failures = [var.existing_data_certificate_arn]
}

run "reject_existing_public_certificate_arn_of_another_region" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    existing_public_certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/x"
  }

  expect_failures = [var.existing_public_certificate_arn]
}

run "reject_vpc_cidr_public" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    vpc_cidr = "8.8.0.0/16"
  }

  expect_failures = [var.vpc_cidr]
}

run "reject_vpc_cidr_too_small" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    vpc_cidr = "10.0.0.0/24"
  }

  expect_failures = [var.vpc_cidr]
}

run "reject_availability_zones_two" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    availability_zones = ["eu-west-3a", "eu-west-3b"]
  }

  expect_failures = [var.availability_zones]
}

run "reject_availability_zones_of_another_region" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    availability_zones = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
  }

  expect_failures = [var.availability_zones]
}

run "reject_interface_endpoints_s3" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    interface_endpoints = ["s3"]
  }

  expect_failures = [var.interface_endpoints]
}

run "reject_broker_address_count_four" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    broker_address_count = 4
  }

  expect_failures = [var.broker_address_count]
}

run "reject_existing_nat_allocation_ids_too_few" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    existing_nat_allocation_ids = ["eipalloc-0123456789abcdef0"]
  }

  expect_failures = [var.existing_nat_allocation_ids]
}

run "reject_existing_broker_allocation_ids_addresses" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    existing_broker_allocation_ids = ["198.51.100.1", "198.51.100.2", "198.51.100.3"]
  }

  expect_failures = [var.existing_broker_allocation_ids]
}

run "reject_existing_private_subnet_ids_without_a_vpc" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    existing_private_subnet_ids = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
  }

  expect_failures = [var.existing_private_subnet_ids]
}

run "reject_existing_public_subnet_ids_without_a_vpc" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    existing_public_subnet_ids = ["subnet-0aaaaaaaaaaaaaaa1"]
  }

  expect_failures = [var.existing_public_subnet_ids]
}

run "reject_existing_egress_addresses_names" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    existing_vpc_id             = "vpc-0123456789abcdef0"
    existing_private_subnet_ids = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
    existing_public_subnet_ids  = ["subnet-0bbbbbbbbbbbbbbb1", "subnet-0bbbbbbbbbbbbbbb2", "subnet-0bbbbbbbbbbbbbbb3"]
    existing_egress_addresses   = ["nat.example.org"]
  }

  expect_failures = [var.existing_egress_addresses]
}

run "reject_existing_vpc_id_a_name" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    existing_vpc_id             = "main"
    existing_private_subnet_ids = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
    existing_public_subnet_ids  = ["subnet-0bbbbbbbbbbbbbbb1", "subnet-0bbbbbbbbbbbbbbb2", "subnet-0bbbbbbbbbbbbbbb3"]
    existing_egress_addresses   = ["198.51.100.7"]
  }

  expect_failures = [var.existing_vpc_id]
}

run "reject_service_cidr_public" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    service_cidr = "100.64.0.0/16"
  }

  expect_failures = [var.service_cidr]
}

run "reject_service_cidr_too_small" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    service_cidr = "172.20.0.0/28"
  }

  expect_failures = [var.service_cidr]
}

run "reject_service_cidr_of_the_vpc" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    service_cidr = "10.64.128.0/20"
  }

  expect_failures = [var.service_cidr]
}

run "reject_service_cidr_around_the_vpc" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    service_cidr = "10.64.0.0/12"
  }

  expect_failures = [var.service_cidr]
}

run "reject_kubernetes_version_old" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kubernetes_version = "1.33"
  }

  expect_failures = [var.kubernetes_version]
}

run "reject_compute_fargate" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    compute = "fargate"
  }

  expect_failures = [var.compute]
}

run "reject_node_instance_types_graviton" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    node_instance_types = ["m7g.large"]
  }

  expect_failures = [var.node_instance_types]
}

run "reject_node_count_min_zero" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    node_count_min = 0
  }

  expect_failures = [var.node_count_min]
}

run "reject_node_count_max_below_the_least" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    node_count_max = 2
  }

  expect_failures = [var.node_count_max]
}

run "reject_cluster_public_access_cidrs_everybody" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    cluster_public_access_cidrs = ["0.0.0.0/0"]
  }

  expect_failures = [var.cluster_public_access_cidrs]
}

run "reject_cluster_public_access_cidrs_an_address" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    cluster_public_access_cidrs = ["192.0.2.1"]
  }

  expect_failures = [var.cluster_public_access_cidrs]
}

run "reject_cluster_admin_arns_nobody" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    cluster_admin_arns = []
  }

  expect_failures = [var.cluster_admin_arns]
}

run "reject_cluster_admin_arns_a_session" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    cluster_admin_arns = ["arn:aws:sts::123456789012:assumed-role/x/y"]
  }

  expect_failures = [var.cluster_admin_arns]
}

run "reject_cluster_viewer_arns_an_admin" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    cluster_viewer_arns = ["arn:aws:iam::123456789012:role/wis2-gc-deploy"]
  }

  expect_failures = [var.cluster_viewer_arns]
}

run "reject_namespace_an_underscore" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    namespace = "wis2_gc"
  }

  expect_failures = [var.namespace]
}

run "reject_service_account_prefix_too_long" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    service_account_prefix = "a-release-whose-name-is-longer-than-helm-and-kubernetes-allow"
  }

  expect_failures = [var.service_account_prefix]
}

run "reject_log_retention_days_a_week_and_a_day" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    log_retention_days = 8
  }

  expect_failures = [var.log_retention_days]
}

run "reject_queue_retention_seconds_fifteen_days" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    queue_retention_seconds = 1296000
  }

  expect_failures = [var.queue_retention_seconds]
}

run "reject_dead_letter_retention_seconds_shorter_than_the_queue" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    dead_letter_retention_seconds = 3600
  }

  expect_failures = [var.dead_letter_retention_seconds]
}

run "reject_queue_visibility_seconds_a_second" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    queue_visibility_seconds = 1
  }

  expect_failures = [var.queue_visibility_seconds]
}

run "reject_queue_max_receive_count_below_the_managers_own" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    queue_max_receive_count = 7
  }

  expect_failures = [var.queue_max_receive_count]
}

run "reject_alarm_dead_letters_negative" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    alarm_dead_letters = -1
  }

  expect_failures = [var.alarm_dead_letters]
}

run "reject_alarm_oldest_message_seconds_a_second" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    alarm_oldest_message_seconds = 1
  }

  expect_failures = [var.alarm_oldest_message_seconds]
}

run "reject_registry_engine_redis_6" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    registry_engine = "redis-6.2"
  }

  expect_failures = [var.registry_engine]
}

run "reject_registry_node_type_an_instance_type" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    registry_node_type = "r7g.large"
  }

  expect_failures = [var.registry_node_type]
}

run "reject_registry_node_count_half" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    registry_node_count = 1.5
  }

  expect_failures = [var.registry_node_count]
}

run "reject_registry_snapshot_days_too_many" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    registry_snapshot_days = 36
  }

  expect_failures = [var.registry_snapshot_days]
}

run "reject_registry_maintenance_window_local_words" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    registry_maintenance_window = "tuesday night"
  }

  expect_failures = [var.registry_maintenance_window]
}

run "reject_alarm_registry_memory_percent_full" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    alarm_registry_memory_percent = 100
  }

  expect_failures = [var.alarm_registry_memory_percent]
}

run "reject_alarm_registry_lag_seconds_zero" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    alarm_registry_lag_seconds = 0
  }

  expect_failures = [var.alarm_registry_lag_seconds]
}

run "reject_store_expiration_days_zero" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    store_expiration_days = 0
  }

  expect_failures = [var.store_expiration_days]
}

run "reject_store_price_class_unknown" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    store_price_class = "PriceClass_300"
  }

  expect_failures = [var.store_price_class]
}

run "reject_existing_bucket_name_upper_case" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    existing_bucket_name   = "Data"
    existing_data_base_url = "https://data.example.net"
  }

  expect_failures = [var.existing_bucket_name]
}

run "reject_existing_bucket_prefix_slashes_around" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    existing_bucket_name   = "centre-data"
    existing_data_base_url = "https://data.example.net"
    existing_bucket_prefix = "/wis2/"
  }

  expect_failures = [var.existing_bucket_prefix]
}

run "reject_existing_data_base_url_without_a_bucket" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    existing_data_base_url = "https://data.example.net"
  }

  expect_failures = [var.existing_data_base_url]
}

run "reject_existing_data_base_url_without_tls" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    existing_bucket_name   = "centre-data"
    existing_data_base_url = "http://data.example.net"
  }

  expect_failures = [var.existing_data_base_url]
}

run "reject_password_version_zero" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    password_version = 0
  }

  expect_failures = [var.password_version]
}

run "reject_broker_accounts_in_capitals" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    broker_accounts = ["GB-FR"]
  }

  expect_failures = [var.broker_accounts]
}

run "reject_global_brokers_a_url" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    global_brokers = ["mqtts://broker"]
  }

  expect_failures = [var.global_brokers]
}

run "reject_global_brokers_a_name_that_no_pod_can_have" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    global_brokers = ["Meteo_FR"]
  }

  expect_failures = [var.global_brokers]
}

run "reject_centre_id_a_long" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    centre_id = "fr-a-name-of-a-centre-that-goes-on-and-on-beyond-all-good-sense-global-cache"
  }

  expect_failures = [var.centre_id]
}

run "reject_secret_recovery_days_three" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    secret_recovery_days = 3
  }

  expect_failures = [var.secret_recovery_days]
}

run "reject_kept_images_one" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kept_images = 1
  }

  expect_failures = [var.kept_images]
}

run "reject_alarm_emails_a_name" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    alarm_emails = ["operations"]
  }

  expect_failures = [var.alarm_emails]
}

run "reject_budget_usd_negative" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    budget_usd = -1
  }

  expect_failures = [var.budget_usd]
}

run "reject_existing_bucket_key_arn_an_alias" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    existing_bucket_name    = "wis2-cache-example"
    existing_data_base_url  = "https://cache.example.org"
    existing_bucket_key_arn = "arn:aws:kms:eu-west-3:123456789012:alias/cache"
  }

  expect_failures = [var.existing_bucket_key_arn]
}

run "reject_existing_bucket_key_arn_of_no_bucket" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    existing_bucket_key_arn = "arn:aws:kms:eu-west-3:123456789012:key/11111111-2222-3333-4444-555555555555"
  }

  expect_failures = [var.existing_bucket_key_arn]
}

run "reject_existing_public_subnet_ids_one" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    existing_vpc_id             = "vpc-0123456789abcdef0"
    existing_private_subnet_ids = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
    existing_public_subnet_ids  = ["subnet-0bbbbbbbbbbbbbbb1"]
    existing_egress_addresses   = ["198.51.100.7"]
    broker_address_count        = 1
  }

  expect_failures = [var.existing_public_subnet_ids]
}

# Of the whole, and not of its variables alone: what an existing VPC is like, only AWS knows.
run "reject_service_cidr_of_an_existing_vpc" {
  command = plan

  variables {
    existing_vpc_id             = "vpc-0123456789abcdef0"
    existing_private_subnet_ids = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
    existing_public_subnet_ids  = ["subnet-0bbbbbbbbbbbbbbb1", "subnet-0bbbbbbbbbbbbbbb2", "subnet-0bbbbbbbbbbbbbbb3"]
    existing_egress_addresses   = ["198.51.100.7"]
    service_cidr                = "10.20.128.0/20"
  }

  expect_failures = [data.aws_vpc.existing]
}
