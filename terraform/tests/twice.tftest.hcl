# terraform test -filter=tests/twice.tftest.hcl -var-file=../environments/dev.tfvars
#
# Unlike in the plans of the other files, what only AWS can know is unknown until the first apply, as
# it is in an empty account. testkit/deployment/terraform_plans.py then looks at state and second plan:
# no password in either, and nothing to change.

mock_provider "aws" {
  source = "./tests/mocks"
}

mock_provider "aws" {
  alias  = "us_east_1"
  source = "./tests/mocks"
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

run "once" {
  command = apply
}

run "again" {
  command = plan
}
