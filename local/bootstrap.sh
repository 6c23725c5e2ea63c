#!/bin/sh
# Installs what is missing, and nothing that is there: Debian packages with apt, Python packages
# with uv from the hashed lock. Safe to repeat; silent when there is nothing to do.
# PYTHON=python3.13: where there is no .venv yet, make it with this one and not with the first found.
# local/bootstrap.sh sqs: also the server that plays Amazon SQS (Node.js, npm).
# local/bootstrap.sh promtool: also Prometheus's tool, which runs the alert rules in tests.
# local/bootstrap.sh apply: also the emulator of AWS, and the AWS CLI, which terraform/ is tested with.
# local/bootstrap.sh faketime: also the library that gives processes another clock.
set -eu
cd "$(dirname "$0")/.."

# make run and make test may begin at the same time in a fresh clone.
mkdir -p .tools
exec 9>.tools/.lock
flock 9

# Mirrors and registries hiccup: apt, pip, uv and npm ask again.
again="-o Acquire::Retries=5"
export PIP_RETRIES=10 UV_HTTP_RETRIES=10 NPM_CONFIG_FETCH_RETRIES=5

say() { printf '  %s\n' "$*" >&2; }

packages=""
services=""
is_there() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
need() { is_there "$1" || packages="$packages $2"; }
need_server() { is_there "$1" || { packages="$packages $2"; services="$services $1"; }; }
need_server redis-server redis-server
need_server mosquitto mosquitto
need_server nginx nginx-light

needs_sqs=""
needs_promtool=""
needs_apply=""
for wanted in "$@"; do
    case $wanted in
        sqs) needs_sqs=yes ;;
        promtool) needs_promtool=yes ;;
        apply) needs_apply=yes ;;
        faketime)
            ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 ||
                packages="$packages libfaketime" ;;
        *) echo "error: $0 knows apply, sqs, promtool and faketime, and not $wanted" >&2; exit 2 ;;
    esac
done
if [ "$needs_sqs" ]; then
    need node nodejs
    need npm npm
fi

python=""
for candidate in ${PYTHON:-python3.11 /usr/bin/python3.11 python3.12 python3.13 python3}; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$(command -v "$candidate")
        break
    fi
done
if [ -z "$python" ] && [ "${PYTHON:-}" ]; then
    echo "error: PYTHON=$PYTHON is not there, or is older than Python 3.11" >&2
    exit 1
elif [ -z "$python" ]; then
    packages="$packages python3 python3-venv"
elif [ ! -x .tools/uv/bin/uv ] && ! "$python" -c 'import ensurepip' 2>/dev/null; then
    packages="$packages python3-venv"
fi

if [ -n "$packages" ]; then
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || {
            echo "error: missing Debian packages:$packages. Install them as root, or install sudo." >&2
            exit 1
        }
        as_root="sudo"
    fi
    command -v apt-get >/dev/null 2>&1 || {
        echo "error: this is not a Debian system; install the equivalents of:$packages" >&2
        exit 1
    }
    say "installing Debian packages:$packages"
    # The packages' own services are of no use here, and would take their default ports:
    # exit code 101 of policy-rc.d tells the package scripts not to start them.
    guard=/usr/sbin/policy-rc.d
    if [ ! -e "$guard" ]; then
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$guard" >/dev/null
        $as_root chmod 755 "$guard"
        trap '$as_root rm -f "$guard"' EXIT
    fi
    log=.tools/apt.log
    : >"$log"
    quietly() {
        "$@" >>"$log" 2>&1 || {
            cat "$log" >&2
            echo "error: cannot install Debian packages:$packages" >&2
            exit 1
        }
    }
    # shellcheck disable=SC2086 # two words
    quietly $as_root apt-get update -qq $again
    # shellcheck disable=SC2086 # the lists are meant to be split
    quietly $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $again $packages
    # Nor at the next boot. A server that was here before is somebody's own and stays as it is.
    if command -v systemctl >/dev/null 2>&1; then
        for service in $services; do
            $as_root systemctl disable "$service.service" >>"$log" 2>&1 ||
                say "note: $service.service could not be disabled; see $log"
        done
    fi
fi
[ -n "$python" ] || python=/usr/bin/python3

if [ ! -x .tools/uv/bin/uv ]; then
    say "installing uv"
    rm -rf .tools/uv
    "$python" -m venv .tools/uv
    .tools/uv/bin/python -m pip install -q --disable-pip-version-check --require-hashes \
        -r requirements/uv.txt
fi

# Two stamps: `sync` takes our own packages away for a moment, which a cache running from this
# folder would notice; so it is done when the locked dependencies changed, and only then.
digest() { cat "$@" | sha256sum | cut -d' ' -f1; }
is_current() { [ "$(cat "$1" 2>/dev/null || true)" = "$2" ]; }
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
locked=$(digest requirements/dev.txt)
ours=$(digest services/*/pyproject.toml)
if ! is_current .venv/.locked "$locked"; then
    say "installing Python packages into .venv"
    rm -f .venv/.locked .venv/.ours
    [ -x .venv/bin/python ] || .tools/uv/bin/uv venv -q --python "$python" .venv
    .tools/uv/bin/uv pip sync -q --python .venv/bin/python --require-hashes requirements/dev.txt
    printf '%s\n' "$locked" >.venv/.locked
fi
if ! is_current .venv/.ours "$ours"; then
    .tools/uv/bin/uv pip install -q --python .venv/bin/python --no-deps --no-build-isolation \
        -e services/common -e services/listener -e services/manager -e services/metrics \
        -e services/operator
    printf '%s\n' "$ours" >.venv/.ours
fi

if [ "$needs_sqs" ]; then
    stamp=.tools/sqs/.installed
    wanted=$(cat local/sqs/package-lock.json | sha256sum | cut -d' ' -f1)
    if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
        say "installing local-aws-sqs into .tools/sqs"
        rm -rf .tools/sqs
        mkdir -p .tools/sqs
        cp local/sqs/package.json local/sqs/package-lock.json local/sqs/.npmrc .tools/sqs/
        (cd .tools/sqs && npm ci --loglevel=error --ignore-scripts --no-audit --no-fund)
        printf '%s\n' "$wanted" >"$stamp"
    fi
fi

if [ "$needs_apply" ]; then
    wanted=$(digest requirements/apply.txt)
    if ! is_current .tools/apply/.installed "$wanted"; then
        say "installing moto and the AWS CLI into .tools/apply"
        rm -rf .tools/apply
        .tools/uv/bin/uv venv -q --python "$python" .tools/apply
        .tools/uv/bin/uv pip sync -q --python .tools/apply/bin/python --require-hashes requirements/apply.txt
        printf '%s\n' "$wanted" >.tools/apply/.installed
    fi
fi

# One program out of the Debian package: the server in it is not wanted here. Only tests of the
# alert rules need it, so they are skipped, and say so, where it cannot be had.
if [ "$needs_promtool" ] && ! is_there promtool && [ ! -x .tools/promtool/promtool ]; then
    say "fetching promtool into .tools/promtool"
    rm -rf .tools/promtool
    mkdir -p .tools/promtool
    (
        cd .tools/promtool
        # shellcheck disable=SC2086 # two words
        apt-get download -qq $again prometheus || {
            if [ "$(id -u)" -eq 0 ]; then as_root=""; else as_root="sudo -n"; fi
            $as_root apt-get update -qq $again
            apt-get download -qq $again prometheus
        }
        dpkg-deb --fsys-tarfile ./*.deb | tar -x --strip-components=3 ./usr/bin/promtool
        rm ./*.deb
    ) >.tools/promtool.log 2>&1 || {
        rm -rf .tools/promtool
        say "note: no promtool (see .tools/promtool.log): the alert rules will not be run"
    }
fi
