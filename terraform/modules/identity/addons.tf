# Namespaces and service accounts are the defaults of each add-on's own chart.

locals {
  # Everything that the load balancer controller makes carries this tag. It may touch nothing else.
  owned_tag = "elbv2.k8s.aws/cluster"
  is_owned  = { StringEquals = { "aws:ResourceTag/${local.owned_tag}" = var.cluster_name } }
  is_to_own = { StringEquals = { "aws:RequestTag/${local.owned_tag}" = var.cluster_name } }

  all_add_ons = {
    external-secrets = {
      namespace       = "external-secrets"
      service_account = "external-secrets"
      managed_policy  = null
      in_auto_mode    = true
      policy = jsonencode({
        Version = "2012-10-17"
        Statement = [
          {
            Sid      = "Read"
            Effect   = "Allow"
            Action   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
            Resource = var.secret_arns
          },
          {
            Sid       = "Decrypt"
            Effect    = "Allow"
            Action    = ["kms:Decrypt"]
            Resource  = [var.secrets_key_arn]
            Condition = { StringEquals = { "kms:ViaService" = "secretsmanager.${var.region}.amazonaws.com" } }
          },
        ]
      })
    }

    keda = {
      namespace       = "keda"
      service_account = "keda-operator"
      managed_policy  = null
      in_auto_mode    = true
      policy = jsonencode({
        Version = "2012-10-17"
        Statement = [{
          Sid      = "Depth"
          Effect   = "Allow"
          Action   = ["sqs:GetQueueAttributes"]
          Resource = [var.queue_arn]
        }]
      })
    }

    # Reads pods' logs on the nodes; made only with ship_pod_logs.
    fluent-bit = {
      namespace       = "fluent-bit"
      service_account = "fluent-bit"
      managed_policy  = null
      in_auto_mode    = true
      policy = jsonencode({
        Version = "2012-10-17"
        Statement = [{
          Sid      = "Put"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = ["arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group:/wis2-gc/${var.name}/pods:*"]
        }]
      })
    }

    # Alerts of Prometheus go to the same topics as CloudWatch's alarms.
    alertmanager = {
      namespace       = "monitoring"
      service_account = "alertmanager"
      managed_policy  = null
      in_auto_mode    = true
      policy = jsonencode({
        Version = "2012-10-17"
        Statement = [
          {
            Sid      = "Tell"
            Effect   = "Allow"
            Action   = ["sns:Publish"]
            Resource = [var.alarm_topic_arn]
          },
          {
            Sid       = "EncryptForTheTopic"
            Effect    = "Allow"
            Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
            Resource  = [var.alarm_key_arn]
            Condition = { StringEquals = { "kms:ViaService" = "sns.${var.region}.amazonaws.com" } }
          },
        ]
      })
    }

    # Keeps only the record of the metrics service, because Kubernetes makes that load balancer.
    external-dns = {
      namespace       = "external-dns"
      service_account = "external-dns"
      managed_policy  = null
      in_auto_mode    = true
      policy = jsonencode({
        Version = "2012-10-17"
        Statement = [
          {
            Sid      = "OurRecord"
            Effect   = "Allow"
            Action   = ["route53:ChangeResourceRecordSets"]
            Resource = [var.hosted_zone_arn]
            Condition = {
              "ForAllValues:StringLike" = {
                # The second form: the TXT records by which it recognizes its own records.
                "route53:ChangeResourceRecordSetsNormalizedRecordNames" = [var.metrics_domain, "*-${var.metrics_domain}"]
              }
            }
          },
          {
            Sid      = "ReadZone"
            Effect   = "Allow"
            Action   = ["route53:ListResourceRecordSets"]
            Resource = [var.hosted_zone_arn]
          },
          {
            Sid      = "FindZone" # knows no resource
            Effect   = "Allow"
            Action   = ["route53:ListHostedZones"]
            Resource = ["*"]
          },
        ]
      })
    }

    ebs-csi-driver = {
      namespace       = "kube-system"
      service_account = "ebs-csi-controller-sa"
      managed_policy  = "arn:${var.partition}:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"
      in_auto_mode    = false
      policy          = null
    }

    cluster-autoscaler = {
      namespace       = "kube-system"
      service_account = "cluster-autoscaler"
      managed_policy  = null
      in_auto_mode    = false
      policy = jsonencode({
        Version = "2012-10-17"
        Statement = [
          {
            Sid       = "Scale"
            Effect    = "Allow"
            Action    = ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"]
            Resource  = ["*"] # EKS makes the groups; the condition names ours
            Condition = { StringEquals = { "aws:ResourceTag/eks:cluster-name" = var.cluster_name } }
          },
          {
            Sid    = "Look" # knows no resource
            Effect = "Allow"
            Action = [
              "autoscaling:DescribeAutoScalingGroups",
              "autoscaling:DescribeAutoScalingInstances",
              "autoscaling:DescribeLaunchConfigurations",
              "autoscaling:DescribeScalingActivities",
              "ec2:DescribeImages",
              "ec2:DescribeInstanceTypes",
              "ec2:DescribeLaunchTemplateVersions",
              "ec2:GetInstanceTypesFromInstanceRequirements",
            ]
            Resource = ["*"]
          },
          {
            Sid      = "LookAtNodeGroup"
            Effect   = "Allow"
            Action   = ["eks:DescribeNodegroup"]
            Resource = ["arn:${var.partition}:eks:${var.region}:${var.account_id}:nodegroup/${var.cluster_name}/*"]
          },
        ]
      })
    }

    load-balancer-controller = {
      namespace       = "kube-system"
      service_account = "aws-load-balancer-controller"
      managed_policy  = null
      in_auto_mode    = false
      policy = jsonencode({
        Version = "2012-10-17"
        Statement = [
          {
            Sid    = "Look" # knows no resource
            Effect = "Allow"
            Action = [
              "acm:DescribeCertificate",
              "acm:ListCertificates",
              "ec2:DescribeAccountAttributes",
              "ec2:DescribeAddresses",
              "ec2:DescribeAvailabilityZones",
              "ec2:DescribeInstances",
              "ec2:DescribeInternetGateways",
              "ec2:DescribeNetworkInterfaces",
              "ec2:DescribeRouteTables",
              "ec2:DescribeSecurityGroups",
              "ec2:DescribeSubnets",
              "ec2:DescribeTags",
              "ec2:DescribeVpcs",
              "ec2:GetSecurityGroupsForVpc", # required to make a load balancer
              "elasticloadbalancing:DescribeListenerAttributes",
              "elasticloadbalancing:DescribeListenerCertificates",
              "elasticloadbalancing:DescribeListeners",
              "elasticloadbalancing:DescribeLoadBalancerAttributes",
              "elasticloadbalancing:DescribeLoadBalancers",
              "elasticloadbalancing:DescribeRules",
              "elasticloadbalancing:DescribeSSLPolicies",
              "elasticloadbalancing:DescribeTags",
              "elasticloadbalancing:DescribeTargetGroupAttributes",
              "elasticloadbalancing:DescribeTargetGroups",
              "elasticloadbalancing:DescribeTargetHealth",
            ]
            Resource = ["*"]
          },
          {
            Sid       = "LinkedRole"
            Effect    = "Allow"
            Action    = ["iam:CreateServiceLinkedRole"]
            Resource  = ["arn:${var.partition}:iam::${var.account_id}:role/aws-service-role/elasticloadbalancing.amazonaws.com/AWSServiceRoleForElasticLoadBalancing"]
            Condition = { StringEquals = { "iam:AWSServiceName" = "elasticloadbalancing.amazonaws.com" } }
          },
          {
            Sid    = "MakeWithOurTag"
            Effect = "Allow"
            Action = [
              "elasticloadbalancing:CreateLoadBalancer",
              "elasticloadbalancing:CreateTargetGroup",
            ]
            Resource  = ["arn:${var.partition}:elasticloadbalancing:${var.region}:${var.account_id}:*"]
            Condition = local.is_to_own
          },
          {
            Sid      = "MakeSecurityGroupInOurVpc"
            Effect   = "Allow"
            Action   = ["ec2:CreateSecurityGroup"]
            Resource = ["arn:${var.partition}:ec2:${var.region}:${var.account_id}:vpc/${var.vpc_id}"]
          },
          {
            Sid       = "MakeSecurityGroup"
            Effect    = "Allow"
            Action    = ["ec2:CreateSecurityGroup"]
            Resource  = ["arn:${var.partition}:ec2:${var.region}:${var.account_id}:security-group/*"]
            Condition = local.is_to_own
          },
          {
            Sid      = "TagNewSecurityGroup"
            Effect   = "Allow"
            Action   = ["ec2:CreateTags"]
            Resource = ["arn:${var.partition}:ec2:${var.region}:${var.account_id}:security-group/*"]
            Condition = {
              StringEquals = {
                "aws:RequestTag/${local.owned_tag}" = var.cluster_name
                "ec2:CreateAction"                  = "CreateSecurityGroup"
              }
            }
          },
          {
            # Also for the nodes' group, which carries EKS's tag.
            Sid       = "OpenNodes"
            Effect    = "Allow"
            Action    = ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"]
            Resource  = ["arn:${var.partition}:ec2:${var.region}:${var.account_id}:security-group/*"]
            Condition = { StringEquals = { "aws:ResourceTag/aws:eks:cluster-name" = var.cluster_name } }
          },
          {
            Sid    = "ChangeOwnSecurityGroups"
            Effect = "Allow"
            Action = [
              "ec2:AuthorizeSecurityGroupIngress",
              "ec2:CreateTags",
              "ec2:DeleteSecurityGroup",
              "ec2:DeleteTags",
              "ec2:RevokeSecurityGroupIngress",
            ]
            Resource  = ["arn:${var.partition}:ec2:${var.region}:${var.account_id}:security-group/*"]
            Condition = local.is_owned
          },
          {
            Sid    = "ChangeOwn"
            Effect = "Allow"
            Action = [
              "elasticloadbalancing:AddListenerCertificates",
              "elasticloadbalancing:AddTags",
              "elasticloadbalancing:CreateListener",
              "elasticloadbalancing:CreateRule",
              "elasticloadbalancing:DeleteListener",
              "elasticloadbalancing:DeleteLoadBalancer",
              "elasticloadbalancing:DeleteRule",
              "elasticloadbalancing:DeleteTargetGroup",
              "elasticloadbalancing:DeregisterTargets",
              "elasticloadbalancing:ModifyListener",
              "elasticloadbalancing:ModifyListenerAttributes",
              "elasticloadbalancing:ModifyLoadBalancerAttributes",
              "elasticloadbalancing:ModifyRule",
              "elasticloadbalancing:ModifyTargetGroup",
              "elasticloadbalancing:ModifyTargetGroupAttributes",
              "elasticloadbalancing:RegisterTargets",
              "elasticloadbalancing:RemoveListenerCertificates",
              "elasticloadbalancing:RemoveTags",
              "elasticloadbalancing:SetIpAddressType",
              "elasticloadbalancing:SetRulePriorities",
              "elasticloadbalancing:SetSecurityGroups",
              "elasticloadbalancing:SetSubnets",
            ]
            Resource  = ["arn:${var.partition}:elasticloadbalancing:${var.region}:${var.account_id}:*"]
            Condition = local.is_owned
          },
          {
            Sid       = "TagNew"
            Effect    = "Allow"
            Action    = ["elasticloadbalancing:AddTags"]
            Resource  = ["arn:${var.partition}:elasticloadbalancing:${var.region}:${var.account_id}:*"]
            Condition = local.is_to_own
          },
        ]
      })
    }
  }
}
