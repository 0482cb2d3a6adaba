#!/bin/sh
# Start and stop one real TiDB that writes TiDB Binlog to a unix socket.
#
#   upstream.sh start     PD, a capturing pump (unless PUMP=none) and TiDB; returns when TiDB answers
#   upstream.sh stop      stop them (TiDB first)
#   upstream.sh clean     stop, then remove the whole state
#   upstream.sh pump      (re)start only the capturing pump;  upstream.sh nopump: stop it
#
# BIN  where build.sh put the programs (build/upstream)      DIR   state (build/upstream/run)
# PORT TiDB's MySQL port (4000); STATUS its status port (PORT+6080); PD, PEER PD's ports (PORT-1621 and PORT-1620)
# KEEP=1 keeps TiDB's data in DIR/data over a restart (default: in memory)
# PUMP_FLAGS extra flags of pumpcap, e.g. "-delay 20ms" or "-v"; SOCK the pump's socket (DIR/pump.sock)
# IGNORE_ERROR=true, WRITE_TIMEOUT=15s: the [binlog] settings of that name
# SPDX-License-Identifier: Apache-2.0
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
BIN=${BIN:-$root/build/upstream} DIR=${DIR:-$root/build/upstream/run} PORT=${PORT:-4000}
status=${STATUS:-$((PORT + 6080))} pd=${PD:-$((PORT - 1621))} peer=${PEER:-$((PORT - 1620))}
sock=${SOCK:-$DIR/pump.sock}

run() { # name command...: in the background, its pid in DIR/name.pid; deaf to the terminal's Ctrl-C, which is for who started us
	name=$1; shift
	setsid "$@" >>"$DIR/$name.out" 2>&1 </dev/null &
	echo $! >"$DIR/$name.pid"
}
end() { # name: ask it to end, insist after 20 s, and wait until it did
	[ -f "$DIR/$1.pid" ] || return 0
	pid=$(cat "$DIR/$1.pid")
	kill "$pid" 2>/dev/null || :
	n=200
	while kill -0 "$pid" 2>/dev/null; do
		n=$((n - 1))
		[ $n -gt 0 ] || kill -9 "$pid" 2>/dev/null || :
		sleep 0.1
	done
	rm -f "$DIR/$1.pid"
}
until_ok() { # seconds name command...: until the command works; fails at once when the program has ended
	n=$(($1 * 10)) name=$2; shift 2
	until "$@" >/dev/null 2>&1; do
		n=$((n - 1))
		if [ $n -le 0 ] || ! kill -0 "$(cat "$DIR/$name.pid")" 2>/dev/null; then
			echo "$name does not answer: $*" >&2
			tail -n 5 "$DIR/$name.out" "$DIR/$name.log" >&2 2>/dev/null || :
			exit 1
		fi
		sleep 0.1
	done
}
pump() {
	rm -f "$sock"
	run pump "$BIN/pumpcap" -sock "$sock" -out "$DIR/capture.binlog" ${PUMP_FLAGS:-}
	until_ok 10 pump test -S "$sock"
}
start() {
	mkdir -p "$DIR"
	path=127.0.0.1:$pd
	[ -z "${KEEP:-}" ] || path=$path$DIR/data
	cat >"$DIR/tidb.toml" <<END
host = "127.0.0.1"
port = $PORT
store = "unistore"
path = "$path"
socket = "$DIR/tidb.sock"
temp-dir = "$DIR/tmp"
lease = "${LEASE:-45s}"
new_collations_enabled_on_first_bootstrap = true
[log]
level = "warn"
slow-query-file = "$DIR/tidb-slow.log"
[log.file]
filename = "$DIR/tidb.log"
[status]
status-host = "127.0.0.1"
status-port = $status
[binlog]
enable = true
binlog-socket = "$sock"
ignore-error = ${IGNORE_ERROR:-false}
write-timeout = "${WRITE_TIMEOUT:-15s}"
END
	run pd "$BIN/pd-server" --name=pd --data-dir="$DIR/pd" --log-file="$DIR/pd.log" \
		--client-urls="http://127.0.0.1:$pd" --peer-urls="http://127.0.0.1:$peer"
	until_ok 60 pd curl -fs "http://127.0.0.1:$pd/pd/api/v1/leader"
	[ "${PUMP:-}" = none ] || pump
	mkdir -p "$DIR/tmp"
	# TiDB profiles its mutexes; Go 1.26 walks frame pointers for that and now and then dies of one that some assembly left wrong.
	TMPDIR=$DIR/tmp GODEBUG=tracefpunwindoff=1 run tidb "$BIN/tidb-server" --config "$DIR/tidb.toml"
	until_ok 120 tidb curl -fs "http://127.0.0.1:$status/status"
}

case ${1:-} in
start) start ;;
stop) end tidb; end pump; end pd ;;
clean) end tidb; end pump; end pd; rm -rf "$DIR" ;;
pump) end pump; pump ;;
nopump) end pump ;;
*) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
