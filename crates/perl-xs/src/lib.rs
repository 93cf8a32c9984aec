//! A safe Perl API for Perl extensions written in Rust.
