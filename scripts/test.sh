#!/usr/bin/env bash
# `make test`: installs, builds and checks everything, cheap stages first, and stops at the first one that fails.
#   scripts/test.sh [STAGE...]     only these stages, in the order below
# Each stage prints its seconds against its budget (the table in CONTRIBUTING.md); what a stage prints itself is kept in target/test.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

SEEDS="${SEEDS:-300}"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-$([ -t 1 ] && echo always || echo never)}"
target="${CARGO_TARGET_DIR:-target}"
logs="$target/test"
mkdir -p "$logs"
all=(--workspace --features transom-sim/mutants --locked)

setup() { scripts/setup.sh test; }
fmt() { cargo fmt --all --check; }
arrows() { cargo test --workspace --locked --quiet --test arrows; }
clippy() { cargo clippy --workspace --all-targets --locked --quiet -- -D warnings; }
# The stage `arrows` enforces the same licences, bans and sources without it; installing it would cost more than all other stages.
deny() { cargo deny --version >/dev/null 2>&1 || return 77; cargo deny --all-features check bans licenses sources; }
# One build of every target, so that all stages behind it share one set of features and of artefacts. With the simulator's hooks in the
# engine, which do nothing until they are asked to; that the code is whole without them, as it is shipped, `clippy` and `wasm` say.
build() { cargo build "${all[@]}" --all-targets --quiet; }
unit() { cargo test "${all[@]}" --quiet --lib --bins; }
# Many of these wait for sockets and programs: more of them at a time than there are cores.
integration() {
	local tests
	tests="$(for test in crates/*/tests/*; do basename "$test" .rs; done | sort -u | grep -vx -e arrows -e scenarios)"
	# shellcheck disable=SC2046,SC2086 # names of tests
	RUST_TEST_THREADS="${RUST_TEST_THREADS:-$(($(nproc) * 5))}" \
		cargo test "${all[@]}" --quiet $(printf -- '--test %s ' $tests) &&
		once "$(program "${all[@]}" --test scenarios)" --quiet
}
wasm() { scripts/wasm.sh check; }
simulator() { once "$target/debug/sim" run --seeds "$SEEDS" --insiders; }

# Where cargo has put a test that it was told to build.
program() {
	local said
	said="$(CARGO_TERM_COLOR=never cargo test --no-run "$@" 2>&1)"
	printf '%s\n' "$said" >&2
	sed -n 's/^ *Executable .*(\(.*\))$/\1/p' <<<"$said" | tail -n 1
}

# Runs what depends on nothing but its program and arguments, as all does that runs in the simulator (the test `replay` proves it): what has
# held holds, and is not run again till its program is another one. FRESH=1 runs it all the same.
once() {
	local kept
	kept="$target/held/$({ sha256sum <"$1" && printf '%s\n' "${@:2}"; } | sha256sum | cut -c 1-32)"
	if [ -z "${FRESH:-}" ] && [ -f "$kept" ]; then
		echo "AS BEFORE: $* is the same program, and held"
		cat "$kept"
		return
	fi
	mkdir -p "$target/held"
	"$@" >"$kept.new" 2>&1
	local code=$?
	cat "$kept.new"
	[ "$code" -ne 0 ] || mv "$kept.new" "$kept"
	return "$code"
}

stages=(setup fmt arrows clippy deny build unit integration wasm simulator)
wanted=("$@")
[ "${#wanted[@]}" -gt 0 ] || wanted=("${stages[@]}")
for name in "${wanted[@]}"; do
	case " ${stages[*]} " in
	*" $name "*) ;;
	*)
		echo "error: there is no stage '$name'; stages: ${stages[*]}" >&2
		exit 64
		;;
	esac
done

budget() { sed -n "s/^| \`$1\` | *\([0-9]*\) |.*/\1/p" CONTRIBUTING.md 2>/dev/null | head -n 1; }

passed=0 failed=0 skipped=0 skips=()
# Adds up what the runners of a stage said.
count() {
	local line
	while read -r line; do
		[[ $line =~ ([0-9]+)\ passed ]] && passed=$((passed + BASH_REMATCH[1]))
		[[ $line =~ ([0-9]+)\ failed ]] && failed=$((failed + BASH_REMATCH[1]))
		[[ $line =~ ([0-9]+)\ (ignored|skipped) ]] && skipped=$((skipped + BASH_REMATCH[1]))
		# The simulator counts seeds: those that it ran through hold.
		[[ $line =~ ^[a-z]+:\ ([0-9]+)\ seeds\ in ]] && passed=$((passed + BASH_REMATCH[1]))
	done < <(sed 's/\x1b\[[0-9;]*m//g' "$1" | grep -aE '[0-9]+ passed[;,] [0-9]+ failed|^[a-z]+: [0-9]+ seeds in')
	# A test that lacks what it needs says so and ends; its runner takes it for passed.
	while read -r line; do
		skips+=("${line#SKIPPED }")
		passed=$((passed - 1)) skipped=$((skipped + 1))
	done < <(grep -aoE 'SKIPPED [a-zA-Z0-9_:]+: .*' "$1" | sort -u)
}

summary() {
	local skip
	for skip in "${skips[@]}"; do printf 'skipped: %s\n' "$skip"; done
	# Names stand in the last line, too: nobody is to take what was skipped for what has passed.
	local names=
	for skip in "${skips[@]}"; do names+="${names:+, }${skip%%: *}"; done
	printf '%d passed, %d failed, %d skipped%s\n' "$passed" "$failed" "$skipped" "${names:+ ($names)}"
}

SECONDS=0
for name in "${stages[@]}"; do
	case " ${wanted[*]} " in *" $name "*) ;; *) continue ;; esac
	began=$SECONDS
	code=0
	"$name" >"$logs/$name.log" 2>&1 || code=$?
	took=$((SECONDS - began))
	limit=$(budget "$name")
	note=
	[ -z "$limit" ] || [ "$took" -le "$limit" ] || note="  over budget"
	! grep -q '^AS BEFORE: ' "$logs/$name.log" || note="$note  (in part as before: the same programs; FRESH=1 runs all again)"
	before=$failed
	count "$logs/$name.log"
	case $code in
	0) printf '%-12s ok   %5d s of %4s s%s\n' "$name" "$took" "${limit:-?}" "$note" ;;
	77) printf '%-12s -    not installed here; the stage `arrows` checks the same rules\n' "$name" ;;
	*)
		[ "$failed" -gt "$before" ] || failed=$((failed + 1))
		printf '%-12s FAILED after %d s\n\n' "$name" "$took"
		tail -n 80 "$logs/$name.log"
		printf '\nThe stage `%s` failed. All that it said: %s\nTo run it alone: scripts/test.sh %s\n' "$name" "$logs/$name.log" "$name"
		summary
		exit 1
		;;
	esac
done
limit=$(budget total)
printf '%-12s      %5d s of %4s s\n' total "$SECONDS" "${limit:-?}"
summary
