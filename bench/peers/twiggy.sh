#!/bin/sh
# Starts Twiggy with Plack::Request.
# bench-version: perl -MTwiggy -MPlack -e 'print "Twiggy $Twiggy::VERSION, Plack $Plack::VERSION"'

application="$(dirname "$0")/../apps/upload.psgi"
export TMPDIR="$2"
exec twiggy --env deployment --listen "127.0.0.1:$1" "$application"
