output "helm_values" {
  description = "What the chart has to know, ready as a values file: `terraform output -json helm_values`. Holds no password."
  value = {
    centreId = var.centre_id
    image    = { registry = "${var.account_id}.dkr.ecr.${var.region}.amazonaws.com/${local.name}" }
    domain = {
      data    = local.makes_bucket ? var.data_domain : split("/", split("://", var.existing_data_base_url)[1])[0]
      broker  = var.broker_domain
      metrics = var.metrics_domain
    }
    queue = {
      url           = module.queue.url
      deadLetterUrl = module.queue.dead_letter_url
    }
    registry = {
      url       = module.registry.url
      secretArn = module.secrets.arns["registry"]
    }
    deploymentSecret = {
      secretArn = module.secrets.arns["deployment"]
    }
    store = {
      url         = "s3://${local.bucket_name}${var.existing_bucket_prefix == "" ? "" : "/${var.existing_bucket_prefix}"}"
      dataBaseUrl = local.data_base_url
      # From the bucket's lifecycle rule: nothing is announced that it would remove too early.
      expirationDays = var.store_expiration_days
    }
    broker = {
      secretArn = module.secrets.arns["broker"]
      accounts  = [for name in var.broker_accounts : { name = name, secretArn = module.secrets.arns["accounts/${name}"] }]
      zones     = local.broker_zones
      targetGroupBinding = {
        # Auto Mode has a load balancer controller of its own.
        apiVersion = var.compute == "auto" ? "eks.amazonaws.com/v1" : "elbv2.k8s.aws/v1beta1"
        arns       = module.balancer.target_group_arns
      }
    }
    # A list in the environment's own values replaces it.
    brokers = [for name in sort(var.global_brokers) : { name = name, secretArn = module.secrets.arns["global-brokers/${name}"] }]
    # Private addresses that pods must reach: keep them few, because the policies let them through.
    networkPolicy = {
      dns      = { addresses = ["${module.cluster.dns_address}/32"] }
      registry = { networks = local.registry_cidrs }
      store    = { networks = local.endpoint_cidrs }
      kubernetesApi = {
        networks = concat(local.cluster_cidrs, ["${module.cluster.api_address}/32"])
        ports    = [443]
      }
    }
    serviceAccounts = module.identity.service_accounts
    aws             = { region = var.region }
  }
}

output "egress_addresses" {
  description = "IPv4 addresses from which we fetch data and reach Global Brokers: report them to the WMO Secretariat."
  value       = local.makes_vpc ? module.nat_addresses.public_ips : var.existing_egress_addresses
}

output "broker_addresses" {
  description = "IPv4 addresses of our broker: report them to the WMO Secretariat."
  value       = module.broker_addresses.public_ips
}

output "certificate_arn" {
  description = "Certificate of the broker and the metrics service, for the latter's load balancer."
  value       = module.dns.public_certificate_arn
}

output "cluster_name" {
  description = "Name of the EKS cluster, for `aws eks update-kubeconfig`."
  value       = module.cluster.name
}

output "namespace" {
  description = "Kubernetes namespace of the cache."
  value       = var.namespace
}

output "compute" {
  description = "`auto` or `node_groups`: decides which add-ons are needed."
  value       = var.compute
}

output "vpc_id" {
  description = "VPC of the cluster, for the load balancer controller."
  value       = local.vpc_id
}

output "public_subnet_ids" {
  description = "Public subnets, for the metrics service's load balancer."
  value       = local.public_subnet_ids
}

output "private_subnet_ids" {
  description = "Private subnets, for the nodes of Auto Mode."
  value       = local.private_subnet_ids
}

output "tags" {
  description = "Tags of everything, also for what the cluster makes: nodes of Auto Mode, load balancers."
  value       = local.tags
}

output "image_repositories" {
  description = "Of each service: the repository its image is pushed to."
  value       = module.images.repository_urls
}

output "secret_names" {
  description = "Names in Secrets Manager: registry, broker, deployment, accounts/{name}, and global-brokers/{name} (for you to fill)."
  value       = module.secrets.names
}

output "add_ons" {
  description = "Of each add-on that needs AWS: namespace, service account and role."
  value       = module.identity.add_ons
}

output "smoke" {
  description = "What the smoke test looks at: URLs of metrics, data and broker."
  value = {
    metrics   = "https://${var.metrics_domain}/metrics"
    data      = local.data_base_url
    broker    = "mqtts://${var.broker_domain}:8883"
    websocket = "wss://${var.broker_domain}:443/mqtt"
  }
}

output "pod_log_group" {
  description = "Log group of the pods' logs; empty: they are not shipped."
  value       = module.cluster.pod_log_group
}

output "alarm_topic" {
  description = "SNS topic of all alarms but CloudFront's, which has one of its own in us-east-1."
  value       = module.alarms.topic_arn
}
