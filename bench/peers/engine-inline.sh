#!/bin/sh
# Starts the engine alone, without Perl, writing files in the loop.
# bench-build: cargo build --release --quiet --package engine --example upload
# bench-version: git log -1 --format=%h
# bench-workloads: upload

manifest="$(dirname "$0")/../../Cargo.toml"
exec cargo run --release --quiet --manifest-path "$manifest" --package engine --example upload -- "$1" "$2" inline
