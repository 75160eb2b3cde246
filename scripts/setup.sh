#!/usr/bin/env bash
# Installs what is missing, says what, asks nothing, and does nothing when everything is there.
#   scripts/setup.sh run     what building and running the programs takes
#   scripts/setup.sh test    that, and what checking the code for the browser takes
# Works on Debian as root or with a sudo that needs no password; where it can't, it prints the one command to run.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

what="${1:-test}"
case "$what" in
run | test) ;;
*)
	echo "usage: scripts/setup.sh [run|test]" >&2
	exit 64
	;;
esac

say() { printf 'setup: %s\n' "$*"; }
fail() {
	printf 'error: %s\n' "$1" >&2
	shift
	printf '  %s\n' "$@" >&2
	exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# --- packages -------------------------------------------------------------------------------------------------------------------

missing=()
have cc || missing+=(gcc libc6-dev)
have pkg-config || missing+=(pkg-config)
# SQLCipher takes AES and the key derivation from the system's libcrypto.
pkg-config --exists libcrypto 2>/dev/null || missing+=(libssl-dev)

if [ "$what" = test ]; then
	have clang-19 || missing+=(clang-19)
	have wasm-ld-19 || missing+=(lld-19)
	have llvm-ar-19 || missing+=(llvm-19)
	if ! has_rustup_wasm; then
		# The quick way first; it fails at once where rustup's server can't be reached, or where the toolchain isn't rustup's.
		if have rustup && timeout 120 rustup target add wasm32-unknown-unknown >/dev/null 2>&1 && has_rustup_wasm; then
			say "added the target wasm32-unknown-unknown with rustup"
		elif ! has_debian_wasm; then
			missing+=(rustc-web cargo-web rust-web-src lld-19)
		fi
	fi
fi

if [ "${#missing[@]}" -gt 0 ]; then
	have apt-get || fail "this machine lacks: ${missing[*]} (Debian's names), and has no apt-get to install them." \
		"Install their equivalents by hand and try again."
	as_root=()
	if [ "$(id -u)" -ne 0 ]; then
		if have sudo && sudo -n true 2>/dev/null; then
			as_root=(sudo -n)
		else
			fail "this machine lacks: ${missing[*]}, and installing them takes rights that I don't have." \
				"Run as root, then try again:  apt-get update && apt-get install -y ${missing[*]}"
		fi
	fi
	say "installing ${missing[*]}"
	log=$(mktemp)
	if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive sh -c '
			apt-get update -qq && exec apt-get install -y -qq --no-install-recommends "$@"' sh "${missing[@]}" >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		fail "apt-get could not install: ${missing[*]}" "Its last words are above; all of them are in $log."
	fi
	rm -f "$log"
fi

# --- Rust -----------------------------------------------------------------------------------------------------------------------

pinned=$(pinned_rust)
if ! have cargo; then
	fail "there is no cargo on this machine." "Install Rust $pinned from https://rustup.rs and try again."
fi
choose_toolchain
if ! rustc --version >/dev/null 2>&1; then
	say "installing Rust $pinned with rustup"
	if ! have rustup || ! rustup toolchain install "$pinned" --profile minimal -c rustfmt -c clippy >/dev/null 2>&1; then
		fail "Rust $pinned is not installed and rustup could not fetch it." \
			"Install it by hand (rustup toolchain install $pinned), or set RUSTUP_TOOLCHAIN to a newer one that you have."
	fi
fi
version=$(rustc --version | cut -d' ' -f2)
oldest=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
if [ "$(printf '%s\n%s\n' "$oldest" "$version" | sort -V | head -n 1)" != "$oldest" ]; then
	fail "Rust $version is too old: this needs $oldest at least." "Install Rust $pinned from https://rustup.rs and try again."
fi
[ "$version" = "$pinned" ] || say "using Rust $version; $pinned is what the project is developed with"
