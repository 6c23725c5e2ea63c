# ElastiCache has no write-only argument for passwords: given here, one would be in the state. So
# the user is made with IAM authentication (nobody can log in), and a script then reads the
# password from Secrets Manager and sets it. The user group has the engine "redis", which Valkey
# accepts too, because only that engine can switch `default` off without a password.

resource "aws_elasticache_user" "cache" {
  # With IAM authentication id and name must be the same.
  user_id   = "${var.name}-cache"
  user_name = "${var.name}-cache"
  engine    = "redis"
  # All keys of the registry carry the tag {gc} (common/redis/registry_keys.py).
  access_string = "on ~{gc}* +@all -@admin -@dangerous"

  authentication_mode {
    type = "iam"
  }

  lifecycle {
    ignore_changes = [authentication_mode]
  }
}

# Every group must have a user of this name; a client that gives no name is this user.
resource "aws_elasticache_user" "default" {
  user_id       = "${var.name}-default"
  user_name     = "default"
  engine        = "redis"
  access_string = "off ~keys* -@all"

  # The authentication_mode is not "no-password-required": the API answers "no-password", and every
  # plan would show a change.
  no_password_required = true
}

resource "aws_elasticache_user_group" "this" {
  user_group_id = var.name
  engine        = "redis"
  user_ids      = [aws_elasticache_user.default.user_id, aws_elasticache_user.cache.user_id]

  depends_on = [terraform_data.password]
}

resource "terraform_data" "password" {
  triggers_replace = {
    secret  = var.secret_arn
    version = var.secret_version
  }

  provisioner "local-exec" {
    command = "${path.module}/set-password.sh"
    environment = {
      AWS_REGION = var.region
      SECRET_ID  = var.secret_arn
      USER_ID    = aws_elasticache_user.cache.user_id
    }
  }

  lifecycle {
    replace_triggered_by = [aws_elasticache_user.cache]
  }

  # Modifying a user of a group makes the group "modifying", and a replication group cannot be made
  # with such a group. So the password is set before there is a group.
}
