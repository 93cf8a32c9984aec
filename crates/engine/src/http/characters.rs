//! The classes of bytes that the grammars of HTTP are made of.

/// ```text
/// tchar = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." / "^" / "_" / "`" / "|" / "~"
///       / DIGIT / ALPHA                                               ; RFC 9110 §5.6.2
/// ```
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What stands between names and values:
///
/// ```text
/// OWS = *( SP / HTAB )                                                 ; RFC 9110 §5.6.3
/// BWS = OWS
/// ```
pub(super) fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// What a field value is made of, and a quoted pair behind its backslash:
///
/// ```text
/// HTAB / SP / VCHAR / obs-text                                         ; RFC 9110 §5.5, §5.6.4
/// obs-text = %x80-FF
/// ```
pub(super) fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}
