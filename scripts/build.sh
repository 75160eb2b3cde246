#!/usr/bin/env bash
# Builds the programs `transomd` and `transom` for use: target/release.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
echo "building transomd and transom (the first time takes some minutes)"
exec cargo build --locked --quiet --release -p transom-relay --bin transomd -p transom-cli --bin transom
