#!/usr/bin/env bash
# `make fuzz`: each fuzz target for a while (SECONDS_EACH, 60). What it finds by itself is kept in fuzz/corpus-local and used again; a
# crash is written to fuzz/artifacts and replayed by naming the file: scripts/fuzz.sh TARGET FILE.
#
# Needs a nightly compiler, for coverage and the address sanitizer; that is all that cargo-fuzz would do for us, so it isn't needed.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh run
unset RUSTUP_TOOLCHAIN

each="${SECONDS_EACH:-60}"
host=$(rustc -vV | sed -n 's/^host: //p')
rustc +nightly --version >/dev/null 2>&1 || {
	echo "error: fuzzing needs a nightly compiler." >&2
	echo "  Install one with: rustup toolchain install nightly --profile minimal" >&2
	exit 1
}
command -v c++ >/dev/null 2>&1 || {
	echo "error: libFuzzer needs a C++ compiler." >&2
	echo "  Install one with: apt-get install g++" >&2
	exit 1
}

export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebuginfo=line-tables-only -Cdebug-assertions"
echo "building the fuzz targets"
cargo +nightly build --quiet --locked --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir fuzz/target

if [ $# -eq 2 ]; then
	exec "fuzz/target/$host/release/$1" "$2"
fi
for source in fuzz/fuzz_targets/*.rs; do
	name=$(basename "$source" .rs)
	[ $# -eq 0 ] || [ "$1" = "$name" ] || continue
	mkdir -p "fuzz/corpus-local/$name" fuzz/artifacts
	log="fuzz/artifacts/$name.log"
	if "fuzz/target/$host/release/$name" -max_total_time="$each" -artifact_prefix="fuzz/artifacts/$name-" \
		"fuzz/corpus-local/$name" "fuzz/corpus/$name" >"$log" 2>&1; then
		echo "$name: $(grep -a '^Done ' "$log" | tail -n 1)"
	else
		tail -n 40 "$log"
		echo "error: $name failed; see $log. Again: scripts/fuzz.sh $name fuzz/artifacts/$name-..." >&2
		exit 1
	fi
done
