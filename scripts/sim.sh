#!/usr/bin/env bash
# The simulator by hand: `scripts/sim.sh run --seeds 10000`, `scripts/sim.sh mutants`. With the hooks in
# the engine that `make test` builds for its stage `simulator`: they plant defects and tell which keys messages were sealed with.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh run
. scripts/lib.sh
# Of the whole workspace, so that the libraries it needs are those that are built already.
cargo build --workspace --features transom-sim/mutants --locked --quiet --bin sim
exec "${CARGO_TARGET_DIR:-target}/debug/sim" "$@"
