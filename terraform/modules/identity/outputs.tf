output "service_accounts" {
  description = "Of each service (listener, manager, metrics): the name of its service account and the ARN of its role."
  value = {
    for service, account in local.service_accounts : service => {
      name    = account
      roleArn = aws_iam_role.this[service].arn
    }
  }
}

output "add_ons" {
  description = "Of each add-on: namespace, service account and the ARN of its role."
  value = {
    for name, role in local.add_ons : name => {
      namespace       = role.namespace
      service_account = role.service_account
      role_arn        = aws_iam_role.this[name].arn
    }
  }

  # A role is given out only when its permissions are there.
  depends_on = [aws_iam_role_policy.this, aws_iam_role_policy_attachment.this]
}
