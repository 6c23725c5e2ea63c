terraform {
  # 1.11: write-only arguments, without which a generated password would lie in the state.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}
