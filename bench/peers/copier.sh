#!/bin/sh
# Starts the baseline: a plain socket-to-file copier.
# bench-build: cargo build --release --quiet --manifest-path bench/Cargo.toml --package bench-copier
# bench-version: rustc --version
# bench-workloads: upload

manifest="$(dirname "$0")/../Cargo.toml"
exec cargo run --release --quiet --manifest-path "$manifest" --package bench-copier -- "$1" "$2"
