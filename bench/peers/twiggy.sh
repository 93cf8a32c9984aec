#!/bin/sh
# Starts Twiggy.
# bench-version: perl -MTwiggy -MPlack -e 'print "Twiggy $Twiggy::VERSION, Plack $Plack::VERSION"'
# bench-without: idle: closes each connection
# bench-without: workers workers-compute: is one process

application="$(dirname "$0")/../apps/application.psgi"
export TMPDIR="$2"
exec twiggy --env deployment --listen "127.0.0.1:$1" "$application"
