output "url" {
  description = "URL of the queue."
  value       = aws_sqs_queue.notifications.url
}

output "arn" {
  description = "ARN of the queue."
  value       = aws_sqs_queue.notifications.arn
}

output "dead_letter_url" {
  description = "URL of the dead letter queue."
  value       = aws_sqs_queue.dead_letters.url
}

output "dead_letter_arn" {
  description = "ARN of the dead letter queue."
  value       = aws_sqs_queue.dead_letters.arn
}
