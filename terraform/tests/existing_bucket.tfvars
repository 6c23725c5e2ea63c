# An example: the data go into a bucket that the centre serves already, under its own certificate.

environment = "onbucket"
account_id  = "123456789012"
region      = "eu-west-3"
centre_id   = "xx-example-global-cache"

hosted_zone_name = "example.org"
data_domain      = "wis2-data.example.org"
broker_domain    = "wis2-broker.example.org"
metrics_domain   = "wis2-metrics.example.org"

existing_bucket_name            = "centre-public-data"
existing_bucket_prefix          = "wis2/cache"
existing_data_base_url          = "https://data.example.net/wis2/cache"
existing_public_certificate_arn = "arn:aws:acm:eu-west-3:123456789012:certificate/0a1b2c3d"

cluster_admin_arns    = ["arn:aws:iam::123456789012:role/wis2-gc-deploy"]
global_brokers        = ["meteo-fr"]
broker_accounts       = ["gb-fr"]
metrics_load_balancer = "k8s-metrics-0123.eu-west-3.elb.amazonaws.com"
