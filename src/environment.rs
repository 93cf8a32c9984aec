//! `$cgi->{headers}`: the head of the request under the names of RFC 3875 and
//! under those that came, made when it is first asked for.

use std::rc::Rc;

use engine::form::urlencoded;
use engine::{Head, SocketAddress};
use perl_xs::{Hash, Lazy, Perl, Result, Scalar};

use crate::source::Source;

/// Set by the server: a header of such a name never overwrites them.
const SERVER_KEYS: [&[u8]; 15] = [
    b"CONTENT_LENGTH",
    b"CONTENT_TYPE",
    b"DOCUMENT_URI",
    b"GATEWAY_INTERFACE",
    b"PATH_INFO",
    b"QUERY_STRING",
    b"REMOTE_ADDR",
    b"REMOTE_PORT",
    b"REQUEST_METHOD",
    b"REQUEST_URI",
    b"SCRIPT_NAME",
    b"SERVER_NAME",
    b"SERVER_PORT",
    b"SERVER_PROTOCOL",
    b"SERVER_SOFTWARE",
];

/// The element `headers`.
pub struct Environment(pub Rc<Source>);

impl Lazy for Environment {
    fn make(&self, perl: Perl) -> Result<Scalar> {
        let headers = Hash::new(perl);
        let Some(head) = self.0.head() else {
            return Ok(headers.reference());
        };
        let request = &head.request;
        headers.reserve(3 * request.headers().len() + SERVER_KEYS.len());
        let mut from_dashes = Vec::new();
        for (name, value) in request.headers() {
            let value = Scalar::from_bytes(perl, value);
            add_header(&headers, name, value, &mut from_dashes)?;
        }
        add_server_keys(&headers, &head, self.0.terms().is_backend)?;
        Ok(headers.reference())
    }
}

/// Stores one scalar under the name as it came, as `HTTP_` and the name in
/// capitals, and as the same with underscores for dashes (RFC 3875, 4.1.18).
/// A name that comes with underscores never replaces one that came with dashes
/// alone, which a proxy may have set.
fn add_header(
    headers: &Hash,
    name: &[u8],
    value: Scalar,
    from_dashes: &mut Vec<Vec<u8>>,
) -> Result<()> {
    if !name.starts_with(b"HTTP_") && !SERVER_KEYS.contains(&name) {
        headers.insert(name, value.clone())?;
    }
    let dashed = [b"HTTP_".as_slice(), &name.to_ascii_uppercase()].concat();
    let underscored: Vec<u8> = dashed
        .iter()
        .map(|&byte| if byte == b'-' { b'_' } else { byte })
        .collect();
    let has_dashes = underscored != dashed;
    if has_dashes {
        headers.insert(dashed, value.clone())?;
    }
    if name.contains(&b'_') {
        if from_dashes.contains(&underscored) {
            return Ok(());
        }
    } else if has_dashes {
        from_dashes.push(underscored.clone());
    }
    headers.insert(underscored, value)
}

fn add_server_keys(headers: &Hash, head: &Head, is_backend: bool) -> Result<()> {
    let perl = headers.perl();
    let request = &head.request;
    let bytes = |value: &[u8]| Scalar::from_bytes(perl, value);
    let optional = |value: Option<&[u8]>| value.map_or_else(|| Scalar::undef(perl), bytes);
    let number = |value: Option<u16>| match value {
        Some(value) => Scalar::from_integer(perl, value.into()),
        None => Scalar::undef(perl),
    };
    let path = bytes(request.path());

    headers.insert("REQUEST_METHOD", bytes(request.method()))?;
    headers.insert("REQUEST_URI", bytes(request.target()))?;
    headers.insert("REMOTE_ADDR", remote_address(perl, head, is_backend))?;
    headers.insert("REMOTE_PORT", number(head.peer.port()))?;
    headers.insert("SCRIPT_NAME", path.clone())?;
    headers.insert("DOCUMENT_URI", path)?;
    headers.insert("PATH_INFO", bytes(&urlencoded::decode(request.path()).0))?;
    headers.insert("QUERY_STRING", optional(request.query()))?;
    headers.insert("CONTENT_TYPE", optional(request.content_type()))?;
    headers.insert("CONTENT_LENGTH", optional(request.header("Content-Length")))?;
    headers.insert(
        "SERVER_PROTOCOL",
        bytes(request.version().as_str().as_bytes()),
    )?;
    headers.insert("SERVER_NAME", bytes(&server_name(head)))?;
    headers.insert("SERVER_PORT", number(head.local.port()))?;
    headers.insert("SERVER_SOFTWARE", bytes(b"HTTP::Server::EV"))?;
    headers.insert("GATEWAY_INTERFACE", bytes(b"CGI/1.1"))
}

/// The client's address; behind a proxy (`backend`), what the proxy says it is.
fn remote_address(perl: Perl, head: &Head, is_backend: bool) -> Scalar {
    if let (true, Some(address)) = (is_backend, head.request.header("X-Real-IP")) {
        return Scalar::from_bytes(perl, address);
    }
    let address = match head.peer {
        SocketAddress::Ip(address) => address.ip().to_string(),
        SocketAddress::Unix => "unix:".to_owned(),
    };
    Scalar::from_bytes(perl, address.as_bytes())
}

/// The host the client asked for, without its port; else where it connected to.
fn server_name(head: &Head) -> Vec<u8> {
    let local = || {
        head.local
            .ip()
            .map_or_else(Vec::new, |ip| ip.to_string().into_bytes())
    };
    head.request.authority().map_or_else(local, without_port)
}

fn without_port(host: &[u8]) -> Vec<u8> {
    let port = host.iter().rposition(|&byte| byte == b':');
    let bracket = host.iter().rposition(|&byte| byte == b']');
    match (port, bracket) {
        (Some(port), bracket) if bracket.is_none_or(|bracket| bracket < port) => {
            host[..port].to_vec()
        }
        _ => host.to_vec(),
    }
}
