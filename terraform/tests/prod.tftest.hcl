# terraform test -filter=tests/prod.tftest.hcl -var-file=../environments/prod.tfvars

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

# The chart refuses the same address or subnet twice: each requires its own.
override_resource {
  target          = module.broker_addresses.aws_eip.protected["wis2-gc-prod-broker-1"]
  override_during = plan
  values          = { id = "eipalloc-0eeeeeeeeeeeeeee1", public_ip = "198.51.100.11" }
}

override_resource {
  target          = module.network[0].aws_subnet.public["eu-west-3a"]
  override_during = plan
  values          = { id = "subnet-0eeeeeeeeeeeeeee1" }
}

override_resource {
  target          = module.broker_addresses.aws_eip.protected["wis2-gc-prod-broker-2"]
  override_during = plan
  values          = { id = "eipalloc-0eeeeeeeeeeeeeee2", public_ip = "198.51.100.12" }
}

override_resource {
  target          = module.network[0].aws_subnet.public["eu-west-3b"]
  override_during = plan
  values          = { id = "subnet-0eeeeeeeeeeeeeee2" }
}

override_resource {
  target          = module.broker_addresses.aws_eip.protected["wis2-gc-prod-broker-3"]
  override_during = plan
  values          = { id = "eipalloc-0eeeeeeeeeeeeeee3", public_ip = "198.51.100.13" }
}

override_resource {
  target          = module.network[0].aws_subnet.public["eu-west-3c"]
  override_during = plan
  values          = { id = "subnet-0eeeeeeeeeeeeeee3" }
}


run "plan" {
  command = plan

  assert {
    condition     = output.helm_values.centreId == var.centre_id
    error_message = "helm_values must carry the centre-id"
  }

  assert {
    condition     = toset(keys(output.helm_values)) == toset(["aws", "broker", "brokers", "centreId", "deploymentSecret", "domain", "image", "networkPolicy", "queue", "registry", "serviceAccounts", "store"])
    error_message = "The chart knows these parts of helm_values, and no other"
  }

  assert {
    condition = alltrue([
      for part, keys in {
        aws              = ["region"]
        broker           = ["accounts", "secretArn", "targetGroupBinding", "zones"]
        deploymentSecret = ["secretArn"]
        domain           = ["broker", "data", "metrics"]
        image            = ["registry"]
        networkPolicy    = ["dns", "kubernetesApi", "registry", "store"]
        queue            = ["deadLetterUrl", "url"]
        registry         = ["secretArn", "url"]
        serviceAccounts  = ["listener", "manager", "metrics"]
        store            = ["dataBaseUrl", "expirationDays", "url"]
      } : keys(output.helm_values[part]) == keys
    ])
    error_message = "helm_values has lost or won a key: change the chart with it"
  }

  assert {
    condition     = !strcontains(jsonencode(output.helm_values), "NoPlanMayContainThis")
    error_message = "helm_values holds a password"
  }

  assert {
    condition     = can(regex("^rediss://[a-z0-9-]+@[^:@]+:6379$", output.helm_values.registry.url))
    error_message = "The registry requires TLS, and its URL no password"
  }

  assert {
    condition     = keys(output.helm_values.broker.targetGroupBinding.arns) == ["mqtts", "wss"]
    error_message = "The chart binds the broker's pods to both ports, and without accounts to no other"
  }

  assert {
    condition     = length(output.broker_addresses) == var.broker_address_count
    error_message = "Every broker address is reported"
  }

  assert {
    condition     = output.certificate_arn != null
    error_message = "The broker has no certificate"
  }

  assert {
    condition     = length(output.egress_addresses) == 3
    error_message = "One NAT gateway with its own address in each zone"
  }

  assert {
    condition     = length(output.broker_addresses) == 3
    error_message = "The broker has an address in each zone"
  }

  assert {
    condition     = length(module.network[0].private_subnet_ids) == 3
    error_message = "The VPC spans three zones"
  }

  assert {
    condition     = output.helm_values.image.registry == "123456789012.dkr.ecr.eu-west-3.amazonaws.com/wis2-gc-prod"
    error_message = "The chart adds /wis2-gc-{service}"
  }

  assert {
    condition     = output.helm_values.serviceAccounts.manager.name == "wis2-global-cache-manager"
    error_message = "Pod Identity hangs on the names of the service accounts"
  }

  assert {
    condition     = length(module.alarms_us_east_1) == 1 && length(module.key_us_east_1) == 1
    error_message = "CloudFront's alarm needs a topic, and the topic a key, in us-east-1"
  }

  assert {
    condition     = output.helm_values.networkPolicy.kubernetesApi == { networks = concat(module.network[0].private_cidrs, ["172.20.0.1/32"]), ports = [443] }
    error_message = "The metrics service reaches the Kubernetes API as a Service and at its own addresses, and on 443 only"
  }

  assert {
    condition     = output.helm_values.networkPolicy.dns.addresses == ["172.20.0.10/32"]
    error_message = "In Auto Mode DNS is not a pod: without its address no pod finds a name"
  }

  assert {
    condition     = output.helm_values.networkPolicy.registry.networks == tolist(["10.64.208.0/24", "10.64.209.0/24", "10.64.210.0/24"])
    error_message = "Pods reach the registry's subnets, and no other private address"
  }

  assert {
    condition     = length(output.helm_values.networkPolicy.store.networks) == 0
    error_message = "Without interface endpoints AWS answers from public addresses"
  }
}
