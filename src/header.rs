//! The text of `header` and `set_cookies`.

use std::time::{Duration, SystemTime};

use perl_xs::{Error, Hash, Result, Scalar};

use crate::names::Keys;
use crate::value::truth;

const SERVER: &[u8] = b"Perl HTTP::Server::EV";
const STATUS: &[u8] = b"200 OK";
const CONTENT_TYPE: &[u8] = b"text/html";

/// Appends the head of a reply: status line, `Server`, the cookies, `Content-Type`,
/// and what else the application gives, in its hash's order. Bytes that would end a
/// line are left out of every value.
pub fn append_head(
    head: &mut Vec<u8>,
    keys: &Keys,
    fields: Option<&Hash>,
    cookies: Option<&Scalar>,
) -> Result<()> {
    let mut known = 0;
    let mut given = |key| match fields {
        Some(fields) => {
            let value = fields.get(key)?;
            known += usize::from(value.is_some());
            truth(value)
        }
        None => Ok(None),
    };
    head.extend_from_slice(b"HTTP/1.1 ");
    let status = head.len();
    append_value_or(head, given(&keys.status_line)?, STATUS)?;
    // The space is there also where no reason follows (RFC 9112 §4).
    if is_code_alone(&head[status..]) {
        head.push(b' ');
    }
    head.extend_from_slice(b"\r\nServer: ");
    append_value_or(head, given(&keys.server)?, SERVER)?;
    head.extend_from_slice(b"\r\n");
    if let Some(lines) = cookies {
        lines.append_bytes_to(head)?;
    }
    head.extend_from_slice(b"Content-Type: ");
    append_value_or(head, given(&keys.content_type)?, CONTENT_TYPE)?;
    head.extend_from_slice(b"\r\n");
    match fields {
        Some(fields) if fields.len()? > known => append_others(head, fields)?,
        _ => {}
    }
    head.extend_from_slice(b"\r\n");
    Ok(())
}

fn append_others(head: &mut Vec<u8>, fields: &Hash) -> Result<()> {
    for (key, value) in fields.pairs()? {
        // A space before the colon would make it another name to some (RFC 9112 §5.1).
        let name = key.bytes.trim_ascii();
        if !matches!(name, b"" | b"STATUS" | b"Server" | b"Content-Type") {
            append_clean(head, name);
            head.extend_from_slice(b": ");
            append_value(head, &value)?;
            head.extend_from_slice(b"\r\n");
        }
    }
    Ok(())
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

fn append_value_or(line: &mut Vec<u8>, value: Option<Scalar>, default: &[u8]) -> Result<()> {
    match value {
        Some(value) => append_value(line, &value),
        None => {
            line.extend_from_slice(default);
            Ok(())
        }
    }
}

/// As [`append_clean`], without a copy of a value that is clean.
fn append_value(line: &mut Vec<u8>, value: &Scalar) -> Result<()> {
    let start = line.len();
    value.append_bytes_to(line)?;
    if line[start..].iter().any(ends_line) {
        let dirty = line.split_off(start);
        append_clean(line, &dirty);
    }
    Ok(())
}

fn append_line(lines: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    append_clean(lines, name);
    lines.extend_from_slice(b": ");
    append_clean(lines, value);
    lines.extend_from_slice(b"\r\n");
}

/// Appends without the bytes by which a value could add lines of its own.
fn append_clean(line: &mut Vec<u8>, value: &[u8]) {
    line.extend(value.iter().filter(|byte| !ends_line(byte)));
}

fn is_code_alone(status: &[u8]) -> bool {
    status.len() == 3 && status.iter().all(u8::is_ascii_digit)
}

fn ends_line(byte: &u8) -> bool {
    matches!(byte, b'\r' | b'\n' | 0)
}
