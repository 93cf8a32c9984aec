#!/bin/sh
# Starts Starman with one worker and Plack::Request.
# bench-version: perl -MStarman -MPlack -e 'print "Starman $Starman::VERSION, Plack $Plack::VERSION"'

application="$(dirname "$0")/../apps/upload.psgi"
export TMPDIR="$2"
exec starman --env deployment --workers 1 --preload-app --listen "127.0.0.1:$1" "$application"
