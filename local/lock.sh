#!/bin/sh
# Writes one hashed lock per thing that is installed. The locks name no download address.
# UPGRADE=1 takes newer versions; without it only what the project files demand changes.
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-.tools/uv/bin/uv}
compile() {
    out=$1
    shift
    "$uv" pip compile -q --universal --generate-hashes --python-version 3.11 --no-annotate --no-header \
        --no-emit-package wis2-gc-common --no-emit-package wis2-gc-listener \
        --no-emit-package wis2-gc-manager --no-emit-package wis2-gc-metrics --no-emit-package wis2-gc-operator \
        ${UPGRADE:+--upgrade} -o "requirements/$out.txt" "$@"
}
echo uv >/tmp/wis2-gc-uv.$$.in
trap 'rm -f /tmp/wis2-gc-uv.$$.in' EXIT
compile uv /tmp/wis2-gc-uv.$$.in
# What builds our packages is a lock of its own: an image's builder needs it, the service never.
compile build requirements/build.in
for service in listener manager metrics; do
    compile "$service" "services/$service/pyproject.toml"
done
compile dev pyproject.toml --group dev requirements/build.in
# What `make deploy` needs on the operator's machine.
compile deploy deploy/requirements.in
# What scans terraform/; terraform/check.sh installs the lock of it.
compile checkov requirements/checkov.in
# What terraform/ is applied to and with in a test.
compile apply requirements/apply.in
