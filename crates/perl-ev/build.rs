//! Compiles the shim over EV's C API, for the perl that perl-sys was built for.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=shim");

    let mut build = cc::Build::new();
    build.file("shim/perl_ev_shim.c").include("shim");
    for include in env_list("DEP_PERL_SHIM_INCLUDE") {
        build.include(include);
    }
    for flag in env_list("DEP_PERL_SHIM_CCFLAGS") {
        build.flag(flag);
    }
    build.include(ev_headers().join("EV"));
    build.include(ev_headers());
    build.warnings(false).compile("perl_ev_shim");
}

/// What perl-sys's build script told, separated by blanks.
fn env_list(name: &str) -> Vec<String> {
    let value = std::env::var(name).unwrap_or_default();
    value.split_whitespace().map(str::to_owned).collect()
}

/// The folder of `@INC` in which the module EV keeps `EV/EVAPI.h`.
fn ev_headers() -> PathBuf {
    let perl = std::env::var("DEP_PERL_SHIM_PERL").unwrap_or_else(|_| "perl".to_owned());
    let script = r#"for (@INC) { if (-f "$_/EV/EVAPI.h") { print; last } }"#;
    let output = Command::new(&perl)
        .args(["-e", script])
        .output()
        .unwrap_or_else(|error| panic!("cannot run {perl}: {error}"));
    let folder = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !folder.is_empty(),
        "{perl} has no EV/EVAPI.h: install the Perl module EV (Debian: libev-perl)"
    );
    PathBuf::from(folder)
}
