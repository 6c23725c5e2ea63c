# One role per service account, given to its pods by EKS Pod Identity. services.tf says what our
# services may do, addons.tf what the add-ons that `make deploy` installs may.

locals {
  # With Auto Mode, the add-ons that it has built in get no role.
  add_ons = {
    for name, role in local.all_add_ons : name => role
    if(role.in_auto_mode || var.compute == "node_groups") && (name != "fluent-bit" || var.ship_pod_logs)
  }
  roles = merge(local.services, local.add_ons)
}

resource "aws_iam_role" "this" {
  for_each = local.roles

  name        = "${var.name}-${each.key}"
  description = "For pods of ${each.value.namespace}/${each.value.service_account}"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      # Only for this cluster, namespace and account, even if something else is associated by mistake.
      Condition = {
        StringEquals = {
          "aws:RequestTag/eks-cluster-arn"            = var.cluster_arn
          "aws:RequestTag/kubernetes-namespace"       = each.value.namespace
          "aws:RequestTag/kubernetes-service-account" = each.value.service_account
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  for_each = { for name, role in local.roles : name => role if role.policy != null }

  name   = "least"
  role   = aws_iam_role.this[each.key].id
  policy = each.value.policy
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each = { for name, role in local.roles : name => role if role.managed_policy != null }

  role       = aws_iam_role.this[each.key].name
  policy_arn = each.value.managed_policy
}

resource "aws_eks_pod_identity_association" "this" {
  # EKS' own add-on for volumes is associated in the module that makes it (modules/cluster).
  for_each = { for name, role in local.roles : name => role if name != "ebs-csi-driver" }

  cluster_name    = var.cluster_name
  namespace       = each.value.namespace
  service_account = each.value.service_account
  role_arn        = aws_iam_role.this[each.key].arn
}
