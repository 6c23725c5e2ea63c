# The queue between listeners and managers, and its dead letters (architecture.md#queue).

resource "aws_sqs_queue" "notifications" {
  #checkov:skip=CKV_AWS_27:Encrypted with SSE-SQS. Notifications are public data: a KMS key would add a cost per call and a way to fail.
  name                       = "${var.name}-notifications"
  sqs_managed_sse_enabled    = true
  message_retention_seconds  = var.retention_seconds
  visibility_timeout_seconds = var.visibility_timeout_seconds
  receive_wait_time_seconds  = 20
  max_message_size           = 262144

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = var.max_receive_count
  })
}

resource "aws_sqs_queue" "dead_letters" {
  #checkov:skip=CKV_AWS_27:Encrypted with SSE-SQS, as the queue above.
  name                       = "${var.name}-dead-letters"
  sqs_managed_sse_enabled    = true
  message_retention_seconds  = var.dead_letter_retention_seconds
  visibility_timeout_seconds = 30
  max_message_size           = 262144
}

# Which queue may use which as its dead letter queue; both queues say it.
resource "aws_sqs_queue_redrive_allow_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.id

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.notifications.arn]
  })
}

resource "aws_sqs_queue_redrive_allow_policy" "notifications" {
  queue_url = aws_sqs_queue.notifications.id

  redrive_allow_policy = jsonencode({ redrivePermission = "denyAll" })
}

locals {
  queues = {
    notifications = aws_sqs_queue.notifications
    dead_letters  = aws_sqs_queue.dead_letters
  }
}

# Permissions come from the roles (modules/identity). These statements only deny: calls without TLS,
# and access to the messages for everybody else in the account, administrators too.
resource "aws_sqs_queue_policy" "this" {
  for_each = local.queues

  queue_url = each.value.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = each.value.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "OnlyTheServices"
        Effect    = "Deny"
        Principal = "*"
        Action = [
          "sqs:ChangeMessageVisibility",
          "sqs:DeleteMessage",
          "sqs:ReceiveMessage",
          "sqs:SendMessage",
        ]
        Resource  = each.value.arn
        Condition = { ArnNotEquals = { "aws:PrincipalArn" = var.message_role_arns } }
      },
    ]
  })
}
