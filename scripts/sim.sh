#!/usr/bin/env bash
# The simulator by hand: `scripts/sim.sh run --seeds 10000`, `scripts/sim.sh mutants`. As `make test` builds it, with the hooks in the
# engine that plant defects and tell which keys messages were sealed with; but optimised, which pays from about 500 seeds on.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh run
. scripts/lib.sh
# Of the whole workspace, so that the libraries it needs are those that are built already.
cargo build --config profile.dev.opt-level=1 --workspace --features transom-sim/mutants --locked --quiet --bin sim
exec "${CARGO_TARGET_DIR:-target}/debug/sim" "$@"
