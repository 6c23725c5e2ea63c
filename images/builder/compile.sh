#!/bin/sh
# Byte code beside every module: the root file system is read-only, so Python could not keep it,
# and compiling at each start costs seconds. "unchecked-hash": valid whatever becomes of the
# files' times, and not one look at the source.
#   compile.sh DIRECTORY
set -eu
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash "$1"
