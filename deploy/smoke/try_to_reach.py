"""Prints what comes of a connection from where it runs: `try_to_reach.py HOST PORT`.

`reached`, `shut out`, `refused`, `no such name`, or what else is wrong. Given as text to Python in
a listener's pod: it is no part of the image.
"""

import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
try:
    # Policies drop in silence. Inside a cluster an answer takes milliseconds.
    socket.create_connection((host, port), timeout=5).close()
    print("reached")
except socket.gaierror:
    print("no such name")
except TimeoutError:
    print("shut out")
except ConnectionRefusedError:
    # Nobody listens there yet: that says nothing about policies.
    print("refused")
except OSError as error:
    print(error)
