# terraform test -filter=tests/existing_bucket.tftest.hcl -var-file=tests/existing_bucket.tfvars

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
  target          = module.broker_addresses.aws_eip.protected["wis2-gc-onbucket-broker-1"]
  override_during = plan
  values          = { id = "eipalloc-0eeeeeeeeeeeeeee1", public_ip = "198.51.100.11" }
}

override_resource {
  target          = module.network[0].aws_subnet.public["eu-west-3a"]
  override_during = plan
  values          = { id = "subnet-0eeeeeeeeeeeeeee1" }
}

override_resource {
  target          = module.broker_addresses.aws_eip.protected["wis2-gc-onbucket-broker-2"]
  override_during = plan
  values          = { id = "eipalloc-0eeeeeeeeeeeeeee2", public_ip = "198.51.100.12" }
}

override_resource {
  target          = module.network[0].aws_subnet.public["eu-west-3b"]
  override_during = plan
  values          = { id = "subnet-0eeeeeeeeeeeeeee2" }
}

override_resource {
  target          = module.broker_addresses.aws_eip.protected["wis2-gc-onbucket-broker-3"]
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
    condition     = keys(output.helm_values.broker.targetGroupBinding.arns) == ["accounts", "mqtts", "wss"]
    error_message = "Accounts of Global Brokers have a port of their own"
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
    condition     = length(module.store) == 0 && length(module.alarms_us_east_1) == 0 && length(module.key_us_east_1) == 0
    error_message = "No bucket and no distribution are made"
  }

  assert {
    condition     = output.helm_values.store.url == "s3://centre-public-data/wis2/cache"
    error_message = "The given bucket and prefix are used"
  }

  assert {
    condition     = output.helm_values.store.dataBaseUrl == "https://data.example.net/wis2/cache"
    error_message = "The given URL is used"
  }

  assert {
    condition     = output.helm_values.domain.data == "data.example.net"
    error_message = "The host of that URL"
  }

  assert {
    condition     = output.certificate_arn == var.existing_public_certificate_arn
    error_message = "The given certificate is used"
  }
}
