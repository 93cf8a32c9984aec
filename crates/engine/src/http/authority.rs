//! The host and port that a request is for, by the grammar (RFC 3986 §3.2).

use std::net::Ipv6Addr;

use memchr::memchr;

use super::characters::is_unreserved_or_delimiter;

/// ```text
/// Host       = uri-host [ ":" port ]                                   ; RFC 9110 §7.2
/// uri-host   = IP-literal / IPv4address / reg-name                     ; RFC 3986 §3.2.2
/// IP-literal = "[" ( IPv6address / IPvFuture  ) "]"
/// port       = *DIGIT
/// ```
pub(super) fn is_host(value: &[u8]) -> bool {
    let Some((host, port)) = split_port(value) else {
        return false;
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_port
        && match host {
            [b'[', address @ .., b']'] => is_ipv6(address) || is_ip_future(address),
            name => is_registered_name(name),
        }
}

/// A host that is not empty, with or without a port: an empty one names no server (RFC 9110
/// §4.2.1).
fn is_server(authority: &[u8]) -> bool {
    !matches!(authority, [] | [b':', ..]) && is_host(authority)
}

/// ```text
/// authority-form = uri-host ":" port                                   ; RFC 9112 §3.2.3
/// ```
///
/// A server has to refuse an empty port (RFC 9110 §9.3.6).
pub(super) fn is_authority_form(target: &[u8]) -> bool {
    is_server(target) && split_port(target).is_some_and(|(_, port)| port.len() > 1)
}

/// A URI with an authority, which for `http` and `https` has to name a server.
///
/// ```text
/// absolute-form = absolute-URI                                         ; RFC 9112 §3.2.2
/// absolute-URI  = scheme ":" hier-part [ "?" query ]                   ; RFC 3986 §4.3
/// hier-part     = "//" authority path-abempty / ...
/// ```
///
/// One without an authority could be a host and its port as well.
pub(super) fn is_absolute_form(target: &[u8]) -> bool {
    if let Some(authority) = of_absolute_form(target) {
        return is_server(authority);
    }
    let colon = memchr(b':', target);
    let split = colon.and_then(|colon| target.split_at_checked(colon));
    split.is_some_and(|(scheme, rest)| rest.starts_with(b"://") && is_scheme(scheme))
}

/// ```text
/// scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )                  ; RFC 3986 §3.1
/// ```
fn is_scheme(scheme: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    scheme.first().is_some_and(u8::is_ascii_alphabetic) && scheme.iter().all(is_allowed)
}

/// The authority of a target that is an `http` or `https` URI.
///
/// ```text
/// http-URI  = "http" "://" authority path-abempty [ "?" query ]        ; RFC 9110 §4.2.1
/// ```
pub(super) fn of_absolute_form(target: &[u8]) -> Option<&[u8]> {
    let is_http = |scheme: &[u8]| {
        scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https")
    };
    // Nearly every target begins with a slash.
    let colon = memchr(b':', target.get(..6.min(target.len()))?)?;
    let (scheme, rest) = target.split_at_checked(colon)?;
    let rest = rest.strip_prefix(b"://").filter(|_| is_http(scheme))?;
    rest.split(|byte| b"/?#".contains(byte)).next()
}

/// Splits before the colon of the port, which may be missing.
fn split_port(authority: &[u8]) -> Option<(&[u8], &[u8])> {
    let host_end = match authority.first() {
        Some(b'[') => memchr(b']', authority)? + 1,
        _ => memchr(b':', authority).unwrap_or(authority.len()),
    };
    authority.split_at_checked(host_end)
}

fn is_ipv6(address: &[u8]) -> bool {
    let address = std::str::from_utf8(address);
    address.is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// ```text
/// IPvFuture = "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )     ; RFC 3986 §3.2.2
/// ```
fn is_ip_future(address: &[u8]) -> bool {
    let [b'v' | b'V', rest @ ..] = address else {
        return false;
    };
    let mut parts = rest.splitn(2, |&byte| byte == b'.');
    let version = parts.next().unwrap_or_default();
    let address = parts.next().unwrap_or_default();
    !version.is_empty()
        && version.iter().all(u8::is_ascii_hexdigit)
        && !address.is_empty()
        && address
            .iter()
            .all(|&byte| is_unreserved_or_delimiter(byte) || byte == b':')
}

/// ```text
/// reg-name    = *( unreserved / pct-encoded / sub-delims )             ; RFC 3986 §3.2.2
/// pct-encoded = "%" HEXDIG HEXDIG                                      ; RFC 3986 §2.1
/// ```
fn is_registered_name(mut name: &[u8]) -> bool {
    loop {
        name = match name {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [byte, rest @ ..] if is_unreserved_or_delimiter(*byte) => rest,
            _ => return false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in [
            "",
            "a",
            "a:",
            "a:80",
            "a_b.example:8080",
            "127.0.0.1",
            "[::1]",
            "[::1]:80",
            "[v1.a:b]",
            "%7Ea",
            ":80",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b",
            "a:b",
            "a:80:90",
            "a/b",
            "a@b",
            "a,b c",
            "::1",
            "[::1",
            "[::1]80",
            "[a]",
            "[]",
            "[v.a]",
            "[v1]",
            "[v1.]",
            "[::1%25eth0]",
            "%zz",
            "%7",
            "\u{e4}",
            "http://a",
            "a?b",
            "a#b",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
