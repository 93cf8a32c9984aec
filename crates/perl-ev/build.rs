//! Compiles the shim over EV's C API, for the perl that perl-sys was built for.

use std::env;
use std::path::PathBuf;
use std::process::{Command, exit};

fn main() {
    println!("cargo:rerun-if-changed=shim");

    let mut build = cc::Build::new();
    build
        .no_default_flags(true)
        .warnings(false)
        .file("shim/perl_ev_shim.c")
        .include("shim")
        .include(told("INCLUDE"));
    let compiler = told("CC");
    let mut compiler = compiler.split_whitespace();
    build.compiler(compiler.next().unwrap_or("cc"));
    for flag in compiler.chain(told("CCFLAGS").split_whitespace()) {
        build.flag(flag);
    }
    let headers = ev_headers(&told("PERL"));
    // Neither perl's headers nor EV's are ours to warn about.
    for folder in [PathBuf::from(told("CORE")), headers.join("EV"), headers] {
        build
            .flag("-isystem")
            .flag(folder.to_string_lossy().as_ref());
    }
    build
        .flag_if_supported("-Wall")
        .flag_if_supported("-Wextra")
        .compile("perl_ev_shim");
}

/// What perl-sys's build script told.
fn told(name: &str) -> String {
    env::var(format!("DEP_PERL_SHIM_{name}")).unwrap_or_default()
}

/// The folder of `@INC` in which the module EV keeps `EV/EVAPI.h`.
fn ev_headers(perl: &str) -> PathBuf {
    let script = r#"for (@INC) { if (-f "$_/EV/EVAPI.h") { print; last } }"#;
    let output = Command::new(perl).args(["-e", script]).output();
    let output = output.unwrap_or_else(|error| fail(&format!("cannot run `{perl}`: {error}")));
    if output.stdout.is_empty() {
        fail(&format!(
            "`{perl}` has no EV/EVAPI.h: install the module EV, on Debian libev-perl"
        ));
    }
    PathBuf::from(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn fail(message: &str) -> ! {
    eprintln!("perl-ev: {message}");
    exit(1);
}
