//! The end-to-end benches; `make bench` runs them in release. See [`sim::bench`].

use std::process::ExitCode;

fn main() -> ExitCode {
    sim::bench::main()
}
