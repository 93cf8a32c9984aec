//! An upload server on the engine alone: replies with the size of each file it was sent.
//!
//! `cargo run --release -p engine --example upload -- PORT DIRECTORY [inline|threads]`

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;

use engine::{
    Engine, Event, ListenSocket, ListenerOptions, RequestId, SocketAddress, TemporaryFile, Writer,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "arguments: PORT DIRECTORY [inline|threads]";
    let port: u16 = arguments.next().ok_or(usage)?.parse()?;
    let directory = PathBuf::from(arguments.next().ok_or(usage)?);
    let writer = match arguments.next().as_deref() {
        None | Some("threads") => Writer::Threads,
        Some("inline") => Writer::Inline,
        Some(_) => return Err(usage.into()),
    };

    let mut engine = Engine::new()?;
    engine.set_temporary_directory(directory);
    engine.set_writer(writer);
    let socket = ListenSocket::bind(&format!("127.0.0.1:{port}").parse()?)?;
    if let SocketAddress::Ip(address) = socket.address() {
        println!("http://{address}/");
    }
    engine.listen(socket, ListenerOptions::default())?;

    let mut uploads = Uploads::new();
    while engine.is_active() {
        engine.flush();
        sleep(&engine)?;
        engine.turn()?;
        while let Some(event) = engine.next_event() {
            handle(&mut engine, &mut uploads, event);
        }
    }
    Ok(())
}

/// The files of the requests that are under way.
type Uploads = HashMap<RequestId, Vec<TemporaryFile>>;

fn handle(engine: &mut Engine, uploads: &mut Uploads, event: Event) {
    let request = event.request();
    match event {
        Event::FileOpened { request, file, .. } => uploads.entry(request).or_default().push(file),
        Event::Request { request, .. } => {
            let files = uploads.remove(&request).unwrap_or_default();
            let sizes: String = files
                .iter()
                .map(|file| format!("{}\n", file.size()))
                .collect();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n",
                sizes.len()
            );
            engine.write(request, head.as_bytes());
            engine.write(request, sizes.as_bytes());
            engine.finish(request);
        }
        Event::Failed { request, error } => {
            uploads.remove(&request);
            eprintln!("{error}");
        }
        _ => {}
    }
    if let Some(request) = request {
        engine.acknowledge(request);
    }
}

/// What the outer loop does: waits until the engine has something to do.
fn sleep(engine: &Engine) -> Result<(), Box<dyn Error>> {
    let wait_time = engine.wait_time().map(Timespec::try_from).transpose()?;
    let mut readable = [PollFd::new(engine, PollFlags::IN)];
    match rustix::event::poll(&mut readable, wait_time.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
