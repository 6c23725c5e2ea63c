# Development: the same parts, but small; `make destroy ENV=dev` removes all of them.

environment = "dev"
account_id  = "123456789012" # yours
region      = "eu-west-3"
centre_id   = "xx-example-test-global-cache"

tags = {
  Owner = "wis2-development"
}

hosted_zone_name = "example.org"
data_domain      = "wis2-data-dev.example.org"
broker_domain    = "wis2-broker-dev.example.org"
metrics_domain   = "wis2-metrics-dev.example.org"

vpc_cidr             = "10.65.0.0/16"
one_nat_gateway      = true
broker_address_count = 1
protect_addresses    = false

kubernetes_version          = "1.35"
compute                     = "auto"
cluster_public_access_cidrs = ["192.0.2.0/24"]
cluster_admin_arns          = ["arn:aws:iam::123456789012:role/wis2-gc-deploy"]
log_retention_days          = 7

# Room for 1 GB: a tenth of the world (docs/costs.md has the formula).
registry_engine        = "valkey-7.2"
registry_node_type     = "cache.t4g.small"
registry_node_count    = 1
registry_snapshot_days = 0

store_price_class = "PriceClass_100"

# The Global Brokers, as in ["meteo-fr"]. Each gets a secret, for you to put its URL into, and a
# listener.
global_brokers = []

secret_recovery_days = 0
kept_images          = 5
disposable           = true
budget_usd           = 500
