#!/bin/sh
# Starts Starman. A worker serves one connection at a time.
# bench-version: perl -MStarman -MPlack -e 'print "Starman $Starman::VERSION, Plack $Plack::VERSION"'
# bench-connections: 1
# bench-without: idle: a worker process holds one connection

application="$(dirname "$0")/../apps/application.psgi"
export TMPDIR="$2"
exec starman --env deployment --workers "${BENCH_WORKERS:-1}" --max-requests 1000000000 \
    --keepalive-timeout 60 --preload-app --listen "127.0.0.1:$1" "$application"
