# EKS. Compute is either `auto` (EKS Auto Mode: AWS runs nodes, volumes, load balancers and the Pod
# Identity agent) or `node_groups` (we run them, with the add-ons in addons.tf).

locals {
  is_auto = var.compute == "auto"

  managed = "arn:${var.partition}:iam::aws:policy"
  cluster_policies = concat(["AmazonEKSClusterPolicy"], local.is_auto ? [
    "AmazonEKSBlockStoragePolicy",
    "AmazonEKSComputePolicy",
    "AmazonEKSLoadBalancingPolicy",
    "AmazonEKSNetworkingPolicy",
  ] : [])
  node_policies = concat(["AmazonEC2ContainerRegistryPullOnly"], local.is_auto ? [
    "AmazonEKSWorkerNodeMinimalPolicy",
    ] : [
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy",
  ])
}

resource "aws_eks_cluster" "this" {
  #checkov:skip=CKV_AWS_39:A public API endpoint is a choice; it is open to public_access_cidrs only, and validation refuses 0.0.0.0/0.
  #checkov:skip=CKV_AWS_38:Never open to everybody: see the line above.
  #checkov:skip=CKV_AWS_339:The version is a variable, validated against the supported range.
  name     = var.name
  version  = var.kubernetes_version
  role_arn = aws_iam_role.cluster.arn

  # We choose the add-ons (addons.tf), or Auto Mode brings them.
  bootstrap_self_managed_addons = false
  enabled_cluster_log_types     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]

  access_config {
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = false
  }

  compute_config {
    enabled = local.is_auto
    # Our pods run on a NodePool of our own (deploy/addons.json): this one cannot be changed, and AWS replaces
    # its nodes at any time. It is for pods that run before our pool exists, and because of it
    # EKS lets nodes with this role into the cluster.
    node_pools    = local.is_auto ? ["system"] : null
    node_role_arn = local.is_auto ? aws_iam_role.node.arn : null
  }

  kubernetes_network_config {
    ip_family = "ipv4"
    # Set here, so that the network policies know the address of the cluster's DNS.
    service_ipv4_cidr = var.service_cidr

    elastic_load_balancing {
      enabled = local.is_auto
    }
  }

  storage_config {
    block_storage {
      enabled = local.is_auto
    }
  }

  vpc_config {
    subnet_ids              = var.subnet_ids
    endpoint_private_access = true
    endpoint_public_access  = length(var.public_access_cidrs) > 0
    public_access_cidrs     = length(var.public_access_cidrs) > 0 ? var.public_access_cidrs : null
  }

  encryption_config {
    resources = ["secrets"]

    provider {
      key_arn = var.key_arn
    }
  }

  upgrade_policy {
    support_type = "STANDARD"
  }

  depends_on = [
    aws_iam_role_policy_attachment.cluster,
    aws_iam_role_policy.cluster_key,
    # Made first. Otherwise EKS makes it, without encryption, and keeps it for ever.
    aws_cloudwatch_log_group.control_plane,
  ]
}

resource "aws_cloudwatch_log_group" "control_plane" {
  #checkov:skip=CKV_AWS_338:How long control plane logs are kept is the variable log_retention_days.
  name              = "/aws/eks/${var.name}/cluster"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.key_arn
}

# Logs of pods, one stream each, for people to read. Fluent Bit writes them (modules/identity).
resource "aws_cloudwatch_log_group" "pods" {
  #checkov:skip=CKV_AWS_338:How long pods' logs are kept is the variable log_retention_days.
  count = var.ship_pod_logs ? 1 : 0

  name              = "/wis2-gc/${var.name}/pods"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.key_arn
}

resource "aws_eks_access_entry" "admin" {
  for_each = var.admin_arns

  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.key
}

resource "aws_eks_access_policy_association" "admin" {
  for_each = aws_eks_access_entry.admin

  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.value.principal_arn
  policy_arn    = "arn:${var.partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

  access_scope {
    type = "cluster"
  }
}

resource "aws_eks_access_entry" "viewer" {
  for_each = var.viewer_arns

  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.key
}

resource "aws_eks_access_policy_association" "viewer" {
  for_each = aws_eks_access_entry.viewer

  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.value.principal_arn
  policy_arn    = "arn:${var.partition}:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"

  access_scope {
    type       = "namespace"
    namespaces = [var.namespace]
  }
}
