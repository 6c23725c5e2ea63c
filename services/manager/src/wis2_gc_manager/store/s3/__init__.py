"""The object store in a bucket of S3."""
