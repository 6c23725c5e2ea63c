# A NAT gateway holds 55,000 connections to one address. With more, downloads fail at random.
resource "aws_cloudwatch_metric_alarm" "nat_ports" {
  for_each = aws_nat_gateway.this

  alarm_name          = "${var.name}-nat-ports-${each.key}"
  alarm_description   = "The NAT gateway of ${each.key} has no port left for new connections: downloads fail."
  namespace           = "AWS/NATGateway"
  metric_name         = "ErrorPortAllocation"
  dimensions          = { NatGatewayId = each.value.id }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.alarm_topic_arn]
  ok_actions          = [var.alarm_topic_arn]
}
