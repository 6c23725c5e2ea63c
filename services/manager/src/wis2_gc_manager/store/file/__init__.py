"""The object store in a directory that a web server serves."""
