mock_provider "aws" {
  override_during = plan

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-3:123456789012:key/11111111-2222-3333-4444-555555555555" }
  }

  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::mocked" }
  }
}

variables {
  account_id = "123456789012"
  region     = "eu-west-3"
}

run "plan" {
  command = plan

  assert {
    condition     = output.bucket == "wis2-gc-state-123456789012-eu-west-3"
    error_message = "`make deploy` looks for the state there"
  }

  assert {
    condition     = aws_s3_bucket_versioning.state.versioning_configuration[0].status == "Enabled"
    error_message = "A broken state must be recoverable"
  }

  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.state.rule).apply_server_side_encryption_by_default[0].kms_master_key_id == "arn:aws:kms:eu-west-3:123456789012:key/11111111-2222-3333-4444-555555555555"
    error_message = "The state must be encrypted"
  }

  assert {
    condition     = aws_s3_bucket_public_access_block.state.block_public_policy && aws_s3_bucket_public_access_block.state.restrict_public_buckets
    error_message = "The bucket could become public"
  }

  assert {
    condition = anytrue([
      for statement in jsondecode(aws_s3_bucket_policy.state.policy).Statement :
      statement.Effect == "Deny" && statement.Principal == "*" && try(statement.Condition.Bool["aws:SecureTransport"], "") == "false"
    ])
    error_message = "What is not TLS must be denied to everybody"
  }
}

run "reject_account_id_a_short" {
  command = plan

  variables {
    account_id = "1234"
  }

  expect_failures = [var.account_id]
}

run "reject_region_a_zone" {
  command = plan

  variables {
    region = "eu-west-3a"
  }

  expect_failures = [var.region]
}

run "reject_bucket_name_upper_case" {
  command = plan

  variables {
    bucket_name = "State"
  }

  expect_failures = [var.bucket_name]
}

run "reject_kept_days_zero" {
  command = plan

  variables {
    kept_days = 0
  }

  expect_failures = [var.kept_days]
}

run "reject_tags_our_own" {
  command = plan

  variables {
    tags = { Project = "mine" }
  }

  expect_failures = [var.tags]
}
