"""Fetches the data that a link leads to: HTTP, FTP, SFTP, behind the address guard."""
