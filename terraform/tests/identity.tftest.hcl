# terraform test -filter=tests/identity.tftest.hcl
#
# Roles: what each of them may do, and nothing besides.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  name                   = "wis2-gc-test"
  partition              = "aws"
  region                 = "eu-west-3"
  account_id             = "123456789012"
  vpc_id                 = "vpc-0123456789abcdef0"
  cluster_name           = "wis2-gc-test"
  cluster_arn            = "arn:aws:eks:eu-west-3:123456789012:cluster/wis2-gc-test"
  compute                = "auto"
  namespace              = "wis2-global-cache"
  service_account_prefix = "wis2-global-cache"
  queue_arn              = "arn:aws:sqs:eu-west-3:123456789012:queue"
  dead_letter_queue_arn  = "arn:aws:sqs:eu-west-3:123456789012:dead"
  bucket_arn             = "arn:aws:s3:::bucket"
  bucket_key_arn         = null
  object_prefix          = "cache/"
  secret_arns            = ["arn:aws:secretsmanager:eu-west-3:123456789012:secret:registry"]
  secrets_key_arn        = "arn:aws:kms:eu-west-3:123456789012:key/11111111-2222-3333-4444-555555555555"
  alarm_topic_arn        = "arn:aws:sns:eu-west-3:123456789012:alarms"
  alarm_key_arn          = "arn:aws:kms:eu-west-3:123456789012:key/11111111-2222-3333-4444-555555555555"
  hosted_zone_arn        = "arn:aws:route53:::hostedzone/Z0ZONE"
  metrics_domain         = "metrics.example.org"
}

run "a_role_may_do_its_work_and_no_more" {
  command = plan

  module {
    source = "../modules/identity"
  }

  variables {
    compute = "node_groups"
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.this["listener"].policy).Statement : [
        for resource in statement.Resource : [for action in statement.Action : "${action} ${resource}"]
      ]
    ])) == toset(["sqs:SendMessage arn:aws:sqs:eu-west-3:123456789012:queue"])
    error_message = "The listener may only send to the queue"
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.this["manager"].policy).Statement : [
        for resource in statement.Resource : [for action in statement.Action : "${action} ${resource}"]
      ]
      ])) == toset([
      "sqs:ChangeMessageVisibility arn:aws:sqs:eu-west-3:123456789012:queue",
      "sqs:DeleteMessage arn:aws:sqs:eu-west-3:123456789012:queue",
      "sqs:GetQueueAttributes arn:aws:sqs:eu-west-3:123456789012:queue",
      "sqs:ReceiveMessage arn:aws:sqs:eu-west-3:123456789012:queue",
      "sqs:SendMessage arn:aws:sqs:eu-west-3:123456789012:queue",
      "sqs:ChangeMessageVisibility arn:aws:sqs:eu-west-3:123456789012:dead",
      "sqs:DeleteMessage arn:aws:sqs:eu-west-3:123456789012:dead",
      "sqs:GetQueueAttributes arn:aws:sqs:eu-west-3:123456789012:dead",
      "sqs:ListMessageMoveTasks arn:aws:sqs:eu-west-3:123456789012:dead",
      "sqs:ReceiveMessage arn:aws:sqs:eu-west-3:123456789012:dead",
      "sqs:SendMessage arn:aws:sqs:eu-west-3:123456789012:dead",
      "sqs:StartMessageMoveTask arn:aws:sqs:eu-west-3:123456789012:dead",
      "s3:AbortMultipartUpload arn:aws:s3:::bucket/cache/*",
      "s3:DeleteObject arn:aws:s3:::bucket/cache/*",
      "s3:GetObject arn:aws:s3:::bucket/cache/*",
      "s3:PutObject arn:aws:s3:::bucket/cache/*",
      "s3:ListBucket arn:aws:s3:::bucket",
    ])
    error_message = "The manager may do more, or less, than its work"
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.this["metrics"].policy).Statement : [
        for resource in statement.Resource : [for action in statement.Action : "${action} ${resource}"]
      ]
    ])) == toset(["sqs:GetQueueAttributes arn:aws:sqs:eu-west-3:123456789012:queue", "sqs:GetQueueAttributes arn:aws:sqs:eu-west-3:123456789012:dead"])
    error_message = "The metrics service may only look at the queues"
  }

  assert {
    condition = alltrue(flatten([
      for policy in aws_iam_role_policy.this : [
        for statement in jsondecode(policy.policy).Statement : [for action in statement.Action : !strcontains(action, "*")]
      ]
    ]))
    error_message = "An action with a wildcard"
  }

  assert {
    condition = alltrue(flatten([
      for policy in aws_iam_role_policy.this : [
        for statement in jsondecode(policy.policy).Statement : [
          for action in statement.Action :
          can(regex(":(Describe|List|Get)", action)) || contains(keys(statement), "Condition")
        ] if contains(statement.Resource, "*")
      ]
    ]))
    error_message = "On every resource, without a condition, a role may look but not touch"
  }

  assert {
    condition = alltrue([
      for role in aws_iam_role.this : alltrue([
        for statement in jsondecode(role.assume_role_policy).Statement :
        jsonencode(statement.Principal) == jsonencode({ Service = "pods.eks.amazonaws.com" }) &&
        statement.Condition.StringEquals["aws:RequestTag/eks-cluster-arn"] == var.cluster_arn
      ])
    ])
    error_message = "Only pods of our cluster may take a role"
  }

  assert {
    condition     = aws_eks_pod_identity_association.this["manager"].service_account == "wis2-global-cache-manager" && aws_eks_pod_identity_association.this["manager"].namespace == "wis2-global-cache"
    error_message = "The role goes to the service account of the chart"
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.this["alertmanager"].policy).Statement : [
        for resource in statement.Resource : [for action in statement.Action : "${action} ${resource}"]
      ]
    ])) == toset(["sns:Publish ${var.alarm_topic_arn}", "kms:Decrypt ${var.alarm_key_arn}", "kms:GenerateDataKey ${var.alarm_key_arn}"])
    error_message = "Alertmanager may tell the topic of the alarms, and no other"
  }

  assert {
    condition     = !contains(keys(aws_eks_pod_identity_association.this), "ebs-csi-driver") && contains(keys(output.add_ons), "ebs-csi-driver")
    error_message = "EKS refuses a second association of the driver of the volumes"
  }
}

run "a_bucket_with_a_key_of_its_own_lets_the_manager_use_it" {
  command = plan

  module {
    source = "../modules/identity"
  }

  variables {
    bucket_key_arn = "arn:aws:kms:eu-west-3:123456789012:key/99999999-2222-3333-4444-555555555555"
  }

  assert {
    condition = [
      for statement in jsondecode(aws_iam_role_policy.this["manager"].policy).Statement : statement
      if contains(statement.Resource, var.bucket_key_arn)
      ] == [{
        Sid       = "Encrypt"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = [var.bucket_key_arn]
        Condition = { StringEquals = { "kms:ViaService" = "s3.eu-west-3.amazonaws.com" } }
    }]
    error_message = "The manager may use the key, by way of S3 only"
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.this["listener"].policy, "kms:") && !strcontains(aws_iam_role_policy.this["metrics"].policy, "kms:")
    error_message = "Nobody else stores objects"
  }
}

run "auto_mode_needs_fewer_roles" {
  command = plan

  module {
    source = "../modules/identity"
  }

  assert {
    condition     = toset(keys(output.add_ons)) == toset(["alertmanager", "external-dns", "external-secrets", "keda"])
    error_message = "Auto Mode has load balancers, volumes and nodes built in"
  }
}

run "logs_are_shipped_by_one_who_may_do_nothing_else" {
  command = plan

  module {
    source = "../modules/identity"
  }

  variables {
    ship_pod_logs = true
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.this["fluent-bit"].policy).Statement == [{
      Sid      = "Put"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = ["arn:aws:logs:eu-west-3:123456789012:log-group:/wis2-gc/wis2-gc-test/pods:*"]
    }]
    error_message = "Fluent Bit may put lines into the one log group"
  }
}
