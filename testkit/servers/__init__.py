"""Servers of a test: real Redis, MQTT brokers, SQS and S3, and scripted ones that misbehave."""
