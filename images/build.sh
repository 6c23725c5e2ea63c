#!/bin/sh
# Builds the images by docker-bake.hcl, takes missing variables from git, and prints the images' names.
#   images/build.sh [--push] [OPTION-OF-BAKE…] [SERVICE…]
#
#   REGISTRY    the registry for the images, `host/folder`; without it they stay on this machine
#   TAG         default: version of the listener, and the commit
#   BASE        the image they run on; default: images/bases.json
#   BUILD_BASE  the image they are put together on; default: like BASE, or images/bases.json
#   SOURCE      URL of the repository, for the label; default: the remote `origin`
#   PLATFORM    for example linux/amd64; default: this machine's
# Proxies (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) are passed on to the build's steps, and not kept.
set -euf
cd "$(dirname "$0")/.."

options="" services=""
for word; do
    case $word in
        # With a bill of materials and the provenance.
        --push)
            : "${REGISTRY:?says where to push to; it is not set}"
            options="$options --push --sbom=true --provenance=mode=max"
            ;;
        -*) options="$options $word" ;;
        *) services="$services $word" ;;
    esac
done
services=${services:-listener manager metrics}

of_git() { git "$@" 2>/dev/null || true; }
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' services/listener/pyproject.toml)
REVISION=$(of_git rev-parse HEAD)
CREATED=$(of_git log -1 --format=%cI)
tag=$VERSION${REVISION:+-g$(printf %.9s "$REVISION")}
# The files that an image is made of; changes to others do not change it.
if [ -n "$(of_git status --porcelain -- services requirements images .dockerignore)" ]; then
    REVISION=$REVISION-changed tag=$tag-changed
fi
# The remote in a form that anybody may see: without a password, and not a folder of this machine.
origin=$(of_git remote get-url origin | sed -nE -e 's#\.git$##' \
    -e 's#^([^@/]+@)?([^:/]+):([^/].*)#ssh://\2/\3#' \
    -e 's#^(https?|ssh|git)://([^@/]*@)?([^:/]+)(:[0-9]+)?/#https://\3/#p')
base() { sed -n "s/.*\"$1\": {\"default\": \"\([^\"]*\)\".*/\1/p" images/bases.json; }
BUILD_BASE=${BUILD_BASE:-${BASE:-$(base BUILD_BASE)}} BASE=${BASE:-$(base BASE)}
bases=$BASE
[ "$BASE" = "$BUILD_BASE" ] || bases="$BASE $BUILD_BASE"
for base in $bases; do
    case $base in
        *@sha256:*) ;;
        *) echo "note: $base is named by tag only, no digest is known" >&2 ;;
    esac
done

REGISTRY=${REGISTRY:+${REGISTRY%/}/} TAG=${TAG:-$tag} SOURCE=${SOURCE:-${origin:-unknown}}
REVISION=${REVISION:-unknown} CREATED=${CREATED:-unknown}
HTTP_PROXY=${HTTP_PROXY:-${http_proxy:-}} HTTPS_PROXY=${HTTPS_PROXY:-${https_proxy:-}}
NO_PROXY=${NO_PROXY:-${no_proxy:-}}
export REGISTRY TAG BASE BUILD_BASE VERSION REVISION CREATED SOURCE HTTP_PROXY HTTPS_PROXY NO_PROXY
# bake treats an empty variable as a value.
for name in PLATFORM HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    eval "[ -n \"\${$name:-}\" ] || unset $name"
done
docker buildx version >/dev/null 2>&1 || {
    echo "error: docker is not there, or has no buildx: docs/images.md" >&2
    exit 1
}
# shellcheck disable=SC2086 # words
docker buildx bake --file=images/docker-bake.hcl --file=images/bases.json \
    ${options:---load} $services >&2
for service in $services; do echo "${REGISTRY}wis2-gc-$service:$TAG"; done
