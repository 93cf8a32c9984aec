#!/bin/sh
# Starts Starlet. A worker serves one connection at a time.
# bench-version: perl -MStarlet -MPlack -e 'print "Starlet $Starlet::VERSION, Plack $Plack::VERSION"'
# bench-connections: 1
# bench-without: idle: a worker process holds one connection

application="$(dirname "$0")/../apps/application.psgi"
export TMPDIR="$2"
exec plackup --server Starlet --env deployment --max-workers "${BENCH_WORKERS:-1}" \
    --max-reqs-per-child 1000000000 --max-keepalive-reqs 1000000000 --keepalive-timeout 60 \
    --listen "127.0.0.1:$1" "$application"
