#!/bin/sh
# In an image's builder, the same for all three: installs pip and the locked build tools in /opt/tools.
# They work on the service's environment from outside: it never holds an installer.
set -eu
command -v strip >/dev/null || {
    echo "error: BUILD_BASE has no strip (Debian's binutils)" >&2
    exit 1
}
python3 -m venv /opt/tools
/opt/tools/bin/python -m pip install -q --disable-pip-version-check --no-cache-dir \
    --require-hashes --only-binary :all: -r requirements/build.txt
