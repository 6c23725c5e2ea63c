# EKS's own add-ons. Auto Mode includes all of them except the metrics server.

locals {
  before_nodes = local.is_auto ? {} : {
    # Without this setting NetworkPolicies are accepted and ignored.
    vpc-cni                = jsonencode({ enableNetworkPolicy = "true" })
    kube-proxy             = null
    eks-pod-identity-agent = null
  }
  after_nodes = merge(local.is_auto ? {
    # It runs on nodes of the pool `system`, until `make deploy` makes a pool for the rest.
    metrics-server = jsonencode({ tolerations = [{ key = "CriticalAddonsOnly", operator = "Exists" }] })
    } : {
    metrics-server     = null
    coredns            = null
    aws-ebs-csi-driver = jsonencode({ defaultStorageClass = { enabled = true } })
  })
}

resource "aws_eks_addon" "before_nodes" {
  for_each = local.before_nodes

  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.key
  configuration_values        = each.value
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
}

resource "aws_eks_addon" "after_nodes" {
  for_each = local.after_nodes

  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.key
  configuration_values        = each.value
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"

  # It is part of the add-on: a pod gets its role when it starts, or never, and without the role
  # the driver does not become healthy.
  dynamic "pod_identity_association" {
    for_each = each.key == "aws-ebs-csi-driver" ? ["ebs-csi-controller-sa"] : []

    content {
      service_account = pod_identity_association.value
      role_arn        = var.volume_driver_role_arn
    }
  }

  depends_on = [aws_eks_node_group.this]
}
