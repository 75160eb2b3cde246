#!/usr/bin/env bash
# `make run`: builds the programs, starts a relay with its data under ./data, and says how to start a conversation.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh run
. scripts/lib.sh
scripts/build.sh

bin="${CARGO_TARGET_DIR:-target}/release"
http=127.0.0.1:8080

# One request by the shell itself, so that nothing has to be installed for it.
healthy() {
	local status=
	exec 3<>"/dev/tcp/${http%:*}/${http#*:}" || return 1
	printf 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
	IFS= read -r -t 2 status <&3 || true
	exec 3<&- 3>&-
	[[ $status == *" 200 "* ]]
}

if healthy 2>/dev/null; then
	echo "error: something answers on http://localhost:8080 already." >&2
	echo "  If it is a relay that you started before, use it, or stop it first (Ctrl-C in its terminal)." >&2
	exit 1
fi

"$bin/transomd" --data data --http "$http" --https 0.0.0.0:8443 &
relay=$!
trap 'kill -TERM "$relay" 2>/dev/null || true' INT TERM

for ((tenths = 0; ; tenths++)); do
	if ! kill -0 "$relay" 2>/dev/null; then
		code=0
		wait "$relay" || code=$?
		echo "error: the relay did not start (exit code $code); it says why above." >&2
		exit "$code"
	fi
	healthy 2>/dev/null && break
	if [ "$tenths" -ge 300 ]; then
		echo "error: the relay does not answer on http://localhost:8080/healthz after 30 seconds." >&2
		kill -TERM "$relay"
		exit 1
	fi
	sleep 0.1
done

cat <<EOF

The relay is up on http://localhost:8080 and https://localhost:8443; its data is under ./data. Ctrl-C stops it.
Start a conversation from two other terminals, in this directory:

  $bin/transom --profile alice register alice@localhost:8443
  $bin/transom --profile bob register bob@localhost:8443
  $bin/transom --profile alice send bob@localhost:8443 "Hello Bob"

EOF

# The first wait ends when a signal comes; the second one gives the relay the time to stop in good order.
code=0
wait "$relay" || code=$?
if kill -0 "$relay" 2>/dev/null; then
	code=0
	wait "$relay" || code=$?
fi
exit "$code"
