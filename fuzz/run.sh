#!/bin/sh
# Fuzzes each target for a while (seconds: first argument, 60 if none), from the committed corpus. Needs a nightly toolchain and
# a C++ compiler; does without cargo-fuzz, whose flags these are. New inputs stay under target/, out of the repository; a crash
# leaves its input in artifacts/. Commit that one to corpus/TARGET/ under a name that says what it is: the tests replay it.
set -eu
cd "$(dirname "$0")"
seconds="${1:-60}"
host="$(rustc -vV | sed -n 's/^host: //p')"
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Ccodegen-units=4 --cfg fuzzing" \
    cargo +nightly build --release --locked --target "$host" --target-dir target
mkdir -p artifacts
status=0
for target in wire_client_frame wire_server_frame wire_record mimi_content envelope mentions; do
    mkdir -p "target/found/$target"
    "target/$host/release/$target" "target/found/$target" "corpus/$target" \
        -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=1024 -artifact_prefix="artifacts/$target-" \
        >"target/found/$target.log" 2>&1 && result=ok || { result="CRASH, see fuzz/artifacts/"; status=1; }
    echo "fuzz $target: $result, $(grep -E '^Done|^stat::number_of_executed' "target/found/$target.log" | tail -1)"
done
exit "$status"
