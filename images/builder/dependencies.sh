#!/bin/sh
# In an image's builder: installs the service's locked dependencies into /opt/wis2-gc, a virtual
# environment with only what a running service requires.
#   dependencies.sh requirements/SERVICE.txt
set -eu
lock=$1
root=/opt/wis2-gc

python3 -m venv --without-pip "$root"
/opt/tools/bin/python -m pip --python "$root/bin/python" install -q --disable-pip-version-check \
    --no-cache-dir --no-compile --require-hashes --only-binary :all: -r "$lock"

site=$(echo "$root"/lib/python3.*/site-packages)
# Files that only compilers, type checkers and the packages' own tests read.
find "$site" -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
find "$site" -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.pyi' \
    -o -name '*.c' -o -name '*.h' \) -delete
# Debugging symbols are half of the size of some libraries.
find "$site" -type f -name '*.so*' -exec strip --strip-debug {} +
# botocore describes every service of AWS in 30 MB of data; these are the ones that our adapters
# call, and that the SDK's chain of credentials calls for them. Others raise UnknownServiceError.
if [ -d "$site/botocore/data" ]; then
    find "$site/botocore/data" -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sqs ! -name sts \
        ! -name sso ! -name sso-oidc ! -name signin -exec rm -rf {} +
    find "$site/boto3/data" -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sqs -exec rm -rf {} +
    rm -rf "$site/boto3/examples"
fi
# Commands of libraries, and the scripts for shells: nobody activates this environment.
find "$root/bin" -mindepth 1 ! -name 'python*' -delete
rm -rf "$root/include"
images/compile.sh "$site"
