#!/bin/sh
# Makes byte code beside every module: the root file system is read-only, so Python could not keep
# it, and compiling at each start costs seconds. "unchecked-hash": it stays valid when the files'
# times change, and Python never looks at the source.
#   compile.sh DIRECTORY
set -eu
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash "$1"
