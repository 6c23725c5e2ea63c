"""`helm test`: asks the metrics service, over its Service, whether the cache works.

Fails where something of ours is missing, or where no Global Broker is subscribed to; one of several
is told. METRICS_URL: without a slash at its end.
"""

import json
import os
import sys
from urllib.request import urlopen


def get(path: str) -> bytes:
    """Return what the metrics service answers. Raises OSError: nothing, or an error."""
    with urlopen(os.environ["METRICS_URL"] + path, timeout=10) as answer:  # noqa: S310
        content: bytes = answer.read()
    return content


try:
    get("/metrics")
    summary = json.loads(get("/api/summary"))
except OSError as error:
    sys.exit(f"the metrics service: {error}")
missing, listeners = summary["missing"], summary["listeners"]
lines = [*missing, f"{listeners['ready']} of {listeners['total']} Global Brokers are subscribed to"]
sys.stdout.write("\n".join(lines) + "\n")
if any(not line.endswith(" is not subscribed") for line in missing) or not listeners["ready"]:
    sys.exit("the cache does not work as it should")
