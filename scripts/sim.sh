#!/usr/bin/env bash
# The simulator by hand: `scripts/sim.sh run --seeds 10000`, `scripts/sim.sh mutants`. With the hooks in
# the engine that `make test` builds for its stage `simulator`: they plant defects and tell which keys messages were sealed with.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh run
. scripts/lib.sh
exec cargo run --locked --quiet -p transom-sim --features mutants --bin sim -- "$@"
