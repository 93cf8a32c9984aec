//! Compiles the shim with the compiler and flags of the perl named by the environment variable PERL.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// What this perl says of how its extensions are compiled.
struct Configuration {
    perl: String,
    compiler: String,
    flags: Vec<String>,
    core: PathBuf,
    shared_library: bool,
    libraries: Vec<String>,
}

/// One value a line; a value has no line breaks. `-DDEBUGGING` is not among the flags of a perl
/// that shares its Config with one built without it, as Debian's debugperl does.
const QUESTION: &str = r#"
    my $debugging = grep { $_ eq 'DEBUGGING' }
        Config->can('non_bincompat_options') ? Config::non_bincompat_options() : split ' ', Config::myconfig();
    my @flags = ($Config{ccflags}, $Config{optimize}, $Config{cccdlflags});
    push @flags, '-DDEBUGGING' if $debugging && $Config{ccflags} !~ /-DDEBUGGING/;
    print map { s/\n/ /gr . "\n" } $Config{cc}, "@flags", "$Config{archlibexp}/CORE",
        $Config{useshrplib} // '', $Config{perllibs} // '';
"#;

/// The map of them is in `shim/shim.h`.
const SOURCES: [&str; 7] = [
    "shim/guard.c",
    "shim/lazy.c",
    "shim/operations.c",
    "shim/reuse.c",
    "shim/signals.c",
    "shim/values.c",
    "shim/trampolines.c",
];

fn main() {
    println!("cargo:rerun-if-env-changed=PERL");
    println!("cargo:rerun-if-changed=shim");

    let configuration = Configuration::ask(env::var("PERL").unwrap_or_else(|_| "perl".to_owned()));
    configuration.require_headers();
    // Changes when perl does.
    println!(
        "cargo:rerun-if-changed={}",
        configuration.core.join("config.h").display()
    );
    compile_shim(&configuration);
    tell_dependents(&configuration);
    link_programs(&configuration);
}

impl Configuration {
    fn ask(perl: String) -> Self {
        let output = Command::new(&perl)
            .args(["-MConfig", "-e", QUESTION])
            .output()
            .unwrap_or_else(|error| {
                fail(&format!(
                    "cannot run `{perl}`: {error}. Install Perl 5.14 or later, or name one in PERL."
                ))
            });
        if !output.status.success() {
            fail(&format!(
                "`{perl} -MConfig` failed: {}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = answer.lines().map(str::to_owned);
        let mut value = || lines.next().unwrap_or_default();
        Self {
            perl,
            compiler: value(),
            flags: words(&value()),
            core: PathBuf::from(value()),
            shared_library: matches!(value().as_str(), "true" | "define" | "yes"),
            libraries: words(&value()),
        }
    }

    fn require_headers(&self) {
        let header = self.core.join("perl.h");
        if header.is_file() {
            return;
        }
        fail(&format!(
            "{} is missing: the headers of `{}` are not installed. On Debian and Ubuntu: apt-get install libperl-dev",
            header.display(),
            self.perl
        ));
    }
}

fn compile_shim(configuration: &Configuration) {
    let mut compiler = configuration.compiler.split_whitespace();
    let mut build = cc::Build::new();
    build
        .no_default_flags(true)
        .warnings(false)
        .files(SOURCES)
        .include("shim");
    build.compiler(compiler.next().unwrap_or("cc"));
    for flag in compiler.chain(configuration.flags.iter().map(String::as_str)) {
        build.flag(flag);
    }
    // perl's headers are not ours to warn about.
    build
        .flag("-isystem")
        .flag(&*configuration.core.to_string_lossy());
    build
        .flag_if_supported("-Wall")
        .flag_if_supported("-Wextra")
        .flag_if_supported("-Wno-address");
    build.compile("perl_shim");
}

/// A build script of a crate that has C of its own reads these, and asks perl nothing.
fn tell_dependents(configuration: &Configuration) {
    let manifest = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!(
        "cargo:include={}",
        Path::new(&manifest).join("shim").display()
    );
    println!("cargo:core={}", configuration.core.display());
    println!("cargo:cc={}", configuration.compiler);
    println!("cargo:ccflags={}", configuration.flags.join(" "));
    println!("cargo:perl={}", configuration.perl);
}

/// An extension gets perl's symbols from the perl that loads it. Test programs need them at link time;
/// none of this goes into a static library.
fn link_programs(configuration: &Configuration) {
    println!(
        "cargo:rustc-link-search=native={}",
        configuration.core.display()
    );
    let kind = if configuration.shared_library {
        "dylib"
    } else {
        "static:-bundle"
    };
    println!("cargo:rustc-link-lib={kind}=perl");
    for library in configuration
        .libraries
        .iter()
        .filter_map(|word| word.strip_prefix("-l"))
    {
        println!("cargo:rustc-link-lib=dylib={library}");
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn fail(message: &str) -> ! {
    eprintln!("perl-sys: {message}");
    exit(1);
}
