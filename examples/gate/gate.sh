#!/bin/sh
# Asks the gate whether the new version may go live, and ends with 0 if it may.
#
#   gate.sh MIDDLEWARE [PARAMETER=VALUE ...]
#   gate.sh shadow-billing max-real=0.5% max-lost=1%
#
# While there is too little to judge of, the gate answers 503 and says when to ask again, and
# curl does. Any other answer is the last. The environment may have
#
#   GATE       where the gate is             http://localhost:8000/mirror/gate
#   GATE_USER  user:password                 none
#   GATE_WAIT  for how long to ask at most, in seconds   1800
set -eu

middleware=$1
shift
for parameter in "$@"; do # each in the place of itself, behind curl's option
  shift
  set -- "$@" --data-urlencode "$parameter"
done
if [ -n "${GATE_USER:-}" ]; then
  set -- "$@" --user "$GATE_USER"
fi

answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# --fail has curl end with 22 for 409, which is a no, and 400, which is a mistake in the
# question. Of these and of 503 only the last is asked again. --retry-connrefused is for a
# Traefik that has just been deployed.
code=0
curl --fail-with-body --silent --show-error --get --output "$answer" \
  --retry 1000 --retry-max-time "${GATE_WAIT:-1800}" --retry-connrefused --max-time 30 \
  --data-urlencode "middleware=$middleware" "$@" \
  "${GATE:-http://localhost:8000/mirror/gate}" || code=$?

cat "$answer"
exit "$code"
