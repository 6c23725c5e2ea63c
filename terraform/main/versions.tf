terraform {
  # 1.11: write-only arguments, which keep generated passwords out of the state.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # The bucket, its region and the key differ by account and environment:
  #   terraform init -backend-config=bucket=… -backend-config=region=… -backend-config=key=prod.tfstate
  # (`terraform output` of ../bootstrap says which).
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

locals {
  tags = merge(var.tags, {
    Project     = "wis2-global-cache"
    Environment = var.environment
    ManagedBy   = "terraform"
  })
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account_id]

  default_tags {
    tags = local.tags
  }
}

# CloudFront's certificates and metrics.
provider "aws" {
  alias               = "us_east_1"
  region              = "us-east-1"
  allowed_account_ids = [var.account_id]

  default_tags {
    tags = local.tags
  }
}

# Makes passwords. It is separate, because Terraform's tests cannot mock ephemeral resources: there this
# provider is real, and asks a stand-in.
provider "aws" {
  alias               = "passwords"
  region              = var.region
  allowed_account_ids = [var.account_id]
}
