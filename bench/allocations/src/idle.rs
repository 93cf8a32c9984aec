//! What a connection costs while it waits for its next request.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::counting::counts;
use crate::server::{BODY, Server};

const CONNECTIONS: u64 = 10_000;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Of each idle connection.
pub struct Memory {
    /// Bytes that the engine has allocated and not freed.
    pub allocated: f64,
    /// Bytes of the process that lie in memory.
    pub resident: f64,
}

/// What is held for each connection, once all have had a reply and are silent.
pub fn measure() -> io::Result<Memory> {
    let mut server = Server::start()?;
    let (held, resident) = (counts().held, resident()?);
    // In a process of their own, since each side needs a descriptor for each connection.
    let mut clients = Command::new(env::current_exe()?)
        .args(["clients", &server.address().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let outcome = serve(&mut server).and_then(|()| await_word(&mut clients));
    let memory = outcome.and_then(|()| {
        let each = |bytes: i64| bytes as f64 / CONNECTIONS as f64;
        Ok(Memory {
            allocated: each(counts().held - held),
            resident: each(self::resident()? - resident),
        })
    });
    // They end with their input.
    drop(clients.stdin.take());
    clients.wait()?;
    memory
}

/// The clients' side: makes the connections, has a reply on each, all at a time, tells so, and keeps
/// them until its input ends.
pub fn be_clients(address: &str) -> io::Result<()> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(TcpStream::connect(address)?);
    }
    for client in &mut clients {
        client.write_all(REQUEST)?;
    }
    for client in &mut clients {
        let mut space = [0; 4096];
        let length = client.read(&mut space)?;
        let reply = space.get(..length).unwrap_or_default();
        if !reply.ends_with(BODY) {
            return Err(io::Error::other(
                "the reply is not the one that was expected",
            ));
        }
    }
    println!("connected");
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn serve(server: &mut Server) -> io::Result<()> {
    let mut answered = 0;
    while answered < CONNECTIONS {
        server.sleep()?;
        answered += server.turn()?;
    }
    Ok(())
}

fn await_word(clients: &mut Child) -> io::Result<()> {
    let output = clients.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    match line.is_empty() {
        true => Err(io::Error::other("the clients have failed")),
        false => Ok(()),
    }
}

/// Bytes of this process that lie in memory.
fn resident() -> io::Result<i64> {
    let statistics = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statistics
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok());
    let pages: i64 = pages.ok_or(io::ErrorKind::InvalidData)?;
    Ok(pages * rustix::param::page_size() as i64)
}
