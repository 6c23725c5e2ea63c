# All variables are flat: Terraform silently drops a mistyped attribute of an object, but it
# reports a mistyped variable (and `make deploy` refuses it, by name).

# Who and where

variable "environment" {
  description = "Name of this environment, part of every name: 2 to 12 lower-case letters, digits, `-`; as in `prod`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,10}[a-z0-9]$", var.environment))
    error_message = "environment must be 2 to 12 lower-case letters, digits or '-', beginning with a letter."
  }
}

variable "account_id" {
  description = "AWS account to deploy into, 12 digits; with credentials of another one nothing is touched."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id must be the 12 digits of the AWS account."
  }
}

variable "region" {
  description = "AWS region, as in `eu-west-3`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}-[a-z]+-[0-9]$", var.region))
    error_message = "region must be an AWS region, as in eu-west-3."
  }
}

variable "centre_id" {
  description = "Our WIS2 centre-id, `{tld}-{name}-global-cache` (of a test instance with `-test` behind it), as registered with the WMO Secretariat."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2,}-[a-z0-9_-]+-global-cache(-test)?$", var.centre_id))
    error_message = "centre_id requires the form {tld}-{name}-global-cache, or the same and -test, in lower case."
  }
  validation {
    condition     = length(var.centre_id) <= 64
    error_message = "centre_id must have at most 64 characters."
  }
}

variable "tags" {
  description = "Tags on everything, in addition to Project, Environment and ManagedBy."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition = alltrue([
      for key, value in var.tags :
      can(regex("^[A-Za-z0-9 _.:/=+@-]{1,128}$", key)) && !startswith(lower(key), "aws:") && length(value) <= 256
    ])
    error_message = "tags must have keys of 1 to 128 letters, digits, blanks or _.:/=+@- that do not begin with aws:, and values of at most 256 characters."
  }
  validation {
    condition     = length(setintersection(keys(var.tags), ["Project", "Environment", "ManagedBy"])) == 0
    error_message = "tags must not have Project, Environment or ManagedBy: these are set already."
  }
}

# Names

variable "hosted_zone_name" {
  description = "Public Route 53 hosted zone that is there already, as in `cache.example.org`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.hosted_zone_name))
    error_message = "hosted_zone_name must be a domain in lower case, without a dot at its end."
  }
}

variable "data_domain" {
  description = "Public name of the data, inside the hosted zone; with an existing bucket it is not used."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.data_domain)) && endswith(".${var.data_domain}", ".${var.hosted_zone_name}")
    error_message = "data_domain must be a name inside hosted_zone_name."
  }
}

variable "broker_domain" {
  description = "Public name of the broker, inside the hosted zone; at most 64 characters, as the certificate's first name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.broker_domain)) && endswith(".${var.broker_domain}", ".${var.hosted_zone_name}")
    error_message = "broker_domain must be a name inside hosted_zone_name."
  }
  validation {
    condition     = length(var.broker_domain) <= 64
    error_message = "broker_domain must have at most 64 characters: it is the certificate's first name."
  }
}

variable "metrics_domain" {
  description = "Public name of the metrics service, inside the hosted zone."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.metrics_domain)) && endswith(".${var.metrics_domain}", ".${var.hosted_zone_name}")
    error_message = "metrics_domain must be a name inside hosted_zone_name."
  }
  validation {
    condition     = length(distinct([var.data_domain, var.broker_domain, var.metrics_domain])) == 3
    error_message = "metrics_domain must be different from data_domain and broker_domain, and these from each other."
  }
}

variable "metrics_load_balancer" {
  description = "DNS name of the metrics service's load balancer, where external-dns does not keep the record; null: it does."
  type        = string
  default     = null

  validation {
    condition     = var.metrics_load_balancer == null || can(regex("^([A-Za-z0-9-]+\\.)+[a-z]{2,}$", var.metrics_load_balancer))
    error_message = "metrics_load_balancer must be a DNS name, or null."
  }
}

variable "existing_data_certificate_arn" {
  description = "ACM certificate of data_domain, in us-east-1, to use instead of making one."
  type        = string
  default     = null

  validation {
    condition     = var.existing_data_certificate_arn == null || can(regex("^arn:[a-z-]+:acm:us-east-1:[0-9]{12}:certificate/", var.existing_data_certificate_arn))
    error_message = "existing_data_certificate_arn must be an ACM certificate in us-east-1, where CloudFront looks for it."
  }
}

variable "existing_public_certificate_arn" {
  description = "ACM certificate of broker_domain and metrics_domain, in our region, to use instead of making one."
  type        = string
  default     = null

  validation {
    condition     = var.existing_public_certificate_arn == null || can(regex("^arn:[a-z-]+:acm:${var.region}:[0-9]{12}:certificate/", var.existing_public_certificate_arn))
    error_message = "existing_public_certificate_arn must be an ACM certificate in the region of this deployment."
  }
}

# Network

variable "vpc_cidr" {
  description = "IPv4 range of the VPC, private, /16 to /19; not used with an existing VPC."
  type        = string
  default     = "10.64.0.0/16"
  nullable    = false

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr)) && can(regex("^(10\\.|192\\.168\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.).*/1[6-9]$", var.vpc_cidr))
    error_message = "vpc_cidr must be a private IPv4 range of /16 to /19, as in 10.64.0.0/16."
  }
}

variable "availability_zones" {
  description = "Three availability zones to use; empty: the region's first three."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = contains([0, 3], length(distinct(var.availability_zones))) && alltrue([for zone in var.availability_zones : startswith(zone, var.region)])
    error_message = "availability_zones must be three different zones of the region, or none."
  }
}

variable "one_nat_gateway" {
  description = "One NAT gateway and address for all zones (cheap), instead of one for each (survives a zone)."
  type        = bool
  default     = false
  nullable    = false
}

variable "interface_endpoints" {
  description = "AWS services reached by interface endpoints instead of NAT, as in `sqs`, `ecr.api`; each costs by the hour and zone."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for service in var.interface_endpoints : can(regex("^[a-z0-9.-]+$", service)) && service != "s3"])
    error_message = "interface_endpoints must be names as in sqs or ecr.api; s3 has its gateway endpoint already."
  }
}

variable "protect_addresses" {
  description = "Whether a plan that would destroy an elastic IP (egress, broker) fails. Nodes admit us by these addresses."
  type        = bool
  default     = true
  nullable    = false
}

variable "broker_address_count" {
  description = "Fixed addresses of the broker (1 to 3), each in a zone of its own."
  type        = number
  default     = 3
  nullable    = false

  validation {
    condition     = contains([1, 2, 3], var.broker_address_count)
    error_message = "broker_address_count must be 1, 2 or 3: one for each zone."
  }
}

variable "existing_nat_allocation_ids" {
  description = "Allocation ids of elastic IPs to use for NAT instead of making them: one for each NAT gateway."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for id in var.existing_nat_allocation_ids : can(regex("^eipalloc-[0-9a-f]+$", id))])
    error_message = "existing_nat_allocation_ids must be ids as in eipalloc-0123456789abcdef0."
  }
  validation {
    condition     = contains([0, var.one_nat_gateway ? 1 : 3], length(distinct(var.existing_nat_allocation_ids)))
    error_message = "existing_nat_allocation_ids must be one address for each NAT gateway: 1 with one_nat_gateway, else 3; or none."
  }
}

variable "existing_broker_allocation_ids" {
  description = "Allocation ids of elastic IPs to use for the broker instead of making them: broker_address_count many."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for id in var.existing_broker_allocation_ids : can(regex("^eipalloc-[0-9a-f]+$", id))])
    error_message = "existing_broker_allocation_ids must be ids as in eipalloc-0123456789abcdef0."
  }
  validation {
    condition     = contains([0, var.broker_address_count], length(distinct(var.existing_broker_allocation_ids)))
    error_message = "existing_broker_allocation_ids must be broker_address_count different addresses, or none."
  }
}

variable "existing_vpc_id" {
  description = "VPC to use instead of making one; null: one is made. It needs a way out by NAT, and should have an S3 gateway endpoint."
  type        = string
  default     = null

  validation {
    condition     = var.existing_vpc_id == null || can(regex("^vpc-[0-9a-f]+$", var.existing_vpc_id))
    error_message = "existing_vpc_id must be an id as in vpc-0123456789abcdef0, or null."
  }
}

variable "existing_private_subnet_ids" {
  description = "Of an existing VPC: private subnets for nodes, pods and registry, in two zones or more."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for id in var.existing_private_subnet_ids : can(regex("^subnet-[0-9a-f]+$", id))])
    error_message = "existing_private_subnet_ids must be ids as in subnet-0123456789abcdef0."
  }
  validation {
    condition     = (var.existing_vpc_id == null) == (length(var.existing_private_subnet_ids) == 0) && length(var.existing_private_subnet_ids) != 1
    error_message = "existing_private_subnet_ids must be two subnets or more with existing_vpc_id, and none without."
  }
}

variable "existing_public_subnet_ids" {
  description = "Of an existing VPC: public subnets for the load balancers, two or more and at least broker_address_count many, each in a zone of its own, and together in the zones of the private ones."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for id in var.existing_public_subnet_ids : can(regex("^subnet-[0-9a-f]+$", id))])
    error_message = "existing_public_subnet_ids must be ids as in subnet-0123456789abcdef0."
  }
  validation {
    condition     = var.existing_vpc_id == null ? length(var.existing_public_subnet_ids) == 0 : length(distinct(var.existing_public_subnet_ids)) >= max(2, var.broker_address_count)
    error_message = "existing_public_subnet_ids must be two different subnets or more with existing_vpc_id (an application load balancer stands in two zones), at least broker_address_count many, and none without."
  }
}

variable "existing_egress_addresses" {
  description = "Of an existing VPC: IPv4 addresses from which it reaches the internet, to report to the WMO Secretariat."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for address in var.existing_egress_addresses : can(cidrnetmask("${address}/32"))])
    error_message = "existing_egress_addresses must be IPv4 addresses."
  }
  validation {
    condition     = (var.existing_vpc_id == null) == (length(var.existing_egress_addresses) == 0)
    error_message = "existing_egress_addresses must be the NAT addresses of existing_vpc_id, and none without one."
  }
}

# Cluster

variable "kubernetes_version" {
  description = "Kubernetes version in EKS' standard support (14 months from its release there): 1.34 to 1.36. A cluster goes up one version at a time, and never down."
  type        = string
  default     = "1.35"
  nullable    = false

  validation {
    condition     = contains(["1.34", "1.35", "1.36"], var.kubernetes_version)
    error_message = "kubernetes_version must be 1.34, 1.35 or 1.36."
  }
}

variable "service_cidr" {
  description = "IPv4 range of Kubernetes' Services, private, /12 to /24, apart from the VPC's and from networks that pods must reach. It cannot be changed later."
  type        = string
  default     = "172.20.0.0/16"
  nullable    = false

  validation {
    condition     = can(cidrnetmask(var.service_cidr)) && can(regex("^(10\\.|192\\.168\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.).*/(1[2-9]|2[0-4])$", var.service_cidr))
    error_message = "service_cidr must be a private IPv4 range of /12 to /24, as in 172.20.0.0/16."
  }
  validation {
    # Two ranges overlap if the wider one contains the first address of the other.
    condition = var.existing_vpc_id != null || try(
      cidrhost("${cidrhost(var.service_cidr, 0)}/${min(split("/", var.service_cidr)[1], split("/", var.vpc_cidr)[1])}", 0) !=
      cidrhost("${cidrhost(var.vpc_cidr, 0)}/${min(split("/", var.service_cidr)[1], split("/", var.vpc_cidr)[1])}", 0),
    false)
    error_message = "service_cidr must be a range apart from vpc_cidr."
  }
}

variable "compute" {
  description = "`auto` (EKS Auto Mode: nodes, volumes and load balancers are AWS's work) or `node_groups`."
  type        = string
  default     = "auto"
  nullable    = false

  validation {
    condition     = contains(["auto", "node_groups"], var.compute)
    error_message = "compute must be auto or node_groups."
  }
}

variable "node_instance_types" {
  description = "With node_groups: x86-64 instance types, in order of preference."
  type        = list(string)
  default     = ["m7i.large", "m7a.large", "m6i.large"]
  nullable    = false

  validation {
    condition     = length(var.node_instance_types) > 0 && alltrue([for type in var.node_instance_types : can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", type))])
    error_message = "node_instance_types must be instance types as in m7i.large."
  }
  validation {
    # Graviton families: a digit, then g somewhere before the dot.
    condition     = alltrue([for type in var.node_instance_types : !can(regex("^([a-z]+[0-9]+g|a1)", type))])
    error_message = "node_instance_types must be x86-64 types: the images are built for it."
  }
}

variable "node_count_min" {
  description = "With node_groups: nodes at least (1 to 100), the same number in each zone, rounded up."
  type        = number
  default     = 3
  nullable    = false

  validation {
    condition     = var.node_count_min >= 1 && var.node_count_min <= 100 && floor(var.node_count_min) == var.node_count_min
    error_message = "node_count_min must be a whole number from 1 to 100."
  }
}

variable "node_count_max" {
  description = "With node_groups: nodes at most (node_count_min to 100), the same number in each zone, rounded up."
  type        = number
  default     = 9
  nullable    = false

  validation {
    condition     = var.node_count_max >= var.node_count_min && var.node_count_max <= 100 && floor(var.node_count_max) == var.node_count_max
    error_message = "node_count_max must be a whole number from node_count_min to 100."
  }
}

variable "cluster_public_access_cidrs" {
  description = "IPv4 ranges that may reach the Kubernetes API from the internet; empty: only from inside the VPC."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for cidr in var.cluster_public_access_cidrs : can(cidrnetmask(cidr))])
    error_message = "cluster_public_access_cidrs must be IPv4 ranges, as in 192.0.2.0/24."
  }
  validation {
    condition     = alltrue([for cidr in var.cluster_public_access_cidrs : try(tonumber(split("/", cidr)[1]) >= 8, false)])
    error_message = "cluster_public_access_cidrs must be the operators' ranges, /8 or smaller: 0.0.0.0/0 opens the API to everybody."
  }
}

variable "cluster_admin_arns" {
  description = "IAM roles and users that administer the cluster, among them those that run `make deploy`; one or more."
  type        = set(string)
  nullable    = false

  validation {
    condition     = length(var.cluster_admin_arns) > 0 && alltrue([for arn in var.cluster_admin_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/", arn))])
    error_message = "cluster_admin_arns must be one or more ARNs of IAM roles or users, not the sts ARN of a session."
  }
}

variable "cluster_viewer_arns" {
  description = "IAM roles and users that may look at the cache's namespace."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.cluster_viewer_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/", arn))])
    error_message = "cluster_viewer_arns must be ARNs of IAM roles or users."
  }
  validation {
    condition     = length(setintersection(var.cluster_viewer_arns, var.cluster_admin_arns)) == 0
    error_message = "cluster_viewer_arns may not repeat cluster_admin_arns: EKS knows each principal once."
  }
}

variable "namespace" {
  description = "Kubernetes namespace of the cache."
  type        = string
  default     = "wis2-global-cache"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.namespace))
    error_message = "namespace must be 1 to 63 lower-case letters, digits or '-'."
  }
}

variable "service_account_prefix" {
  description = "What the chart puts before `-listener`, `-manager` and `-metrics` in its names: the release's name."
  type        = string
  default     = "wis2-global-cache"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?$", var.service_account_prefix))
    error_message = "service_account_prefix must be 1 to 53 lower-case letters, digits or '-'."
  }
}

variable "ship_pod_logs" {
  description = "Whether the pods' logs go to CloudWatch Logs (Fluent Bit on each node); otherwise they end with their node."
  type        = bool
  default     = false
  nullable    = false
}

variable "log_retention_days" {
  description = "Days that logs of the control plane, of refused connections and of pods are kept; a value CloudWatch knows, 1 to 3653."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}

# Queue

variable "queue_retention_seconds" {
  description = "Seconds a notification waits at most (3600 to 1209600)."
  type        = number
  default     = 86400
  nullable    = false

  validation {
    condition     = var.queue_retention_seconds >= 3600 && var.queue_retention_seconds <= 1209600
    error_message = "queue_retention_seconds must be 3600 to 1209600 (an hour to 14 days)."
  }
}

variable "dead_letter_retention_seconds" {
  description = "Seconds a dead letter is kept (queue_retention_seconds to 1209600). Its age counts from its first arrival."
  type        = number
  default     = 1209600
  nullable    = false

  validation {
    condition     = var.dead_letter_retention_seconds >= var.queue_retention_seconds && var.dead_letter_retention_seconds <= 1209600
    error_message = "dead_letter_retention_seconds must be queue_retention_seconds to 1209600 (14 days): SQS counts from the first arrival."
  }
}

variable "queue_visibility_seconds" {
  description = "Seconds after which the work of a dead manager is taken over (30 to 3600)."
  type        = number
  default     = 120
  nullable    = false

  validation {
    condition     = var.queue_visibility_seconds >= 30 && var.queue_visibility_seconds <= 3600
    error_message = "queue_visibility_seconds must be 30 to 3600."
  }
}

variable "queue_max_receive_count" {
  description = "Deliveries after which SQS makes a message a dead letter (8 to 100); a manager does so before, and says why."
  type        = number
  default     = 8
  nullable    = false

  validation {
    condition     = var.queue_max_receive_count >= 8 && var.queue_max_receive_count <= 100
    error_message = "queue_max_receive_count must be 8 to 100: with fewer, SQS makes a message a dead letter before a manager has tried it alone."
  }
}

variable "alarm_dead_letters" {
  description = "Dead letters above which an alarm is raised (0 to 100000)."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.alarm_dead_letters >= 0 && var.alarm_dead_letters <= 100000
    error_message = "alarm_dead_letters must be 0 to 100000."
  }
}

variable "alarm_oldest_message_seconds" {
  description = "Age in seconds (10 to 86400) of the oldest waiting notification above which an alarm is raised, after five minutes."
  type        = number
  default     = 300
  nullable    = false

  validation {
    condition     = var.alarm_oldest_message_seconds >= 10 && var.alarm_oldest_message_seconds <= 86400
    error_message = "alarm_oldest_message_seconds must be 10 to 86400."
  }
}

# Registry

variable "registry_engine" {
  description = "`valkey-7.2`, `valkey-8.0` or `redis-7.1`."
  type        = string
  default     = "valkey-7.2"
  nullable    = false

  validation {
    condition     = contains(["valkey-7.2", "valkey-8.0", "redis-7.1"], var.registry_engine)
    error_message = "registry_engine must be valkey-7.2, valkey-8.0 or redis-7.1."
  }
}

variable "registry_node_type" {
  description = "Node type, as in `cache.r7g.large`. 512 to 600 bytes an item for a day and a half; docs/costs.md has the formula."
  type        = string
  default     = "cache.r7g.large"
  nullable    = false

  validation {
    condition     = can(regex("^cache\\.[a-z0-9]+\\.[a-z0-9]+$", var.registry_node_type))
    error_message = "registry_node_type must be a node type as in cache.r7g.large."
  }
}

variable "registry_node_count" {
  description = "Nodes (1 to 6): one primary and its replicas; from 2 on there is failover."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = var.registry_node_count >= 1 && var.registry_node_count <= 6 && floor(var.registry_node_count) == var.registry_node_count
    error_message = "registry_node_count must be a whole number from 1 to 6."
  }
}

variable "registry_snapshot_days" {
  description = "Days (0 to 35) that nightly snapshots are kept; 0: none."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.registry_snapshot_days >= 0 && var.registry_snapshot_days <= 35
    error_message = "registry_snapshot_days must be 0 to 35."
  }
}

variable "registry_maintenance_window" {
  description = "Weekly hour in UTC in which AWS may restart a node, as in `tue:03:30-tue:04:30`."
  type        = string
  default     = "tue:03:30-tue:04:30"
  nullable    = false

  validation {
    condition     = can(regex("^(mon|tue|wed|thu|fri|sat|sun):([01][0-9]|2[0-3]):[0-5][0-9]-(mon|tue|wed|thu|fri|sat|sun):([01][0-9]|2[0-3]):[0-5][0-9]$", var.registry_maintenance_window))
    error_message = "registry_maintenance_window must be the form tue:03:30-tue:04:30, in UTC."
  }
}

variable "alarm_registry_memory_percent" {
  description = "Memory in use, in percent (10 to 95), above which an alarm is raised; nothing is ever evicted."
  type        = number
  default     = 70
  nullable    = false

  validation {
    condition     = var.alarm_registry_memory_percent >= 10 && var.alarm_registry_memory_percent <= 95
    error_message = "alarm_registry_memory_percent must be 10 to 95."
  }
}

variable "alarm_registry_lag_seconds" {
  description = "Seconds (1 to 3600) that a replica may be behind before an alarm is raised."
  type        = number
  default     = 10
  nullable    = false

  validation {
    condition     = var.alarm_registry_lag_seconds >= 1 && var.alarm_registry_lag_seconds <= 3600
    error_message = "alarm_registry_lag_seconds must be 1 to 3600."
  }
}

# Store

variable "store_expiration_days" {
  description = "Days (1 to 31) after which an object is deleted at the next midnight UTC: 1 means 24 to 48 hours. The owner's, with an existing bucket."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.store_expiration_days >= 1 && var.store_expiration_days <= 31 && floor(var.store_expiration_days) == var.store_expiration_days
    error_message = "store_expiration_days must be a whole number from 1 to 31."
  }
}

variable "store_price_class" {
  description = "CloudFront: `PriceClass_All` (every edge), `PriceClass_200` or `PriceClass_100` (Europe and North America)."
  type        = string
  default     = "PriceClass_All"
  nullable    = false

  validation {
    condition     = contains(["PriceClass_All", "PriceClass_200", "PriceClass_100"], var.store_price_class)
    error_message = "store_price_class must be PriceClass_All, PriceClass_200 or PriceClass_100."
  }
}

variable "existing_bucket_name" {
  description = "Bucket to use instead of making one; null: one is made. Its privacy, expiry and serving stay its owner's."
  type        = string
  default     = null

  validation {
    condition     = var.existing_bucket_name == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.existing_bucket_name))
    error_message = "existing_bucket_name must be 3 to 63 lower-case letters, digits, '.' or '-', or null."
  }
}

variable "existing_bucket_prefix" {
  description = "Prefix of our keys in an existing bucket, without slashes at its ends; empty: none."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = var.existing_bucket_prefix == "" || can(regex("^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.existing_bucket_prefix))
    error_message = "existing_bucket_prefix must be letters, digits, '_', '.', '-', with '/' only in between."
  }
  validation {
    condition     = var.existing_bucket_prefix == "" || var.existing_bucket_name != null
    error_message = "existing_bucket_prefix goes with existing_bucket_name."
  }
}

variable "existing_bucket_key_arn" {
  description = "KMS key with which an existing bucket is encrypted (SSE-KMS); its own policy must let IAM decide. null: none."
  type        = string
  default     = null

  validation {
    condition     = var.existing_bucket_key_arn == null || can(regex("^arn:[a-z-]+:kms:${var.region}:[0-9]{12}:key/[0-9a-f-]+$", var.existing_bucket_key_arn))
    error_message = "existing_bucket_key_arn must be the ARN of a KMS key in the region of this deployment (a key, not an alias), or null."
  }
  validation {
    condition     = var.existing_bucket_key_arn == null || var.existing_bucket_name != null
    error_message = "existing_bucket_key_arn goes with existing_bucket_name."
  }
}

variable "existing_data_base_url" {
  description = "Public https URL under which existing_bucket_name (with its prefix) is served."
  type        = string
  default     = null

  validation {
    condition     = var.existing_data_base_url == null || can(regex("^https://[a-z0-9.-]+(:[0-9]+)?(/[^?#@ ]*)?$", var.existing_data_base_url))
    error_message = "existing_data_base_url must be https://host[/path], or null."
  }
  validation {
    condition     = (var.existing_bucket_name == null) == (var.existing_data_base_url == null)
    error_message = "existing_data_base_url and existing_bucket_name go together."
  }
}

# Secrets, images, alarms, costs

variable "password_version" {
  description = "A higher number (1 to 1000000) makes new passwords at the next apply; the registry's last one stays valid beside it."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.password_version >= 1 && var.password_version <= 1000000 && floor(var.password_version) == var.password_version
    error_message = "password_version must be a whole number from 1."
  }
}

variable "global_brokers" {
  description = "Short names, as in the chart's `brokers`, of the Global Brokers whose URL with login is stored in Secrets Manager: one secret each, for you to fill with {\"url\": \"mqtts://user:password@host:8883\"}."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for name in var.global_brokers : can(regex("^[a-z0-9]([-a-z0-9]{0,22}[a-z0-9])?$", name))])
    error_message = "global_brokers must be names of 1 to 24 lower-case letters, digits or '-': pods are named after them."
  }
}

variable "broker_accounts" {
  description = "Accounts on our broker for the Global Brokers that subscribe to us, as in [\"gb-fr\"]: a secret accounts/{name} each, with the password to hand on."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for name in var.broker_accounts : can(regex("^[a-z0-9][a-z0-9-]{0,62}$", name))])
    error_message = "broker_accounts must be names of 1 to 63 lower-case letters, digits or '-'."
  }
}

variable "secret_recovery_days" {
  description = "Days (7 to 30) in which a deleted secret can be restored; 0: deleted at once, so that the name is free again."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.secret_recovery_days == 0 || (var.secret_recovery_days >= 7 && var.secret_recovery_days <= 30)
    error_message = "secret_recovery_days must be 0, or 7 to 30."
  }
}

variable "kept_images" {
  description = "Images kept of each service, to roll back to (2 to 1000)."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.kept_images >= 2 && var.kept_images <= 1000
    error_message = "kept_images must be 2 to 1000: one to run, one to roll back to."
  }
}

variable "disposable" {
  description = "Whether destroying bucket and image repositories deletes what is in them; for environments that come and go."
  type        = bool
  default     = false
  nullable    = false
}

variable "alarm_emails" {
  description = "Addresses that get every alarm; each must confirm once."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for email in var.alarm_emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", email))])
    error_message = "alarm_emails must be e-mail addresses."
  }
}

variable "budget_usd" {
  description = "US dollars a month (0 to 1000000) above which the alarms' topic gets a message, for the whole account; 0: no budget."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.budget_usd >= 0 && var.budget_usd <= 1000000
    error_message = "budget_usd must be 0 to 1000000."
  }
}
