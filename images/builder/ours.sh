#!/bin/sh
# In an image's builder, after dependencies.sh: installs our own packages, as wheels, into /ours.
# The manager's image also has the operator's command: it requires the rights that the manager has.
#   ours.sh SERVICE
set -eu
service=$1
root=/opt/wis2-gc
pip="/opt/tools/bin/python -m pip"

# The build tools are the locked ones in /opt/tools: nothing is fetched here.
ours="./services/common ./services/$service"
[ "$service" != manager ] || ours="$ours ./services/operator"
$pip wheel -q --disable-pip-version-check --no-index --no-deps --no-build-isolation \
    -w /build/wheels $ours
$pip --python "$root/bin/python" install -q --disable-pip-version-check --no-index --no-deps \
    --no-compile --prefix /ours /build/wheels/*.whl
images/compile.sh /ours
# Checks that all installed packages fit together: the lock may be out of date.
PYTHONPATH=$(echo /ours/lib/python3.*/site-packages) \
    $pip --python "$root/bin/python" check --disable-pip-version-check
