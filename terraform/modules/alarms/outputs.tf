output "topic_arn" {
  description = "ARN of the topic, once those who publish may."
  value       = aws_sns_topic_policy.this.arn
}
