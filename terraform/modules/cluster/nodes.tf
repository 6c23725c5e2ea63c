# One node group in each subnet, that is in each zone; only for compute = "node_groups". A volume stays
# in its zone. With one group for all zones, the autoscaler could not ask for a node in that zone.
locals {
  node_subnets = local.is_auto ? {} : { for index, id in var.subnet_ids : "zone-${index + 1}" => id }
}

resource "aws_eks_node_group" "this" {
  for_each = local.node_subnets

  cluster_name    = aws_eks_cluster.this.name
  node_group_name = each.key
  node_role_arn   = aws_iam_role.node.arn
  subnet_ids      = [each.value]
  version         = var.kubernetes_version
  ami_type        = "AL2023_x86_64_STANDARD"
  instance_types  = var.node_instance_types

  scaling_config {
    min_size     = ceil(var.node_count_min / length(var.subnet_ids))
    desired_size = ceil(var.node_count_min / length(var.subnet_ids))
    max_size     = ceil(var.node_count_max / length(var.subnet_ids))
  }

  update_config {
    max_unavailable = 1
  }

  launch_template {
    id      = aws_launch_template.node[0].id
    version = aws_launch_template.node[0].latest_version
  }

  lifecycle {
    # The autoscaler changes it, if there is one.
    ignore_changes = [scaling_config[0].desired_size]
  }

  depends_on = [
    aws_iam_role_policy_attachment.node,
    # A node without a network plug-in never becomes ready.
    aws_eks_addon.before_nodes,
  ]
}

data "aws_default_tags" "this" {}

resource "aws_launch_template" "node" {
  count = local.is_auto ? 0 : 1

  name                   = "${var.name}-node"
  update_default_version = true

  # Hop limit 1: pods follow links of strangers, and must not reach the node's credentials.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = 50
      encrypted             = true
      delete_on_termination = true
    }
  }

  # The provider tags only the template; these are the tags of what is started from it.
  dynamic "tag_specifications" {
    for_each = toset(["instance", "network-interface", "volume"])

    content {
      resource_type = tag_specifications.key
      tags          = merge(data.aws_default_tags.this.tags, { Name = "${var.name}-node" })
    }
  }
}
