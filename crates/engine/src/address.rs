//! Addresses: where a listener binds, and who is at either end of a connection.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// One end of a connection, or the place where a listener listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketAddress {
    /// IPv4 or IPv6, with the port.
    Ip(SocketAddr),
    /// A socket in the file system (unix(7)); clients of such a socket have no address.
    Unix,
}

impl SocketAddress {
    /// The IP address, unless the socket is one of the file system.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            SocketAddress::Ip(address) => Some(address.ip()),
            SocketAddress::Unix => None,
        }
    }

    /// The port, unless the socket is one of the file system.
    pub fn port(&self) -> Option<u16> {
        match self {
            SocketAddress::Ip(address) => Some(address.port()),
            SocketAddress::Unix => None,
        }
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketAddress::Ip(address) => address.fmt(formatter),
            SocketAddress::Unix => formatter.write_str("unix:"),
        }
    }
}

/// A place to listen at, as the application writes it.
///
/// ```
/// use engine::address::ListenAddress;
///
/// let all: ListenAddress = "8080".parse()?;
/// let loopback: ListenAddress = "[::1]:8080".parse()?;
/// let local: ListenAddress = "unix:/run/upload.sock".parse()?;
/// assert!(matches!(all, ListenAddress::Ip(address) if address.to_string() == "0.0.0.0:8080"));
/// # assert!(matches!(loopback, ListenAddress::Ip(_)));
/// # assert!(matches!(local, ListenAddress::Unix(_)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An IP address and a port; port 0 lets the system choose.
    Ip(SocketAddr),
    /// A path for a socket in the file system.
    Unix(PathBuf),
}

impl FromStr for ListenAddress {
    type Err = io::Error;

    /// Reads `PORT` (on every IPv4 address), `HOST:PORT`, `[IPv6]:PORT` or `unix:PATH`.
    /// A host name is looked up, which may block.
    ///
    /// # Errors
    ///
    /// The text is none of these, or the host name is not known.
    fn from_str(text: &str) -> io::Result<ListenAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(ListenAddress::Unix(PathBuf::from(path)));
        }
        if let Ok(port) = text.parse::<u16>() {
            return Ok(ListenAddress::Ip((Ipv4Addr::UNSPECIFIED, port).into()));
        }
        let mut addresses = text.to_socket_addrs().map_err(or_wrong_form)?;
        addresses.next().map(ListenAddress::Ip).ok_or_else(|| {
            io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address")
        })
    }
}

/// What the system says of a host's name is left as it is.
fn or_wrong_form(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidInput => io::Error::new(
            io::ErrorKind::InvalidInput,
            "an address is PORT, HOST:PORT, [IPv6]:PORT or unix:PATH",
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_address() {
        for text in ["", "65536", "nonsense", "127.0.0.1", "[::1]"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_socket_in_the_file_system_has_neither_address_nor_port() {
        let socket = SocketAddress::Unix;
        assert_eq!((socket.ip(), socket.port()), (None, None));
        assert_eq!(socket.to_string(), "unix:");
    }

    #[test]
    fn a_port_alone_is_of_every_ipv4_address() {
        let ListenAddress::Ip(address) = "8080".parse().unwrap() else {
            panic!("a port is of an IP address");
        };
        assert_eq!(address.to_string(), "0.0.0.0:8080");
        assert_eq!(SocketAddress::Ip(address).port(), Some(8080));
    }

    #[test]
    fn an_address_prints_as_it_is_read() {
        for text in ["127.0.0.1:80", "[::1]:8080"] {
            let ListenAddress::Ip(address) = text.parse().unwrap() else {
                panic!("{text} is an IP address");
            };
            assert_eq!(SocketAddress::Ip(address).to_string(), text);
        }
    }
}
