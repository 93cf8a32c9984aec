//! A server on the engine that answers every request at once, whatever it is; all it does is
//! counted.

use std::io;
use std::net::SocketAddr;

use engine::{Engine, Event, ListenSocket, ListenerOptions, SocketAddress};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::counting::counted;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n";
/// The body of every reply.
pub const BODY: &[u8] = b"Hello world\n";

/// An engine with one listener.
pub struct Server {
    engine: Engine,
    address: SocketAddr,
}

impl Server {
    /// Listens on a free port of the loopback interface.
    pub fn start() -> io::Result<Server> {
        counted(|| {
            let mut engine = Engine::new()?;
            let any_port = "127.0.0.1:0".parse().map_err(io::Error::other)?;
            let socket = ListenSocket::bind(&any_port)?;
            let SocketAddress::Ip(address) = socket.address() else {
                return Err(io::Error::other("the listener has no IP address"));
            };
            engine.listen(socket, ListenerOptions::default())?;
            Ok(Server { engine, address })
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does what is to be done now, and returns how many requests were answered.
    pub fn turn(&mut self) -> io::Result<u64> {
        counted(|| {
            self.engine.turn()?;
            let mut answered = 0;
            while let Some(event) = self.engine.next_event() {
                answered += u64::from(self.handle(event));
            }
            self.engine.flush();
            Ok(answered)
        })
    }

    /// Waits until there is something to do.
    pub fn sleep(&self) -> io::Result<()> {
        let wait_time = self.engine.wait_time().map(Timespec::try_from).transpose();
        let wait_time = wait_time.map_err(io::Error::other)?;
        let mut readable = [PollFd::new(&self.engine, PollFlags::IN)];
        rustix::event::poll(&mut readable, wait_time.as_ref())?;
        Ok(())
    }

    /// Returns whether it was a request, which is answered now.
    fn handle(&mut self, event: Event) -> bool {
        let Event::Request { request, head, .. } = event else {
            return false;
        };
        drop(head);
        self.engine.write_head(request, HEAD);
        self.engine.write(request, BODY);
        self.engine.finish(request);
        self.engine.acknowledge(request);
        true
    }
}
