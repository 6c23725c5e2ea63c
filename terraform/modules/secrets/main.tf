# Passwords are made by Secrets Manager during the apply, and handed on as write-only arguments:
# neither plan nor state holds them. A higher password_version makes new ones.

locals {
  usernames = {
    registry = "${var.name}-cache"
    # The manager's account on our broker, the dashboard's, and what EMQX's nodes know each other by.
    broker-publisher = "cache"
    broker-dashboard = "admin"
    broker-cookie    = "emqx"
  }
  # The operator's to fill: logins at Global Brokers that want more than everyone/everyone.
  given = toset(["global-brokers"])
}

ephemeral "aws_secretsmanager_random_password" "this" {
  for_each = local.usernames

  provider = aws.passwords

  password_length = 48
  # Letters and digits pass through URLs, shells and configuration files as they are.
  exclude_punctuation        = true
  require_each_included_type = true
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:Renewed by raising password_version: pods must be rolled with it, which a rotation function cannot do.
  for_each = setunion(keys(local.usernames), local.given)

  name                    = "${var.name}/${each.key}"
  kms_key_id              = var.key_arn
  recovery_window_in_days = var.recovery_days
}

resource "aws_secretsmanager_secret_version" "generated" {
  for_each = local.usernames

  secret_id = aws_secretsmanager_secret.this[each.key].id
  secret_string_wo = jsonencode({
    username = each.value
    password = ephemeral.aws_secretsmanager_random_password.this[each.key].random_password
  })
  secret_string_wo_version = var.password_version
}

# Version 1 for ever: Terraform never writes over what the operator put there.
resource "aws_secretsmanager_secret_version" "given" {
  for_each = local.given

  secret_id                = aws_secretsmanager_secret.this[each.key].id
  secret_string_wo         = "{}"
  secret_string_wo_version = 1
}
