# Production: three zones, everything twice or more. All other variables have their defaults;
# ../main/variables.tf has them with range and unit.

environment = "prod"
account_id  = "123456789012" # yours
region      = "eu-west-3"
centre_id   = "xx-example-global-cache" # yours, as registered with the WMO Secretariat

tags = {
  Owner = "wis2-operations"
}

# Your hosted zone, and three names in it.
hosted_zone_name = "example.org"
data_domain      = "wis2-data.example.org"
broker_domain    = "wis2-broker.example.org"
metrics_domain   = "wis2-metrics.example.org"

# One NAT gateway and one broker address in each zone. Nodes admit us by these addresses, so no
# plan may destroy them.
vpc_cidr             = "10.64.0.0/16"
availability_zones   = ["eu-west-3a", "eu-west-3b", "eu-west-3c"]
one_nat_gateway      = false
broker_address_count = 3
protect_addresses    = true

kubernetes_version = "1.35"
compute            = "auto"
# Networks from which operators reach the Kubernetes API; empty: only from inside the VPC.
cluster_public_access_cidrs = ["192.0.2.0/24"]
cluster_admin_arns          = ["arn:aws:iam::123456789012:role/wis2-gc-deploy"]
log_retention_days          = 90

# Room for 10 GB, of which six million items a day take 5 (docs/costs.md has the formula).
registry_engine        = "valkey-7.2"
registry_node_type     = "cache.r7g.large"
registry_node_count    = 2
registry_snapshot_days = 1

store_expiration_days = 1
store_price_class     = "PriceClass_All"

# The Global Brokers, at least two, as in ["meteo-fr", "inmet-br"]. Each gets a secret, for you to put
# its URL into, and a listener.
global_brokers = []

alarm_emails = ["wis2-operations@example.org"]
budget_usd   = 3000
