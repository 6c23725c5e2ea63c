"""Getting the data from where a link leads: HTTP, FTP, SFTP, behind the address guard."""
