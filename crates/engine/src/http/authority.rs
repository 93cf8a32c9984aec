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
    let host_end = match value.first() {
        Some(b'[') => memchr(b']', value).map(|end| end + 1),
        _ => Some(memchr(b':', value).unwrap_or(value.len())),
    };
    let Some((host, port)) = host_end.and_then(|end| value.split_at_checked(end)) else {
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
