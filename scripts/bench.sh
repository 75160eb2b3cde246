#!/usr/bin/env bash
# `make bench`: every benchmark with its baseline in the same run. A table for people, JSON lines in target/bench.jsonl.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh run
. scripts/lib.sh
bin="${CARGO_TARGET_DIR:-target}/release"
out="${CARGO_TARGET_DIR:-target}/bench.jsonl"
echo "building the benchmarks (the first time takes some minutes)"
cargo build --locked --quiet --release -p transom-store --bin store-bench -p transom-relay --bin transomd -p transom-sim --bin bench
mkdir -p "$(dirname "$out")"
: >"$out"
"$bin/store-bench" --json "$out"
"$bin/bench" --json "$out" "$@"
echo "JSON lines: $out"
