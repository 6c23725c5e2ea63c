output "url" {
  description = "`rediss://host:port` of the primary, without user and password."
  value       = "rediss://${aws_elasticache_replication_group.this.primary_endpoint_address}:${aws_elasticache_replication_group.this.port}"
}
