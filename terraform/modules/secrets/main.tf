# Secrets Manager makes passwords during the apply, and they are passed on as write-only arguments:
# neither plan nor state holds them. A higher password_version renews all but the kept ones.

locals {
  # The keys are those that the chart reads (values.yaml: registry.secretArn, broker.secretArn).
  passwords = merge({
    registry = ["password"]
    # The manager's account and the dashboard's.
    broker = ["publisherPassword", "dashboardPassword"]
    # Message ids, and the cookie by which EMQX's nodes know each other, are made with it.
    deployment = ["secret"]
  }, { for account in local.accounts : account => ["password"] })
  # Accounts of Global Brokers on our broker.
  accounts = [for name in var.broker_accounts : "accounts/${name}"]
  # It is not a login: to renew it would only repeat announcements. And EMQX keeps the password that it knows.
  kept          = toset(concat(["deployment"], local.accounts))
  each_password = toset(flatten([for secret, keys in local.passwords : [for key in keys : "${secret}/${key}"]]))
  # The operator fills it with {"url": "mqtts://user:password@host:8883"}.
  given = toset([for broker in var.global_brokers : "global-brokers/${broker}"])
}

ephemeral "aws_secretsmanager_random_password" "this" {
  for_each = local.each_password

  provider = aws.passwords

  password_length = 48
  # Letters and digits require no quoting in URLs, shells and configuration files.
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

# Always version 1, so Terraform never overwrites what the operator put there.
resource "aws_secretsmanager_secret_version" "given" {
  for_each = local.given

  secret_id                = aws_secretsmanager_secret.this[each.key].id
  secret_string_wo         = "{}"
  secret_string_wo_version = 1
}
