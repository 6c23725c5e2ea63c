#!/bin/sh
# Runs `python -m deploy` with what it needs and no more: a virtual environment of its own, from
# a hashed lock. It requires neither root nor the servers of the tests.
#   deploy/run.sh STEP ENV
set -eu
cd "$(dirname "$0")/.."
step=$1 environment=$2

if [ -z "$environment" ]; then
    echo "error: name the environment: ENV=dev or ENV=prod" >&2
    exit 2
fi

python=""
for candidate in python3.11 python3.12 python3.13 python3; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "error: Python 3.11 or later with venv is needed (Debian: apt install python3-venv)" >&2
    exit 2
fi

mkdir -p .tools
(
    # Two deployments may begin at the same time.
    exec 9>.tools/.deploy-lock
    if command -v flock >/dev/null 2>&1; then flock 9; fi
    lock=$(cksum <requirements/deploy.txt)
    if [ "$(cat .tools/deploy/.locked 2>/dev/null || true)" != "$lock" ]; then
        echo "  installing Python packages into .tools/deploy" >&2
        rm -rf .tools/deploy
        "$python" -m venv .tools/deploy
        .tools/deploy/bin/python -m pip install -qq --disable-pip-version-check --require-hashes \
            --only-binary :all: -r requirements/deploy.txt
        printf '%s\n' "$lock" >.tools/deploy/.locked
    fi
)
PYTHONPATH=.:services/common/src exec .tools/deploy/bin/python -m deploy "$step" --env "$environment"
