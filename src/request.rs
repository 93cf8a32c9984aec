//! Builds the request object: a plain hash with the keys of RFC 3875, and those
//! that applications have long known besides.

use engine::form::cookies;
use engine::form::urlencoded::{self, Field};
use engine::{Head, RequestId, SocketAddress};
use perl_xs::{Array, Error, Hash, Key, Perl, Result, Scalar};

use crate::buffer;
use crate::listener::Listening;
use crate::options::FormOptions;
use crate::text;

const PACKAGE: &str = "HTTP::Server::EV::CGI";

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

/// A new request object, and a weak reference to its Buffer.
pub struct Made {
    pub object: Hash,
    pub weak_buffer: Scalar,
}

/// Makes the request object. `body` is that of an urlencoded request.
pub fn create(
    perl: Perl,
    id: RequestId,
    head: &Head,
    listener: &Hash,
    body: Option<Vec<u8>>,
) -> Result<Made> {
    let object = Hash::new(perl);
    object.reserve(24);
    object.insert("fd", Scalar::from_integer(perl, head.descriptor.into()))?;
    object.insert("stack_pos", Scalar::from_unsigned(perl, head.slot as u64))?;
    object.insert("headers", headers(perl, head)?.reference())?;
    for name in ["post", "post_a", "file", "file_a"] {
        object.insert(name, Hash::new(perl).reference())?;
    }
    object.insert("stdout_guard", Array::new(perl).reference())?;
    object.insert("timer", Scalar::from_number(perl, perl_ev::now()))?;

    let listening = listener
        .attached::<Listening>()
        .ok_or_else(|| Error::croak("not an HTTP::Server::EV::PortListener"))?;
    let options = field_options(perl, &listening.forms)?;
    if let Some(query) = head.request.query() {
        add_all(perl, &object, "get", urlencoded::parse(query, &options))?;
    }
    if let Some(line) = head.request.header("Cookie") {
        add_cookies(perl, &object, line, listening.forms.max_cookies)?;
    }
    if let Some(body) = body {
        add_all(perl, &object, "post", urlencoded::parse(&body, &options))?;
        object.insert("REQUEST_BODY", Scalar::from_bytes(perl, &body))?;
    }

    let parent = listener.reference();
    parent.weaken()?;
    object.insert("parent_listener", parent)?;
    let buffer = buffer::create(perl, id, head.descriptor)?;
    let weak_buffer = buffer.reference();
    object.insert("buffer", buffer.reference())?;
    weak_buffer.weaken()?;
    object.bless(PACKAGE)?;
    Ok(Made {
        object,
        weak_buffer,
    })
}

/// Adds a value to the pair of hashes `kind` (the last value of each name) and
/// `kind_a` (all of them, in order).
pub fn add(perl: Perl, object: &Hash, kind: &str, name: &Key, value: Scalar) -> Result<()> {
    let last = child_hash(perl, object, kind)?;
    let all = child_hash(perl, object, &format!("{kind}_a"))?;
    last.insert_key(name, value.clone())?;
    if let Some(list) = all.get_key(name)?.and_then(|list| list.as_array()) {
        return list.push(value);
    }
    let list = Array::new(perl);
    list.push(value)?;
    all.insert_key(name, list.reference())
}

/// The key of a multipart field, whose name stays the bytes that came.
pub fn bytes_key(name: &[u8]) -> Key {
    Key {
        bytes: name.to_vec(),
        is_utf8: false,
    }
}

/// Whether the client's hanging up is told to the Buffer: of these methods
/// nothing more is expected from it.
pub fn watches_client(object: &Hash) -> Result<bool> {
    let Some(headers) = object.get("headers")?.and_then(|headers| headers.as_hash()) else {
        return Ok(false);
    };
    match headers.get("REQUEST_METHOD")? {
        Some(method) => Ok(matches!(method.bytes()?.as_slice(), b"GET" | b"POST")),
        None => Ok(false),
    }
}

fn headers(perl: Perl, head: &Head) -> Result<Hash> {
    let headers = Hash::new(perl);
    headers.reserve(3 * head.request.headers().len() + SERVER_KEYS.len());
    let mut from_dashes = Vec::new();
    for (name, value) in head.request.headers() {
        let value = Scalar::from_bytes(perl, value);
        add_header(&headers, name, value, &mut from_dashes)?;
    }
    add_server_keys(perl, &headers, head)?;
    Ok(headers)
}

/// Stores one scalar under the name as it came, as `HTTP_` and the name in
/// capitals, and as the same with underscores for dashes (RFC 3875, 4.1.18).
/// A name that comes with underscores never replaces one that came with dashes.
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
    if name.contains(&b'-') {
        let underscored: Vec<u8> = dashed
            .iter()
            .map(|&byte| if byte == b'-' { b'_' } else { byte })
            .collect();
        headers.insert(&underscored, value.clone())?;
        from_dashes.push(underscored);
    }
    if from_dashes.contains(&dashed) {
        return Ok(());
    }
    headers.insert(dashed, value)
}

fn add_server_keys(perl: Perl, headers: &Hash, head: &Head) -> Result<()> {
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
    headers.insert("REMOTE_ADDR", remote_address(perl, head)?)?;
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
fn remote_address(perl: Perl, head: &Head) -> Result<Scalar> {
    let is_backend = perl
        .scalar_variable("HTTP::Server::EV::backend")
        .is_true()?;
    if let (true, Some(address)) = (is_backend, head.request.header("X-Real-IP")) {
        return Ok(Scalar::from_bytes(perl, address));
    }
    let address = match head.peer {
        SocketAddress::Ip(address) => address.ip().to_string(),
        SocketAddress::Unix => "unix:".to_owned(),
    };
    Ok(Scalar::from_bytes(perl, address.as_bytes()))
}

/// The host the client asked for, without its port; else where it connected to.
fn server_name(head: &Head) -> Vec<u8> {
    let local = || {
        head.local
            .ip()
            .map_or_else(Vec::new, |ip| ip.to_string().into_bytes())
    };
    head.request.header("Host").map_or_else(local, without_port)
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

fn field_options(perl: Perl, forms: &FormOptions) -> Result<urlencoded::Options> {
    let max_fields = match forms.max_fields {
        Some(max_fields) => max_fields,
        None => default_max_fields(perl)?,
    };
    Ok(urlencoded::Options {
        max_fields,
        plus_as_space: forms.plus_as_space,
    })
}

/// `$HTTP::Server::EV::CGI::MAX_URLENCODED_FIELDS` counts as it is now.
fn default_max_fields(perl: Perl) -> Result<u64> {
    let fields = perl
        .scalar_variable("HTTP::Server::EV::CGI::MAX_URLENCODED_FIELDS")
        .integer()?;
    Ok(u64::try_from(fields).unwrap_or(0))
}

fn add_all(
    perl: Perl,
    object: &Hash,
    kind: &str,
    fields: impl Iterator<Item = Field>,
) -> Result<()> {
    for field in fields {
        let value = field_value(perl, &field);
        add(perl, object, kind, &text::key(&field.name), value)?;
    }
    Ok(())
}

fn add_cookies(perl: Perl, object: &Hash, line: &[u8], max_cookies: u64) -> Result<()> {
    let cookies = child_hash(perl, object, "cookies")?;
    for field in cookies::parse(line, max_cookies) {
        let value = field_value(perl, &field);
        cookies.insert_key(&text::key(&field.name), value)?;
    }
    Ok(())
}

fn field_value(perl: Perl, field: &Field) -> Scalar {
    match &field.value {
        Some(value) => text::scalar(perl, value),
        None => Scalar::undef(perl),
    }
}

/// The hash under this key, made if there is none.
fn child_hash(perl: Perl, object: &Hash, name: &str) -> Result<Hash> {
    if let Some(hash) = object.get(name)?.and_then(|value| value.as_hash()) {
        return Ok(hash);
    }
    let hash = Hash::new(perl);
    object.insert(name, hash.reference())?;
    Ok(hash)
}
