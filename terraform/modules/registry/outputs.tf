output "url" {
  description = "`rediss://user@host:port` of the primary, without the password."
  value       = "rediss://${aws_elasticache_user.cache.user_name}@${aws_elasticache_replication_group.this.primary_endpoint_address}:${aws_elasticache_replication_group.this.port}"
}
