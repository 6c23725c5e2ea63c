"""moto, completed by what it lacks of the AWS API that terraform/ uses.

    python -m tests.apply.emulator PORT_FILE

One process is one AWS account (MOTO_ACCOUNT_ID), on a port of 127.0.0.1 that the system picks and
PORT_FILE tells. It proves Terraform's graph and the provider's calls; it knows nothing of AWS's
quotas, permissions, and the time things take.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Read while moto is imported.
os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")

from moto.moto_api import state_manager
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tests.apply.emulator import budgets, cloudfront, ec2, eks, elasticache, elbv2, route53, s3, sqs


def main() -> None:
    for service in (budgets, cloudfront, ec2, eks, elasticache, elbv2, route53, s3, sqs):
        service.install()
    # In moto a certificate takes its minute, with any records.
    state_manager.set_transition("acm::certificate", {"progression": "immediate"})
    server = make_server(
        "127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True
    )
    # Whole or not there: somebody waits for it.
    port_file = Path(sys.argv[1])
    unfinished = port_file.with_suffix(".new")
    unfinished.write_text(str(server.server_port), encoding="utf-8")
    unfinished.rename(port_file)
    server.serve_forever()


if __name__ == "__main__":
    main()
