#!/bin/sh
# Starts Feersum by its own interface. It closes each connection, and tells only HTTP/1.0.
# bench-protocol: HTTP/1.0
# bench-without: idle: closes each connection
# bench-version: perl -MFeersum -MEV -e 'print "Feersum $Feersum::VERSION, EV $EV::VERSION"'

application="$(dirname "$0")/../apps/application.feersum"
export TMPDIR="$2"
[ "${BENCH_WORKERS:-1}" -eq 1 ] || fork="--pre-fork=$BENCH_WORKERS"
exec feersum --native --listen "127.0.0.1:$1" ${fork:+"$fork"} "$application"
