"""What writes files of this repository: tables in the docs."""
