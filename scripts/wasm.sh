#!/usr/bin/env bash
# The browser's half of the build: `scripts/wasm.sh check` type-checks engine and client for wasm32-unknown-unknown, C code
# (SQLite with SQLCipher) included.
#
# Two toolchains will do. Where rustup has the target, or can fetch it, the pinned compiler is used. Where it can't (no network to
# static.rust-lang.org), Debian's `rustc-web` is: it brings the sources of the standard library, which is then compiled for the
# target as part of the check; TRANSOM_WASM=debian takes this way even where the other is open. Either way the artefacts live in a
# target directory of their own, because the flags differ.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

target=wasm32-unknown-unknown
crates=(-p transom-engine -p transom-client)
# A check makes no code for the target: optimising build scripts, macros and C would only cost time.
quick=(--config 'profile.dev.package."*".opt-level=0' --config profile.dev.opt-level=0)
export CARGO_TARGET_DIR="${TRANSOM_WASM_TARGET_DIR:-$PWD/target/wasm}"
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS='--cfg getrandom_backend="wasm_js"'
export CC_wasm32_unknown_unknown=clang-19 AR_wasm32_unknown_unknown=llvm-ar-19

case "${1:-}" in
check) ;;
*)
	echo "usage: scripts/wasm.sh check" >&2
	exit 64
	;;
esac

if [ "${TRANSOM_WASM:-}" != debian ] && has_rustup_wasm; then
	exec cargo check --locked --quiet "${quick[@]}" --target "$target" "${crates[@]}"
fi
if has_debian_wasm; then
	# The linker is named for the sake of what asks the compiler about itself; a check never links wasm.
	export PATH="/usr/bin:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
	export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-19
	export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-C linker-flavor=wasm-ld $CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS"
	exec /usr/bin/cargo check -Zbuild-std=std,panic_abort --locked --quiet "${quick[@]}" --target "$target" "${crates[@]}"
fi
echo "error: no toolchain for $target: 'rustup target add $target' failed and Debian's rustc-web is not installed." >&2
echo "  Run scripts/setup.sh, which installs one of the two." >&2
exit 1
