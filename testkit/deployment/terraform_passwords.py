"""Stands in for Secrets Manager's GetRandomPassword: Terraform's tests cannot mock it.

Listens on a port of the system's choice on 127.0.0.1, writes the port to the file named by the
first argument, and gives everybody the same password, which no plan may then contain.
"""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

PASSWORD = "NoPlanMayContainThis0123456789"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        known = self.headers.get("X-Amz-Target") == "secretsmanager.GetRandomPassword"
        body = json.dumps({"RandomPassword": PASSWORD} if known else {}).encode()
        self.send_response(200 if known else 400)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has
        """Say nothing."""


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", 0), Handler)
    partial = Path(f"{sys.argv[1]}.{os.getpid()}")
    partial.write_text(str(server.server_port))
    partial.rename(sys.argv[1])
    server.serve_forever()
