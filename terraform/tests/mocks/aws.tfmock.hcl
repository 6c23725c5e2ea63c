# What AWS would answer: values of the right shape where the provider looks at the shape, or where
# a policy that the tests read is made of them.

mock_data "aws_availability_zones" {
  defaults = { names = ["eu-west-3a", "eu-west-3b", "eu-west-3c"] }
}

mock_data "aws_default_tags" {
  defaults = {
    tags = { Project = "wis2-global-cache" }
  }
}

mock_data "aws_partition" {
  defaults = { partition = "aws" }
}

mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}

mock_data "aws_route53_zone" {
  defaults = {
    zone_id = "Z0ZONE"
    arn     = "arn:aws:route53:::hostedzone/Z0ZONE"
  }
}

mock_data "aws_eip" {
  defaults = { public_ip = "198.51.100.9" }
}

mock_data "aws_vpc" {
  defaults = {
    id         = "vpc-0123456789abcdef0"
    cidr_block = "10.20.0.0/16"
  }
}

mock_data "aws_subnet" {
  defaults = {
    availability_zone = "eu-west-3c"
    cidr_block        = "10.20.0.0/20"
  }
}

mock_resource "aws_eip" {
  defaults = {
    id        = "eipalloc-0aaaaaaaaaaaaaaaa"
    public_ip = "198.51.100.1"
  }
}

mock_resource "aws_vpc" {
  defaults = { id = "vpc-0aaaaaaaaaaaaaaaa" }
}

mock_resource "aws_subnet" {
  defaults = { id = "subnet-0aaaaaaaaaaaaaaaa" }
}

mock_resource "aws_security_group" {
  defaults = { id = "sg-0aaaaaaaaaaaaaaaa" }
}

mock_resource "aws_iam_role" {
  defaults = { arn = "arn:aws:iam::123456789012:role/mocked" }
}

mock_resource "aws_kms_key" {
  defaults = { arn = "arn:aws:kms:eu-west-3:123456789012:key/11111111-2222-3333-4444-555555555555" }
}

mock_resource "aws_cloudwatch_log_group" {
  defaults = { arn = "arn:aws:logs:eu-west-3:123456789012:log-group:mocked" }
}

mock_resource "aws_sns_topic" {
  defaults = { arn = "arn:aws:sns:eu-west-3:123456789012:mocked" }
}

mock_resource "aws_sqs_queue" {
  defaults = {
    arn = "arn:aws:sqs:eu-west-3:123456789012:mocked"
    id  = "https://sqs.eu-west-3.amazonaws.com/123456789012/mocked"
    url = "https://sqs.eu-west-3.amazonaws.com/123456789012/mocked"
  }
}

mock_resource "aws_s3_bucket" {
  defaults = { arn = "arn:aws:s3:::mocked" }
}

mock_resource "aws_cloudfront_distribution" {
  defaults = { arn = "arn:aws:cloudfront::123456789012:distribution/MOCKED" }
}

mock_resource "aws_secretsmanager_secret" {
  defaults = { arn = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:mocked" }
}

mock_resource "aws_secretsmanager_secret_version" {
  defaults = { arn = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:mocked" }
}

mock_resource "aws_eks_cluster" {
  defaults = {
    arn        = "arn:aws:eks:eu-west-3:123456789012:cluster/mocked"
    vpc_config = { cluster_security_group_id = "sg-0cccccccccccccccc" }
  }
}

mock_resource "aws_acm_certificate" {
  defaults = {
    arn = "arn:aws:acm:us-east-1:123456789012:certificate/mocked"
    domain_validation_options = [
      {
        domain_name           = "wis2-data.example.org"
        resource_record_name  = "_check.wis2-data.example.org"
        resource_record_type  = "CNAME"
        resource_record_value = "_answer.acm.invalid"
      },
      {
        domain_name           = "wis2-broker.example.org"
        resource_record_name  = "_check.wis2-broker.example.org"
        resource_record_type  = "CNAME"
        resource_record_value = "_answer.acm.invalid"
      },
      {
        domain_name           = "wis2-metrics.example.org"
        resource_record_name  = "_check.wis2-metrics.example.org"
        resource_record_type  = "CNAME"
        resource_record_value = "_answer.acm.invalid"
      },
      {
        domain_name           = "wis2-data-dev.example.org"
        resource_record_name  = "_check.wis2-data-dev.example.org"
        resource_record_type  = "CNAME"
        resource_record_value = "_answer.acm.invalid"
      },
      {
        domain_name           = "wis2-broker-dev.example.org"
        resource_record_name  = "_check.wis2-broker-dev.example.org"
        resource_record_type  = "CNAME"
        resource_record_value = "_answer.acm.invalid"
      },
      {
        domain_name           = "wis2-metrics-dev.example.org"
        resource_record_name  = "_check.wis2-metrics-dev.example.org"
        resource_record_type  = "CNAME"
        resource_record_value = "_answer.acm.invalid"
      },
    ]
  }
}

mock_resource "aws_acm_certificate_validation" {
  defaults = { certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/mocked" }
}

mock_resource "aws_launch_template" {
  defaults = { id = "lt-0aaaaaaaaaaaaaaaa" }
}

mock_resource "aws_elasticache_replication_group" {
  defaults = {
    primary_endpoint_address = "master.mocked.cache.amazonaws.com"
  }
}

mock_resource "aws_lb" {
  defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-3:123456789012:loadbalancer/net/mocked/0a" }
}

mock_resource "aws_lb_target_group" {
  defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-3:123456789012:targetgroup/mocked/0a" }
}
