# SPDX-License-Identifier: MIT
#
# The figures of `shmbroker-bench --json FILE` as the Markdown tables of docs/performance.md: jq -rf bench/table.jq FILE

def number: if . == null then "" elif . >= 100 then round | tostring else . * 100 | round / 100 | tostring end;
def aims: [.[] | "\(if .bound == "least" then "≥" else "≤" end) \(.limit) \(.of): " +
	"\(.value | number) \(if .met then "met" else "**missed**" end)"] | join("; ");

def table($columns): "| " + ($columns | map(.title) | join(" | ")) + " |",
	"|" + ($columns | map(" --- |") | add),
	(.[] | . as $row | "| " + ([$columns[] | .key as $key | $row[$key]] | join(" | ")) + " |");

def column($title; $key): {$title, $key};

.figures | group_by(.group) | sort_by(.[0].group | {open: 0, create: 1, load: 2, reclaim: 3, delay: 4, survive: 5, memory: 6}[.]) | .[] |
"### \(.[0].group), in \(.[0].unit)", "",
(map({name, place, median: (.median | number), p99: (.p99 | number), worst: (.worst | number),
	quiet: (.quiet | number), cpu: (.cpu | number), posix: (.ratios.posix | number), minimal: (.ratios.minimal | number),
	unkept: (.ratios.unkept | number), aim: (.aims | aims)}) |
	table([column(""; "name"), column("where"; "place"), column("median"; "median"), column("p99"; "p99"),
		column("worst"; "worst"), column("quiet"; "quiet"), column("cpu"; "cpu"),
		column("/ POSIX"; "posix"), column("/ minimal"; "minimal"), column("/ unkept"; "unkept"),
		column("aim"; "aim")])), ""
