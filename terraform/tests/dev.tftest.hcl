mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}
mock_provider "aws" {
  alias           = "us_east_1"
  source          = "./tests/mocks"
  override_during = plan
}

run "a" {
  command = plan
  assert {
    condition     = length(module.network[0].private_subnet_ids) == 3
    error_message = "x"
  }
  assert {
    condition     = output.helm_values.queue.url == "x"
    error_message = jsonencode(output.helm_values)
  }
}

provider "aws" {
  alias                       = "passwords"
  region                      = "eu-west-3"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}
