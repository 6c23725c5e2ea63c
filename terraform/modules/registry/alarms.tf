locals {
  alarms = {
    memory = {
      metric      = "DatabaseMemoryUsagePercentage"
      threshold   = var.alarm_memory_percent
      description = "The registry fills up; when it is full, writes are refused and the cache stops. Take a larger registry_node_type."
    }
    evictions = {
      metric      = "Evictions"
      threshold   = 0
      description = "The registry forgets items: its maxmemory-policy is not noeviction."
    }
    replication-lag = {
      metric      = "ReplicationLag"
      threshold   = var.alarm_replication_lag_seconds
      description = "A replica is behind: a failover now would lose records."
    }
    cpu = {
      metric      = "EngineCPUUtilization"
      threshold   = 80
      description = "The registry's one thread is nearly busy. Take a faster registry_node_type."
    }
  }
  node_alarms = merge([
    for node, id in local.nodes : {
      for name, alarm in local.alarms : "${name}-${node}" => merge(alarm, { node = id })
    }
  ]...)
}

resource "aws_cloudwatch_metric_alarm" "node" {
  for_each = local.node_alarms

  alarm_name          = "${var.name}-registry-${each.key}"
  alarm_description   = each.value.description
  namespace           = "AWS/ElastiCache"
  metric_name         = each.value.metric
  dimensions          = { CacheClusterId = each.value.node }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 5
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  # A primary has no lag to report.
  treat_missing_data = "notBreaching"
  alarm_actions      = [var.alarm_topic_arn]
  ok_actions         = [var.alarm_topic_arn]

  depends_on = [aws_elasticache_replication_group.this]
}
