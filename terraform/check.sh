#!/bin/sh
# Every check of terraform/, without an AWS account and without touching one.
# The provider comes from TF_PLUGIN_DIR, from a folder of providers on this machine (`check.sh
# plugins` prints it), or by `terraform init`.
# Exit code 0: all passed; or skipped, loudly, because Terraform or the provider is missing.
# REQUIRE_TERRAFORM=1 makes a skip a failure.
set -eu
cd "$(dirname "$0")"

say() { printf '  terraform: %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
skip() {
    [ -z "${REQUIRE_TERRAFORM:-}" ] || fail "$1"
    printf '\n*** SKIPPED: %s\n*** %s\n\n' "$1" "The Terraform code was NOT checked." >&2
    exit 0
}

# Prints the folder of providers to use, or nothing: FOLDER/HOST/NAMESPACE/TYPE/VERSION/OS_ARCH/FILE.
plugins_folder() {
    if [ -n "${TF_PLUGIN_DIR:-}" ]; then
        printf '%s\n' "$TF_PLUGIN_DIR"
        return
    fi
    found=$(find /opt /usr/local/share /usr/share/terraform "$HOME/.terraform.d" -maxdepth 9 \
        -name 'terraform-provider-aws_v*' 2>/dev/null | head -n 1)
    [ -z "$found" ] || (cd "$(dirname "$found")/../../../../.." && pwd)
}

if [ "${1:-}" = plugins ]; then
    plugins_folder
    exit 0
fi
[ $# -eq 0 ] || fail "check.sh takes no $1"
root=$(dirname "$PWD")

command -v terraform >/dev/null 2>&1 || skip "terraform is not installed (1.11 or later is required)"
# If it names a missing file, every command prints a warning.
[ -f "${TF_CLI_CONFIG_FILE:-/}" ] || unset TF_CLI_CONFIG_FILE
export TF_IN_AUTOMATION=1 CHECKPOINT_DISABLE=1
# No check requires credentials, so it gets none.
export AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none AWS_EC2_METADATA_DISABLED=true
unset AWS_PROFILE AWS_SESSION_TOKEN

say "format"
terraform fmt -check -recursive -diff . || fail "terraform fmt -recursive terraform"

# In a copy, so that no .terraform of a check is left for `make deploy`.
scratch=$(mktemp -d)
background=""
clean() {
    # One at a time: if one has already ended, kill reports it and skips the rest.
    for process in $background; do kill "$process" 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap clean EXIT
trap 'exit 130' INT TERM
cp -RP bootstrap environments main modules tests "$scratch/"
rm -rf "$scratch"/*/.terraform
cd "$scratch"
# rejects.tftest.hcl plans only the variables, which takes no time.
mkdir tests/variables
cp main/variables.tf tests/variables/

plugins=$(plugins_folder)
if [ -z "$plugins" ]; then
    # It has half a gigabyte, so it is fetched once.
    export TF_PLUGIN_CACHE_DIR="$root/.tools/terraform" TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE=1
    mkdir -p "$TF_PLUGIN_CACHE_DIR"
fi
for module in main bootstrap; do
    if ! terraform -chdir=$module init -backend=false -input=false -no-color -lockfile=readonly \
        ${plugins:+-plugin-dir="$plugins"} >init.log 2>&1; then
        case $(cat init.log) in
            # A provider that is not the locked one is not a reason to skip.
            *checksums*) ;;
            *"Failed to query available provider packages"* | *"Failed to install provider"*)
                cat init.log >&2
                skip "the aws provider can be had neither from TF_PLUGIN_DIR nor from the network"
                ;;
        esac
        cat init.log >&2
        fail "terraform init failed in terraform/$module"
    fi
    say "validate $module"
    terraform -chdir=$module validate -no-tests -no-color >validate.log || { cat validate.log >&2; exit 1; }
done

python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
"$python" "$root/testkit/deployment/terraform_passwords.py" "$scratch/port" &
passwords=$!
background=$passwords
for _ in $(seq 100); do
    [ -f port ] && break
    kill -0 "$passwords" 2>/dev/null || fail "testkit/deployment/terraform_passwords.py did not start"
    sleep 0.1
done
AWS_ENDPOINT_URL_SECRETS_MANAGER=http://127.0.0.1:$(cat port)
export AWS_ENDPOINT_URL_SECRETS_MANAGER

# name of the test, its variables
run_test() {
    say "test $1"
    terraform -chdir=main test -no-color "-filter=tests/$1.tftest.hcl" ${2:+-var-file="$2"} >"$1.log" 2>&1 ||
        { grep -v '\.\.\. \(pass\|skip\)$' "$1.log" >&2; fail "terraform test: $1"; }
}
# Like the one above, with the rules for every plan.
run_plan() {
    say "plan $1"
    if ! terraform -chdir=main test -json -verbose "-filter=tests/$1.tftest.hcl" -var-file="$2" \
        >"$1.json" 2>"$1.log"
    then
        cat "$1.log" >&2
        sed -n '/"@level":"error"/s/.*"@message":"\([^"]*\)".*/\1/p' "$1.json" >&2
        run_test "$1" "$2"
        fail "terraform test: $1"
    fi
    "$python" "$root/testkit/deployment/terraform_plans.py" "$1" "$1.json" >&2 ||
        fail "the plan of $1 breaks a rule"
}
# An apply from nothing, and a plan that must find nothing to change. set-password.sh, which an apply
# runs, gets a stand-in for the AWS CLI.
mkdir bin
cat >bin/aws <<'STAND_IN'
#!/bin/sh
case "$*" in
    *get-secret-value*) echo '{"password": "NoPlanMayContainThis"}' ;;
    *describe-users*) echo active ;;
esac
STAND_IN
chmod +x bin/aws
run_twice() {
    say "apply twice $1"
    if ! PATH="$PWD/bin:$PATH" terraform -chdir=main test -json -verbose \
        -filter=tests/twice.tftest.hcl -var-file="$2" ${3:+"$3"} >"twice-$1.json" 2>"twice-$1.log"
    then
        cat "twice-$1.log" >&2
        sed -n '/"@level":"error"/s/.*"detail":"\([^"]*\)".*/\1/p' "twice-$1.json" >&2
        fail "terraform test: twice, with the variables of $1"
    fi
    "$python" "$root/testkit/deployment/terraform_plans.py" --twice "$1" "twice-$1.json" >&2 ||
        fail "applying $1 twice breaks a rule"
}
# Processes to wait for: all of them, then the first failure counts.
wait_for() {
    failed=0
    for process in "$@"; do wait "$process" || failed=1; done
    [ "$failed" = 0 ] || exit 1
}

# On two cores: each command mostly waits for the provider to start.
(
    run_plan dev ../environments/dev.tfvars
    run_plan prod ../environments/prod.tfvars
    # A test removes what it made; protected addresses would prevent that.
    run_twice prod ../environments/prod.tfvars -var=protect_addresses=false
    run_test modules
    run_test identity
) &
first=$!
(
    run_plan existing_vpc tests/existing_vpc.tfvars
    run_plan existing_bucket tests/existing_bucket.tfvars
    run_twice dev ../environments/dev.tfvars
    run_twice existing_vpc tests/existing_vpc.tfvars
    run_test rejects ../environments/prod.tfvars
    say "test bootstrap"
    terraform -chdir=bootstrap test -no-color >bootstrap.log 2>&1 ||
        { cat bootstrap.log >&2; fail "terraform test: bootstrap"; }
) &
background="$background $first $!"
wait_for "$first" "$!"

cd "$root"
[ -x .tools/uv/bin/uv ] || local/bootstrap.sh
wanted=$(sha256sum <requirements/checkov.txt)
if [ "$(cat .tools/checkov/.installed 2>/dev/null || true)" != "$wanted" ]; then
    say "installing checkov into .tools/checkov"
    rm -rf .tools/checkov
    .tools/uv/bin/uv venv -q --python "$python" .tools/checkov
    .tools/uv/bin/uv pip sync -q --python .tools/checkov/bin/python --require-hashes requirements/checkov.txt
    printf '%s\n' "$wanted" >.tools/checkov/.installed
fi
say "checkov"
# Every exception is at its resource, with the reason: #checkov:skip=ID:reason
run_checkov() {
    (cd terraform && ../.tools/checkov/bin/checkov --directory "$1" --framework terraform --quiet \
        --compact --skip-download --download-external-modules false) || fail "checkov: terraform/$1"
}
run_checkov main &
first=$!
run_checkov bootstrap &
wait_for "$first" "$!"
say "all checks passed"
