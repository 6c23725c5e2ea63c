terraform {
  # 1.11: write-only arguments, which keep generated passwords out of the state.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
      # A provider of its own, so that tests can mock the other one (../../main/versions.tf).
      configuration_aliases = [aws.passwords]
    }
  }
}
