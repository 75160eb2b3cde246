#!/usr/bin/env bash
# The simulator by hand: `scripts/sim.sh run --seeds 10000`, `scripts/sim.sh mutants`. Built as `make test` builds it.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh run
. scripts/lib.sh
exec cargo run --locked --quiet -p transom-sim --bin sim -- "$@"
