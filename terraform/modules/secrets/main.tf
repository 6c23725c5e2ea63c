# Passwords are made by Secrets Manager during the apply, and handed on as write-only arguments:
# neither plan nor state holds them. A higher password_version makes new ones, but for what is kept.

locals {
  # The keys are those that the chart reads (values.yaml: registry.secretArn, broker.secretArn).
  passwords = merge({
    registry = ["password"]
    # The manager's account and the dashboard's.
    broker = ["publisherPassword", "dashboardPassword"]
    # What message ids, and what EMQX's nodes know each other by, are made with.
    deployment = ["secret"]
  }, { for account in local.accounts : account => ["password"] })
  # Of Global Brokers on our broker.
  accounts = [for name in var.broker_accounts : "accounts/${name}"]
  # No login: renewed, it would only let announcements be repeated. And EMQX keeps the password that it knows.
  kept          = toset(concat(["deployment"], local.accounts))
  each_password = toset(flatten([for secret, keys in local.passwords : [for key in keys : "${secret}/${key}"]]))
  # The operator's to fill with {"url": "mqtts://user:password@host:8883"}.
  given = toset([for broker in var.global_brokers : "global-brokers/${broker}"])
}

ephemeral "aws_secretsmanager_random_password" "this" {
  for_each = local.each_password

  provider = aws.passwords

  password_length = 48
  # Letters and digits pass through URLs, shells and configuration files as they are.
  exclude_punctuation        = true
  require_each_included_type = true
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:Renewed by raising password_version: pods must be rolled with it, which a rotation function cannot do.
  for_each = setunion(keys(local.passwords), local.given)

  name                    = "${var.name}/${each.key}"
  kms_key_id              = var.key_arn
  recovery_window_in_days = var.recovery_days
}

resource "aws_secretsmanager_secret_version" "generated" {
  for_each = local.passwords

  secret_id = aws_secretsmanager_secret.this[each.key].id
  secret_string_wo = jsonencode({
    for key in each.value :
    key => ephemeral.aws_secretsmanager_random_password.this["${each.key}/${key}"].random_password
  })
  secret_string_wo_version = contains(local.kept, each.key) ? 1 : var.password_version
}

# Version 1 for ever: Terraform never writes over what the operator put there.
resource "aws_secretsmanager_secret_version" "given" {
  for_each = local.given

  secret_id                = aws_secretsmanager_secret.this[each.key].id
  secret_string_wo         = "{}"
  secret_string_wo_version = 1
}
