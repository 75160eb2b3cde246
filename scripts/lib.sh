# Sourced by the other scripts: which Rust toolchain is used, and what is there already.

# The version that rust-toolchain.toml pins.
pinned_rust() {
	sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml
}

# Makes `cargo` and `rustc` the pinned version. rustup does so by itself where that toolchain is installed under its number or can
# be fetched. A machine without a way to static.rust-lang.org often has the very same compiler under the name `stable`: then that
# one is used, and nothing is downloaded.
choose_toolchain() {
	local pinned name
	pinned=$(pinned_rust)
	[ -z "${RUSTUP_TOOLCHAIN:-}" ] || return 0
	command -v rustup >/dev/null 2>&1 || return 0
	for name in $(rustup toolchain list 2>/dev/null | sed 's/ .*//'); do
		case "$name" in "$pinned" | "$pinned"-*) return 0 ;; esac
	done
	for name in $(rustup toolchain list 2>/dev/null | sed 's/ .*//'); do
		if [ "$(RUSTUP_TOOLCHAIN=$name rustc --version 2>/dev/null | cut -d' ' -f2)" = "$pinned" ]; then
			export RUSTUP_TOOLCHAIN=$name
			return 0
		fi
	done
}

# True if rustup's toolchain can compile for the browser.
has_rustup_wasm() {
	local sysroot
	sysroot=$(rustc --print sysroot 2>/dev/null) || return 1
	[ -d "$sysroot/lib/rustlib/wasm32-unknown-unknown/lib" ]
}

# True if Debian's own toolchain for web things, with the sources of the standard library, can.
has_debian_wasm() {
	[ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] && command -v wasm-ld-19 >/dev/null 2>&1 || return 1
	[ -f "$(/usr/bin/rustc --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/std/Cargo.toml" ]
}

choose_toolchain
