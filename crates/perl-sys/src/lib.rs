//! The raw Perl API: one C shim over perl.h, and its declarations.
