#!/usr/bin/env bash
# midge beside another broker, both loaded by midge bench: a table in Markdown, medians of ROUNDS interleaved runs.
# Each broker has the first processor, the load the second. Everything stays on 127.0.0.1.
#
#   bench/side.sh [MIDGE [MOSQUITTO]]        ROUNDS=3 SECONDS_EACH=3
set -euo pipefail
midge=${1:-$(dirname "$0")/../bin/midge}
peer=${2:-/usr/sbin/mosquitto}
rounds=${ROUNDS:-3} each=${SECONDS_EACH:-3}
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait "${pids[@]}" 2>/dev/null; rm -rf "$work"' EXIT

port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
declare -A at
for name in midge mosquitto; do
	at[$name]=$(port)
	printf 'listener %s 127.0.0.1\nallow_anonymous true\nlog_type none\n' "${at[$name]}" >"$work/$name.conf"
done
taskset -c 0 "$midge" serve -c "$work/midge.conf" 2>"$work/midge.log" & pids+=($!); midge_pid=$!
taskset -c 0 "$peer" -c "$work/mosquitto.conf" 2>"$work/mosquitto.log" & pids+=($!); peer_pid=$!
for name in midge mosquitto; do
	for _ in $(seq 100); do (: </dev/tcp/127.0.0.1/"${at[$name]}") 2>/dev/null && break || sleep 0.1; done
done

run() { # run ROUND NAME PID SCENARIO...
	local round=$1 name=$2 pid=$3
	shift 3
	taskset -c 1 "$midge" bench "$@" -d "$each" --allow-loss --csv --label "$name" --pid "$pid" "127.0.0.1:${at[$name]}" | tail -n 1 | sed "s/^/$*,/" >>"$work/results.csv"
}
while read -r -a scenario; do
	for round in $(seq "$rounds"); do
		run "$round" midge "$midge_pid" "${scenario[@]}"
		run "$round" mosquitto "$peer_pid" "${scenario[@]}"
	done
done <<'SCENARIOS'
p2p
p2p -q 1
p2p -q 2
p2p -w 1
fan-in
fan-out
pub
retained -n 20000 --subscribers 5
persistent
SCENARIOS

echo "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), one core for the broker and one for the load; load average $(cut -d' ' -f1 /proc/loadavg). $("$midge" version | head -n 1); $("$peer" -h | head -n 1)."
echo
python3 - "$work/results.csv" <<'TABLE'
import csv, statistics, sys
runs = {}
for row in csv.reader(open(sys.argv[1])):
    runs.setdefault(row[0], {}).setdefault(row[1], []).append(row)
# Columns of midge bench --csv, one further because of the scenario in front.
def median(rows, column): return statistics.median(float(r[column]) for r in rows)
print("| scenario | midge: messages/s | CPU µs | p99 ms | mosquitto: messages/s | CPU µs | p99 ms | lost |")
print("|---|---:|---:|---:|---:|---:|---:|---|")
for scenario, by in runs.items():
    cells = []
    for name in ("midge", "mosquitto"):
        rows = by[name]
        rate = max(median(rows, 11), median(rows, 12))
        p99 = median(rows, 15) / 1000
        cells += [f"{rate:,.0f}", f"{median(rows, 24):.2f}", f"{p99:,.1f}" if p99 else "-"]
    lost = " / ".join(f"{sum(int(r[18]) for r in by[n])}" for n in ("midge", "mosquitto"))
    print(f"| {scenario} | " + " | ".join(cells) + f" | {lost} |")
TABLE
