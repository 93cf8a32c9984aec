//! `$cgi->{headers}`: the head of the request under the names of RFC 3875 and
//! under those that came, made when it is first asked for.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::net::IpAddr;
use std::rc::Rc;

use engine::form::urlencoded;
use engine::http::request_head::RequestHead;
use engine::{Head, SocketAddress};
use perl_xs::{Hash, Lazy, Perl, Place, Refill, Refillable, Result, Scalar, Value};

use crate::source::Source;

/// Set by the server: a header of such a name never overwrites them. Names in one
/// line have one value.
const SERVER_KEYS: [&[&[u8]]; 14] = [
    &[b"REQUEST_METHOD"],
    &[b"REQUEST_URI"],
    &[b"REMOTE_ADDR"],
    &[b"REMOTE_PORT"],
    &[b"SCRIPT_NAME", b"DOCUMENT_URI"],
    &[b"PATH_INFO"],
    &[b"QUERY_STRING"],
    &[b"CONTENT_TYPE"],
    &[b"CONTENT_LENGTH"],
    &[b"SERVER_PROTOCOL"],
    &[b"SERVER_NAME"],
    &[b"SERVER_PORT"],
    &[b"SERVER_SOFTWARE"],
    &[b"GATEWAY_INTERFACE"],
];

/// Said by other servers, which applications may ask for: no header of a client is found under them.
const KEYS_OF_OTHER_SERVERS: [&[u8]; 10] = [
    b"AUTH_TYPE",
    b"DOCUMENT_ROOT",
    b"PATH_TRANSLATED",
    b"REMOTE_HOST",
    b"REMOTE_IDENT",
    b"REMOTE_USER",
    b"REQUEST_SCHEME",
    b"SCRIPT_FILENAME",
    b"SERVER_ADDR",
    b"SERVER_ADMIN",
];

/// The element `headers`.
pub struct Environment(pub Rc<Source>);

impl Lazy for Environment {
    fn make(&self, perl: Perl) -> Result<Scalar> {
        let Some(head) = self.0.head() else {
            return Ok(Hash::new(perl).reference());
        };
        let is_backend = self.0.terms().is_backend;
        let environments = &self.0.environments;
        let spare = environments.take_spare(&head.request);
        let refilled =
            spare.and_then(|(refillable, layout)| refill(refillable, layout, &head, is_backend));
        let (hash, used) = match refilled {
            Some(refilled) => refilled,
            None => make(perl, &head, is_backend)?,
        };
        environments.used.replace(Some(used));
        Ok(hash.reference())
    }
}

/// The hash that was made last: it is filled again for a request with the same
/// header names, where nobody kept anything of it.
#[derive(Default)]
pub struct Environments {
    /// What the application has.
    used: RefCell<Option<(Refill, Layout)>>,
    spare: RefCell<Option<(Refillable, Layout)>>,
}

impl Environments {
    /// The application is through with its hash, of which this is the last reference.
    pub fn reclaim(&self, hash: Hash) {
        let used = self.used.take();
        let spare = used.and_then(|(refill, layout)| Some((refill.reclaim(hash)?, layout)));
        if spare.is_some() {
            drop(self.spare.replace(spare));
        }
    }

    fn take_spare(&self, request: &RequestHead) -> Option<(Refillable, Layout)> {
        let spare = self.spare.take();
        spare.filter(|(_, layout)| layout.has_names_of(request))
    }
}

/// Where the values of a request are in the hash.
struct Layout {
    /// As they came, each with a colon behind it.
    names: Vec<u8>,
    headers: Vec<Option<Place>>,
    server: [Option<Place>; SERVER_KEYS.len()],
}

impl Layout {
    fn has_names_of(&self, request: &RequestHead) -> bool {
        let mut rest = self.names.as_slice();
        let is_next = |(name, _): (&[u8], _)| {
            let after = rest.strip_prefix(name);
            match after.and_then(|after| after.strip_prefix(b":")) {
                Some(after) => {
                    rest = after;
                    true
                }
                None => false,
            }
        };
        request.headers().len() == self.headers.len() && request.headers().all(is_next)
    }
}

/// None if there is a value that cannot be replaced.
fn refill(
    mut refillable: Refillable,
    layout: Layout,
    head: &Head,
    is_backend: bool,
) -> Option<(Hash, (Refill, Layout))> {
    let texts = Texts::of(head, is_backend);
    let headers = head.request.headers();
    let headers = headers.map(|(_, value)| Value::Bytes(value));
    let headers = layout.headers.iter().zip(headers);
    let server = layout.server.iter().zip(server_values(head, &texts));
    let is_set = |(place, value): (&Option<Place>, Value<'_>)| {
        place.is_none_or(|place| refillable.set(place, value))
    };
    if !headers.chain(server).all(is_set) {
        return None;
    }
    let (hash, refill) = refillable.release();
    Some((hash, (refill, layout)))
}

fn make(perl: Perl, head: &Head, is_backend: bool) -> Result<(Hash, (Refill, Layout))> {
    let hash = Hash::new(perl);
    hash.reserve(3 * head.request.headers().len() + SERVER_KEYS.len() + 1);
    let headers = add_headers(&hash, &head.request)?;
    let server = add_server_values(&hash, head, is_backend)?;
    let refill = Refill::of(&hash)?;
    let layout = Layout {
        names: names_of(&head.request),
        headers: headers.iter().map(|value| refill.place(value)).collect(),
        server: server.each_ref().map(|value| refill.place(value)),
    };
    Ok((hash, (refill, layout)))
}

fn names_of(request: &RequestHead) -> Vec<u8> {
    let mut names = Vec::new();
    for (name, _) in request.headers() {
        names.extend_from_slice(name);
        names.push(b':');
    }
    names
}

fn add_headers(hash: &Hash, request: &RequestHead) -> Result<Vec<Scalar>> {
    let from_dashes = keys_from_dashes(request);
    let mut values = Vec::with_capacity(request.headers().len());
    for (name, value) in request.headers() {
        let value = Scalar::from_bytes(hash.perl(), value);
        add_header(hash, name, &value, &from_dashes)?;
        values.push(value);
    }
    Ok(values)
}

/// The keys of names that came with dashes alone, where there are others whose keys may
/// be the same.
fn keys_from_dashes(request: &RequestHead) -> HashSet<Vec<u8>> {
    let names = || request.headers().map(|(name, _)| name);
    if !names().any(|name| name.contains(&b'_')) {
        return HashSet::new();
    }
    names()
        .filter(|name| name.contains(&b'-') && !name.contains(&b'_'))
        .map(|name| with_underscores(capitals(name)))
        .collect()
}

/// Stores one scalar under the name as it came, as `HTTP_` and the name in
/// capitals, and as the same with underscores for dashes (RFC 3875, 4.1.18).
/// A name that comes with underscores never replaces one that came with dashes
/// alone, which a proxy may have set.
fn add_header(
    hash: &Hash,
    name: &[u8],
    value: &Scalar,
    from_dashes: &HashSet<Vec<u8>>,
) -> Result<()> {
    if !is_key_of_servers(name) {
        hash.insert(name, value.clone())?;
    }
    let mut key = capitals(name);
    if name.contains(&b'-') {
        hash.insert(&key, value.clone())?;
        key = with_underscores(key);
    }
    if name.contains(&b'_') && from_dashes.contains(&key) {
        return Ok(());
    }
    hash.insert(key, value.clone())
}

fn is_key_of_servers(name: &[u8]) -> bool {
    name.starts_with(b"HTTP_")
        || SERVER_KEYS.iter().any(|keys| keys.contains(&name))
        || KEYS_OF_OTHER_SERVERS.contains(&name)
}

/// `HTTP_` and the name in capitals.
fn capitals(name: &[u8]) -> Vec<u8> {
    let mut key = [b"HTTP_", name].concat();
    key.make_ascii_uppercase();
    key
}

fn with_underscores(mut key: Vec<u8>) -> Vec<u8> {
    for byte in key.iter_mut().filter(|byte| **byte == b'-') {
        *byte = b'_';
    }
    key
}

fn add_server_values(
    hash: &Hash,
    head: &Head,
    is_backend: bool,
) -> Result<[Scalar; SERVER_KEYS.len()]> {
    let texts = Texts::of(head, is_backend);
    let values = server_values(head, &texts).map(|value| value.to_scalar(hash.perl()));
    for (keys, value) in SERVER_KEYS.iter().zip(&values) {
        for key in *keys {
            hash.insert(key, value.clone())?;
        }
    }
    Ok(values)
}

/// In the order of `SERVER_KEYS`.
fn server_values<'a>(head: &'a Head, texts: &'a Texts<'_>) -> [Value<'a>; SERVER_KEYS.len()] {
    let request = &head.request;
    let optional = |value: Option<&'a [u8]>| value.map_or(Value::Undef, Value::Bytes);
    let number = |value: Option<u16>| match value {
        Some(value) => Value::Integer(value.into()),
        None => Value::Undef,
    };
    [
        Value::Bytes(request.method()),
        Value::Bytes(request.target()),
        Value::Bytes(&texts.remote_address),
        number(head.peer.port()),
        Value::Bytes(request.path()),
        Value::Bytes(&texts.decoded_path),
        optional(request.query()),
        optional(request.content_type()),
        optional(request.header("Content-Length")),
        Value::Bytes(request.version().as_str().as_bytes()),
        Value::Bytes(&texts.server_name),
        number(head.local.port()),
        Value::Bytes(b"HTTP::Server::EV"),
        Value::Bytes(b"CGI/1.1"),
    ]
}

/// Values that do not stand in the head as they are.
struct Texts<'a> {
    remote_address: Cow<'a, [u8]>,
    decoded_path: Cow<'a, [u8]>,
    server_name: Cow<'a, [u8]>,
}

impl Texts<'_> {
    fn of(head: &Head, is_backend: bool) -> Texts<'_> {
        Texts {
            remote_address: remote_address(head, is_backend),
            decoded_path: decoded_path(head.request.path()),
            server_name: server_name(head),
        }
    }
}

/// The client's address; behind a proxy (`backend`), what the proxy says it is.
fn remote_address(head: &Head, is_backend: bool) -> Cow<'_, [u8]> {
    if let (true, Some(address)) = (is_backend, head.request.header("X-Real-IP")) {
        return address.into();
    }
    match head.peer {
        SocketAddress::Ip(address) => ip_text(address.ip()).into(),
        SocketAddress::Unix => b"unix:".into(),
    }
}

/// The address as it is displayed; one of IPv4 without the machinery for that.
fn ip_text(address: IpAddr) -> Vec<u8> {
    let IpAddr::V4(address) = address else {
        return address.to_string().into_bytes();
    };
    let mut text = Vec::with_capacity(16);
    for octet in address.octets() {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let leading = digits.iter().take(2).take_while(|&&digit| digit == 0);
        let digits = digits.iter().skip(leading.count());
        text.extend(digits.map(|digit| b'0' + digit));
        text.push(b'.');
    }
    text.pop();
    text
}

fn decoded_path(path: &[u8]) -> Cow<'_, [u8]> {
    match path.contains(&b'%') {
        true => urlencoded::decode(path).0.into(),
        false => path.into(),
    }
}

/// The host the client asked for, without its port; else where it connected to.
fn server_name(head: &Head) -> Cow<'_, [u8]> {
    match (head.request.authority(), head.local.ip()) {
        (Some(host), _) => without_port(host).into(),
        (None, Some(address)) => ip_text(address).into(),
        (None, None) => Cow::default(),
    }
}

fn without_port(host: &[u8]) -> &[u8] {
    let port = host.iter().rposition(|&byte| byte == b':');
    let bracket = host.iter().rposition(|&byte| byte == b']');
    match (port, bracket) {
        (Some(port), bracket) if bracket.is_none_or(|bracket| bracket < port) => &host[..port],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_displayed() {
        for text in [
            "0.0.0.0",
            "1.20.109.255",
            "100.10.9.0",
            "127.0.0.1",
            "::1",
            "::ffff:10.0.0.1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(ip_text(address), text.as_bytes());
        }
    }
}
