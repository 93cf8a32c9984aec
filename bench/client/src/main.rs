//! The load client of the benchmarks: generates requests in memory, sends them as cheaply as it
//! can, and checks what the server answers.
//!
//! Each workload is a module; each prints one line of `key=value` pairs for the harness. Those that
//! go on until they are told to end first print the line `ready`; their standard input tells them.

mod connections;
mod disk;
mod idle;
mod latencies;
mod paced;
mod response;
mod standard_input;
mod upload;
mod uploads;

use std::env;
use std::process::ExitCode;
use std::str::FromStr;

const USAGE: &str = "usage: bench-client WORKLOAD ARGUMENT...
  connections ADDRESS COUNT SECONDS          a connection for each request, COUNT at a time
  idle ADDRESS COUNT                         connections that are kept after a request each
  paced ADDRESS PROTOCOL COUNT RATE SECONDS  RATE requests a second on COUNT connections
  saturate PATH BYTES                        a file that is written and synchronized all the time
  upload ADDRESS BYTES                       one large file
  uploads ADDRESS COUNT BYTES                large files all the time, COUNT at a time";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
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

fn run(words: &[&str]) -> Result<String, String> {
    match *words {
        ["connections", address, count, seconds] => {
            connections::run(address, number(count)?, number(seconds)?)
        }
        ["idle", address, count] => idle::run(address, number(count)?),
        ["paced", address, protocol, count, rate, seconds] => {
            let pace = paced::Pace {
                connections: number(count)?,
                rate: number(rate)?,
                seconds: number(seconds)?,
            };
            paced::run(address, protocol, &pace)
        }
        ["saturate", path, bytes] => disk::run(path, number(bytes)?),
        ["upload", address, bytes] => upload::run(address, number(bytes)?),
        ["uploads", address, count, bytes] => uploads::run(address, number(count)?, number(bytes)?),
        _ => Err(USAGE.to_owned()),
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("bad number {text}"))
}
