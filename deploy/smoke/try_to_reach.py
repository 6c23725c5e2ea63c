"""Tries to connect from where it runs, and prints what comes of it: `try_to_reach.py HOST PORT`.

`reached`, `shut out`, `refused`, `no such name`, or what else went wrong. Runs inside a listener's
pod. Given to Python as text: it is no part of the image.
"""

from __future__ import annotations

import socket
import sys

#: Policies drop in silence. Inside a cluster an answer takes milliseconds.
_TIMEOUT_S = 5


def main() -> None:
    """Print one line."""
    host, port = sys.argv[1], int(sys.argv[2])
    try:
        socket.getaddrinfo(host, port)
    except socket.gaierror:
        print("no such name")
        return
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT_S).close()
    except TimeoutError:
        print("shut out")
    except ConnectionRefusedError:
        # Nobody listens there yet: that says nothing about policies.
        print("refused")
    except OSError as error:
        print(error)
    else:
        print("reached")


if __name__ == "__main__":
    main()
