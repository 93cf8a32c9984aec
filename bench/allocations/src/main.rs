//! Counts what the engine allocates: how often for a request on a kept connection, and how much for
//! a connection that idles. Fails if a GET that comes in one piece costs any allocation, or an idle
//! connection a KiB.
//!
//! `cargo run --release --manifest-path bench/Cargo.toml -p bench-allocations`

mod counting;
mod idle;
mod server;
mod steady;

use std::env;
use std::io;
use std::process::ExitCode;

use counting::CountingAllocator;
use rustix::process::{Resource, getrlimit, setrlimit};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// What an idle connection may cost at most. What was allocated may be more: it is not all in memory until
/// it is written to.
const MOST_IDLE_BYTES: f64 = 1024.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match &arguments[..] {
        [] => report(),
        [role, address] if role == "clients" => {
            allow_descriptors().and_then(|()| idle::be_clients(address))
        }
        _ => Err(io::Error::other("bench-allocations takes no arguments")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn report() -> io::Result<()> {
    allow_descriptors()?;
    let mut failures = Vec::new();
    println!("allocations for a request");
    for workload in steady::WORKLOADS {
        let allocations = steady::measure(workload)?;
        println!("{allocations:8.3}  {}", workload.name);
        if workload.is_free && allocations > 0.0 {
            failures.push(workload.name);
        }
    }
    let memory = idle::measure()?;
    println!("bytes for an idle connection");
    println!("{:8.0}  allocated", memory.allocated);
    println!("{:8.0}  resident", memory.resident);
    if memory.resident >= MOST_IDLE_BYTES {
        failures.push("an idle connection");
    }
    match failures.is_empty() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "too much for: {}",
            failures.join("; ")
        ))),
    }
}

/// As many descriptors as the process may have.
fn allow_descriptors() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
