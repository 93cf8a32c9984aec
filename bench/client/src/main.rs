//! The load client of the benchmarks: generates requests in memory, sends them as cheaply as it
//! can, and checks what the server answers.
//!
//! `bench-client upload ADDRESS BYTES` is the only workload so far; each workload is a module and
//! prints one line of `key=value` pairs for the harness.

mod response;
mod upload;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "usage: bench-client upload ADDRESS BYTES";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["upload", address, bytes] => upload::run(address, bytes),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
