#!/bin/sh
# Removes a state directory of `make run`, and nothing else: not one that lacks the mark, and not
# one that is in use.
set -eu
state=${1:?usage: local/clean.sh DIRECTORY}
[ -e "$state" ] || exit 0
if [ ! -f "$state/.made-by-make-run" ]; then
    echo "error: STATE: $state was not made by make run; not removed" >&2
    exit 2
fi
size=$(du -sh -- "$state" 2>/dev/null | cut -f1)
flock -n -E 3 "$state/lock" rm -rf -- "$state" || {
    [ $? -eq 3 ] && echo "error: STATE: $state is in use; stop make run first" >&2
    exit 2
}
echo "removed $state ($size)"
