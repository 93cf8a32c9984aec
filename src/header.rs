//! The text of `header` and `set_cookies`.

use std::time::{Duration, SystemTime};

use perl_xs::{Error, Hash, Result};

use crate::value::truth;

const SERVER: &[u8] = b"Perl HTTP::Server::EV";
const STATUS: &[u8] = b"200 OK";
const CONTENT_TYPE: &[u8] = b"text/html";

/// The head of a reply: status line, `Server`, the cookies, `Content-Type`, and
/// what else the application gives, in its hash's order. Bytes that would end a
/// line are left out of every value.
pub fn head(fields: Option<&Hash>, cookies: &[u8]) -> Result<Vec<u8>> {
    let mut head = b"HTTP/1.1 ".to_vec();
    append_clean(&mut head, &value_or(fields, "STATUS", STATUS)?);
    head.extend_from_slice(b"\r\n");
    append_line(&mut head, b"Server", &value_or(fields, "Server", SERVER)?);
    head.extend_from_slice(cookies);
    append_line(
        &mut head,
        b"Content-Type",
        &value_or(fields, "Content-Type", CONTENT_TYPE)?,
    );
    for (key, value) in fields.map_or_else(|| Ok(Vec::new()), Hash::pairs)? {
        let name = key.bytes.as_slice();
        if !matches!(name, b"STATUS" | b"Server" | b"Content-Type") {
            append_line(&mut head, name, &value.bytes()?);
        }
    }
    head.extend_from_slice(b"\r\n");
    Ok(head)
}

/// The `Set-Cookie` lines of the pairs, which expire `lifetime` seconds from now.
pub fn cookies(pairs: &Hash, lifetime: i64) -> Result<Vec<u8>> {
    let expires = expires(lifetime)?;
    let mut lines = Vec::new();
    for (name, value) in pairs.pairs()? {
        let mut cookie = Vec::new();
        append_clean(&mut cookie, &name.bytes);
        cookie.push(b'=');
        append_clean(&mut cookie, &value.bytes()?);
        cookie.extend_from_slice(format!("; path=/; expires={expires};").as_bytes());
        append_line(&mut lines, b"Set-Cookie", &cookie);
    }
    Ok(lines)
}

/// `Sun, 22-Nov-2026 07:50:42 GMT`: the dashed form, which old clients know too
/// (RFC 6265, 5.1.1 reads both).
fn expires(lifetime: i64) -> Result<String> {
    let distance = Duration::from_secs(lifetime.unsigned_abs());
    let now = SystemTime::now();
    let moment = match lifetime < 0 {
        true => now.checked_sub(distance),
        false => now.checked_add(distance),
    };
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    match moment {
        Some(moment) if (SystemTime::UNIX_EPOCH..=last).contains(&moment) => {
            let date = httpdate::fmt_http_date(moment);
            Ok(date
                .replacen(' ', "\0", 1)
                .replacen(' ', "-", 2)
                .replace('\0', " "))
        }
        _ => Err(Error::croak(
            "set_cookies takes a lifetime in seconds that ends before the year 10000",
        )),
    }
}

fn value_or(fields: Option<&Hash>, name: &str, default: &[u8]) -> Result<Vec<u8>> {
    let given = match fields {
        Some(fields) => truth(fields.get(name)?)?,
        None => None,
    };
    given.map_or_else(|| Ok(default.to_vec()), |value| value.bytes())
}

fn append_line(lines: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    append_clean(lines, name);
    lines.extend_from_slice(b": ");
    append_clean(lines, value);
    lines.extend_from_slice(b"\r\n");
}

/// Appends without the bytes by which a value could add lines of its own.
fn append_clean(line: &mut Vec<u8>, value: &[u8]) {
    let clean = value
        .iter()
        .filter(|byte| !matches!(byte, b'\r' | b'\n' | 0));
    line.extend(clean);
}
