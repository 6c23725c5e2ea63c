# The broker's network load balancer (wis2-rules.md 25). The chart only registers the pods
# (TargetGroupBinding): neither an uninstalled release nor a new one changes an address.

locals {
  # The public ports, over TLS, and the pods' ports behind them (helm: templates/broker).
  ports = {
    for name, port in {
      mqtts    = { world = 8883, pods = 11883 }
      wss      = { world = 443, pods = 8083 }
      accounts = { world = 8884, pods = 18884 }
    } : name => port if name != "accounts" || var.has_accounts
  }
}

resource "aws_lb" "this" {
  #checkov:skip=CKV_AWS_91:For a network load balancer they contain only TLS handshakes; the broker itself logs its clients.
  #checkov:skip=CKV_AWS_150:Only the addresses must not be lost, and they are protected (modules/addresses).
  name               = "${var.name}-broker"
  load_balancer_type = "network"
  internal           = false
  security_groups    = [aws_security_group.this.id]

  # If the pod of a zone is away, the other zones serve its clients.
  enable_cross_zone_load_balancing = true

  dynamic "subnet_mapping" {
    for_each = var.subnet_ids

    content {
      subnet_id     = subnet_mapping.value
      allocation_id = var.allocation_ids[subnet_mapping.key]
    }
  }
}

resource "aws_lb_target_group" "this" {
  #checkov:skip=CKV_AWS_378:TLS ends at the load balancer; behind it is the VPC.
  for_each = local.ports

  name        = "${var.name}-${each.key}"
  vpc_id      = var.vpc_id
  target_type = "ip"
  protocol    = "TCP"
  port        = each.value.pods

  # The broker sees the clients' own addresses.
  preserve_client_ip   = true
  deregistration_delay = 30

  health_check {
    protocol            = "TCP"
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }

  # Pods may be registered only in target groups with these tags: Auto Mode requires the first, the AWS
  # Load Balancer Controller the second (modules/identity).
  tags = {
    "eks:eks-cluster-name"  = var.name
    "elbv2.k8s.aws/cluster" = var.name
  }
}

resource "aws_lb_listener" "this" {
  for_each = local.ports

  load_balancer_arn = aws_lb.this.arn
  protocol          = "TLS"
  port              = each.value.world
  certificate_arn   = var.certificate_arn
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[each.key].arn
  }
}

resource "aws_security_group" "this" {
  name        = "${var.name}-broker"
  description = "Load balancer of the broker: open to the world, and it reaches the pods of the broker"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-broker" }
}

resource "aws_vpc_security_group_ingress_rule" "world" {
  for_each = local.ports

  security_group_id = aws_security_group.this.id
  description       = "Everybody, over TLS"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = each.value.world
  to_port           = each.value.world
}

resource "aws_vpc_security_group_egress_rule" "pods" {
  for_each = local.ports

  security_group_id            = aws_security_group.this.id
  description                  = "To the pods"
  referenced_security_group_id = var.pods_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = each.value.pods
  to_port                      = each.value.pods
}

resource "aws_vpc_security_group_ingress_rule" "pods" {
  for_each = local.ports

  security_group_id            = var.pods_security_group_id
  description                  = "The broker, from its load balancer"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = each.value.pods
  to_port                      = each.value.pods
}
