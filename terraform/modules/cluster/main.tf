# EKS. Compute is one choice: `auto` (EKS Auto Mode: nodes, volumes, load balancers and the Pod
# Identity agent are AWS's work) or `node_groups` (ours, with the add-ons in addons.tf).

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

  # Add-ons are ours to choose (addons.tf), or Auto Mode's.
  bootstrap_self_managed_addons = false
  enabled_cluster_log_types     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]

  access_config {
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = false
  }

  compute_config {
    enabled = local.is_auto
    # Ours stand on nodes of a NodePool of ours (deploy/addons.json): this one cannot be changed, and has
    # its nodes replaced whenever that suits AWS. It is for what runs before ours is there, and it has
    # EKS let nodes with this role into the cluster.
    node_pools    = local.is_auto ? ["system"] : null
    node_role_arn = local.is_auto ? aws_iam_role.node.arn : null
  }

  kubernetes_network_config {
    ip_family = "ipv4"
    # Named here, so that the address of the cluster's DNS is known to the network policies.
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
    # Made first, or EKS makes it: without encryption, and kept for ever.
    aws_cloudwatch_log_group.control_plane,
  ]
}

resource "aws_cloudwatch_log_group" "control_plane" {
  #checkov:skip=CKV_AWS_338:How long control plane logs are kept is the variable log_retention_days.
  name              = "/aws/eks/${var.name}/cluster"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.key_arn
}

# Read by nobody but people: what pods say, one stream each. Fluent Bit puts it there (modules/identity).
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
