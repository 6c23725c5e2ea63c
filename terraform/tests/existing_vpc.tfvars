# An example: a centre with a network of its own, addresses it has reported already, and node groups.

environment = "onvpc"
account_id  = "123456789012"
region      = "eu-west-3"
centre_id   = "xx-example-global-cache"

hosted_zone_name = "example.org"
data_domain      = "wis2-data.example.org"
broker_domain    = "wis2-broker.example.org"
metrics_domain   = "wis2-metrics.example.org"

existing_vpc_id                = "vpc-0123456789abcdef0"
existing_private_subnet_ids    = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
existing_public_subnet_ids     = ["subnet-0bbbbbbbbbbbbbbb1", "subnet-0bbbbbbbbbbbbbbb2", "subnet-0bbbbbbbbbbbbbbb3"]
existing_egress_addresses      = ["198.51.100.7"]
existing_broker_allocation_ids = ["eipalloc-0123456789abcdef1", "eipalloc-0123456789abcdef2"]
broker_address_count           = 2

compute             = "node_groups"
node_instance_types = ["m7i.xlarge"]
node_count_min      = 2
node_count_max      = 6

cluster_admin_arns = ["arn:aws:iam::123456789012:role/wis2-gc-deploy"]
registry_engine    = "redis-7.1"
