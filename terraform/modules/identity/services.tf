# Exactly the calls that the adapters make: common/sqs and manager/store/s3.

locals {
  service_accounts = {
    for service in ["listener", "manager", "metrics"] : service => "${var.service_account_prefix}-${service}"
  }

  services = {
    listener = {
      namespace       = var.namespace
      service_account = local.service_accounts.listener
      managed_policy  = null
      in_auto_mode    = true
      policy = jsonencode({
        Version = "2012-10-17"
        Statement = [{
          Sid      = "Send"
          Effect   = "Allow"
          Action   = ["sqs:SendMessage"]
          Resource = [var.queue_arn]
        }]
      })
    }

    manager = {
      namespace       = var.namespace
      service_account = local.service_accounts.manager
      managed_policy  = null
      in_auto_mode    = true
      policy = jsonencode({
        Version = "2012-10-17"
        Statement = concat([
          {
            Sid    = "Work"
            Effect = "Allow"
            Action = [
              "sqs:ChangeMessageVisibility",
              "sqs:DeleteMessage",
              "sqs:GetQueueAttributes",
              "sqs:ReceiveMessage",
              "sqs:SendMessage", # hands a message back with a delay
            ]
            Resource = [var.queue_arn]
          },
          {
            # To send a dead letter; the rest is for the operator's `wis2-gc`, which runs in a manager's pod.
            Sid    = "GiveUpAndRedrive"
            Effect = "Allow"
            Action = [
              "sqs:ChangeMessageVisibility",
              "sqs:DeleteMessage",
              "sqs:GetQueueAttributes",
              "sqs:ListMessageMoveTasks",
              "sqs:ReceiveMessage",
              "sqs:SendMessage",
              "sqs:StartMessageMoveTask",
            ]
            Resource = [var.dead_letter_queue_arn]
          },
          {
            Sid    = "Objects"
            Effect = "Allow"
            Action = [
              "s3:AbortMultipartUpload",
              "s3:DeleteObject",
              "s3:GetObject", # HEAD
              "s3:PutObject", # multipart too
            ]
            Resource = ["${var.bucket_arn}/${var.object_prefix}*"]
          },
          {
            # Without it, a HEAD of a missing object answers 403, as if we had no access.
            Sid      = "TellWhatIsMissing"
            Effect   = "Allow"
            Action   = ["s3:ListBucket"]
            Resource = [var.bucket_arn]
          },
          ], var.bucket_key_arn == null ? [] : [{
            Sid       = "Encrypt"
            Effect    = "Allow"
            Action    = ["kms:Decrypt", "kms:GenerateDataKey"] # a multipart upload decrypts, too
            Resource  = [var.bucket_key_arn]
            Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
        }])
      })
    }

    metrics = {
      namespace       = var.namespace
      service_account = local.service_accounts.metrics
      managed_policy  = null
      in_auto_mode    = true
      policy = jsonencode({
        Version = "2012-10-17"
        Statement = [{
          Sid      = "Depth"
          Effect   = "Allow"
          Action   = ["sqs:GetQueueAttributes"]
          Resource = [var.queue_arn, var.dead_letter_queue_arn]
        }]
      })
    }
  }
}
