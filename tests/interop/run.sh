#!/bin/sh
# run.sh -- run.sh PYTHON TEST.py [arguments]: a Python test of this folder, or "skipped" (77) where Python's packages are not installed.
# SPDX-License-Identifier: Apache-2.0
set -eu
python=${MAGIC_PYTHON:-$1}
shift
if ! "$python" -c 'import pyarrow.flight' 2>/dev/null; then
    echo "skipped: $python has no pyarrow; make setup installs it" >&2
    [ -z "${CI:-}" ] || exit 1
    exit 77
fi
cd "$(dirname "$0")"
exec "$python" "$@"
