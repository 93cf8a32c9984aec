//! The socket calls the engine makes: listening, accepting, receiving, sending.

use std::cell::Cell;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrAny, SocketAddrUnix, SocketFlags,
    SocketType, sockopt,
};

use crate::address::{ListenAddress, SocketAddress};
use crate::write_signals::without_signals;

/// The system cuts this down to its own maximum (`net.core.somaxconn`).
const BACKLOG: i32 = 65535;

/// A bound and listening socket, ready to be given to [`Engine::listen`](crate::Engine::listen).
#[derive(Debug)]
pub struct ListenSocket {
    descriptor: OwnedFd,
    address: SocketAddress,
    /// Clients who came before this was set up may be among those that wait.
    has_early_clients: Cell<bool>,
    /// Removed with the socket.
    _name: Option<SocketName>,
}

impl ListenSocket {
    /// Binds and listens: not blocking, closed on exec, address reuse on, the longest backlog
    /// the system grants.
    ///
    /// A socket in the file system that nobody listens on any more is replaced, and this one
    /// removed when it is closed by the process that bound it. An IPv6 socket is for IPv6
    /// alone, whatever the system's default (`net.ipv6.bindv6only`).
    ///
    /// # Errors
    ///
    /// Whatever socket(2), bind(2) or listen(2) said, the address being in use above all.
    pub fn bind(address: &ListenAddress) -> io::Result<ListenSocket> {
        let (descriptor, name) = match address {
            ListenAddress::Ip(address) => (bind_ip(address)?, None),
            ListenAddress::Unix(path) => {
                let (descriptor, name) = bind_unix(path)?;
                (descriptor, Some(name))
            }
        };
        rustix::net::listen(&descriptor, BACKLOG)?;
        let socket = ListenSocket::from_descriptor(descriptor)?;
        Ok(ListenSocket {
            _name: name,
            ..socket
        })
    }

    /// Takes over a socket that is listening already, of whatever family.
    ///
    /// # Errors
    ///
    /// The descriptor is not a listening socket.
    pub fn from_descriptor(descriptor: OwnedFd) -> io::Result<ListenSocket> {
        if !sockopt::socket_acceptconn(&descriptor)? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the socket is not listening",
            ));
        }
        set_nonblocking(&descriptor)?;
        rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
        let address = local_address(&descriptor)?;
        if address != SocketAddress::Unix {
            // Sockets of clients who come from now on inherit it.
            send_at_once(&descriptor);
        }
        Ok(ListenSocket {
            descriptor,
            address,
            has_early_clients: Cell::new(address != SocketAddress::Unix),
            _name: None,
        })
    }

    /// Where it listens; with the port that the system chose, where it was asked to.
    pub fn address(&self) -> SocketAddress {
        self.address
    }
}

impl AsFd for ListenSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The name of a socket in the file system, removed with this.
#[derive(Debug)]
struct SocketName {
    path: PathBuf,
    /// Device and inode: another socket may have taken the name.
    identity: (u64, u64),
    /// A forked child has this too, but the name is not the child's to remove.
    creator: u32,
}

impl SocketName {
    fn new(path: &Path) -> io::Result<SocketName> {
        Ok(SocketName {
            // The working directory may change.
            path: std::path::absolute(path)?,
            identity: identity(path)?,
            creator: process::id(),
        })
    }
}

impl Drop for SocketName {
    fn drop(&mut self) {
        let is_own = self.creator == process::id()
            && identity(&self.path).is_ok_and(|identity| identity == self.identity);
        if is_own {
            fs::remove_file(&self.path).ok();
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Accepts one connection: not blocking, closed on exec.
pub(crate) fn accept(listener: &ListenSocket) -> rustix::io::Result<(OwnedFd, SocketAddress)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    match rustix::net::acceptfrom_with(&listener.descriptor, flags) {
        Ok((descriptor, peer)) => {
            if listener.has_early_clients.get() {
                send_at_once(&descriptor);
            }
            Ok((descriptor, peer.map_or(SocketAddress::Unix, from_any)))
        }
        Err(error) => {
            if error == Errno::AGAIN {
                listener.has_early_clients.set(false);
            }
            Err(error)
        }
    }
}

/// A reply goes out in few large writes, so waiting for more to fill a packet could only delay
/// its end. Not every family has it.
fn send_at_once(socket: &OwnedFd) {
    sockopt::set_tcp_nodelay(socket, true).ok();
}

/// Whether the socket has something to be read, or a client to be accepted. If that cannot be told,
/// it may have, since nobody would be told again.
pub(crate) fn has_input(socket: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&socket, PollFlags::IN)];
    let polled = rustix::event::poll(&mut polled, Some(&Timespec::default()));
    polled.map_or(true, |count| count > 0)
}

pub(crate) fn local_address(socket: impl AsFd) -> io::Result<SocketAddress> {
    Ok(from_any(rustix::net::getsockname(socket)?))
}

pub(crate) fn peer_address(socket: impl AsFd) -> io::Result<SocketAddress> {
    Ok(rustix::net::getpeername(socket)?.map_or(SocketAddress::Unix, from_any))
}

/// Reads what is there, at most as much as fits; `Ok(0)` is the peer's end.
pub(crate) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    loop {
        match rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((length, _)) => return Ok(length),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes as much as the kernel takes, without ever raising a signal.
pub(crate) fn send(socket: &OwnedFd, bytes: &[u8]) -> rustix::io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        let sent = match rustix::net::send(socket, bytes, flags) {
            Err(Errno::NOTSOCK) => write_without_signal(socket, bytes),
            other => other,
        };
        if sent != Err(Errno::INTR) {
            return sent;
        }
    }
}

/// What is no socket may be a pipe, or a file.
fn write_without_signal(descriptor: &OwnedFd, bytes: &[u8]) -> rustix::io::Result<usize> {
    let written = without_signals(|| Ok(rustix::io::write(descriptor, bytes)?));
    written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Tells the peer that nothing more comes. Failing means that the peer is gone already.
pub(crate) fn shut_down_sending(socket: &OwnedFd) {
    rustix::net::shutdown(socket, Shutdown::Write).ok();
}

/// Ends the connection whoever else has its socket, as closing the only descriptor would: the peer
/// is told that nothing more comes, and what it sends from now on is answered by a reset; so is what
/// it has sent before if nobody has read that. Failing means that the peer is gone already.
pub(crate) fn shut_down(socket: &OwnedFd) {
    if rustix::net::shutdown(socket, Shutdown::Both).is_err() {
        return;
    }
    if has_unread(socket) {
        reset(socket);
    }
}

/// A peer whose window is full would not get to send what is answered by a reset, and nobody tells
/// it of room in a socket that was shut down, however much is read from it. See connect(2) on
/// `AF_UNSPEC`; a Unix-domain socket knows no windows, and that it fails there does no harm.
fn reset(socket: &OwnedFd) {
    rustix::net::connect_unspec(socket).ok();
}

fn has_unread(socket: &OwnedFd) -> bool {
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    matches!(rustix::net::recv(socket, &mut [0], flags), Ok((1.., _)))
}

/// Whether the process or the system has no descriptor left.
pub(crate) fn is_short_of_descriptors(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

pub(crate) fn duplicate(socket: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(socket, 0)?)
}

pub(crate) fn set_nonblocking(descriptor: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&descriptor)?;
    if flags.contains(OFlags::NONBLOCK) {
        return Ok(());
    }
    Ok(rustix::fs::fcntl_setfl(
        &descriptor,
        flags | OFlags::NONBLOCK,
    )?)
}

fn bind_ip(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let descriptor = stream_socket(family)?;
    sockopt::set_socket_reuseaddr(&descriptor, true)?;
    if address.is_ipv6() {
        // Otherwise IPv4 clients come under addresses like ::ffff:192.0.2.1 (RFC 4291 §2.5.5.2).
        sockopt::set_ipv6_v6only(&descriptor, true)?;
    }
    rustix::net::bind(&descriptor, address)?;
    Ok(descriptor)
}

fn bind_unix(path: &Path) -> io::Result<(OwnedFd, SocketName)> {
    let address = SocketAddrUnix::new(path)?;
    let descriptor = stream_socket(AddressFamily::UNIX)?;
    match rustix::net::bind(&descriptor, &address) {
        Err(Errno::ADDRINUSE) if is_abandoned(path, &address) => {
            fs::remove_file(path)?;
            rustix::net::bind(&descriptor, &address)?;
        }
        other => other?,
    }
    let name = SocketName::new(path).inspect_err(|_| {
        fs::remove_file(path).ok();
    })?;
    Ok((descriptor, name))
}

/// A path may be in use by a socket whose process has ended: connecting is then refused.
/// Anything else that has the name, a file for example, answers differently or is no socket.
fn is_abandoned(path: &Path, address: &SocketAddrUnix) -> bool {
    let is_socket = rustix::fs::lstat(path)
        .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Socket);
    is_socket
        && stream_socket(AddressFamily::UNIX)
            .is_ok_and(|probe| rustix::net::connect(&probe, address) == Err(Errno::CONNREFUSED))
}

fn stream_socket(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(family, SocketType::STREAM, flags, None)
}

fn from_any(address: SocketAddrAny) -> SocketAddress {
    SocketAddr::try_from(address).map_or(SocketAddress::Unix, SocketAddress::Ip)
}
