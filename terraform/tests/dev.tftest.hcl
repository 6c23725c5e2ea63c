# terraform test -filter=tests/dev.tftest.hcl -var-file=../environments/dev.tfvars

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
    condition     = length(output.egress_addresses) == 1
    error_message = "One NAT gateway has one address"
  }

  assert {
    condition     = length(module.network[0].private_subnet_ids) == 3
    error_message = "The VPC spans three zones"
  }

  assert {
    condition     = output.helm_values.store.url == "s3://wis2-gc-dev-data-123456789012"
    error_message = "The bucket is ours"
  }

  assert {
    condition     = output.helm_values.store.dataBaseUrl == "https://wis2-data-dev.example.org"
    error_message = "Data are served under our name"
  }

  assert {
    condition     = !contains(keys(output.add_ons), "load-balancer-controller")
    error_message = "Auto Mode has a load balancer controller of its own"
  }

  assert {
    condition     = output.helm_values.broker.zones == tolist(["eu-west-3a"])
    error_message = "The broker's pods stand where its load balancer does: of another zone it knows nothing"
  }
}
