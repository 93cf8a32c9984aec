//! The classes of bytes that the grammars of HTTP are made of.

/// ```text
/// tchar = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." / "^" / "_" / "`" / "|" / "~"
///       / DIGIT / ALPHA                                               ; RFC 9110 §5.6.2
/// ```
pub(super) fn is_token(byte: u8) -> bool {
    is(TOKEN, byte)
}

/// More than RFC 3986 allows: clients send raw text in some charset, which is for the application.
pub(super) fn is_target(byte: u8) -> bool {
    is(TARGET, byte)
}

/// What a field value is made of, and a quoted pair behind its backslash:
///
/// ```text
/// HTAB / SP / VCHAR / obs-text                                         ; RFC 9110 §5.5, §5.6.4
/// obs-text = %x80-FF
/// ```
pub(super) fn is_text(byte: u8) -> bool {
    is(TEXT, byte)
}

/// ```text
/// unreserved = ALPHA / DIGIT / "-" / "." / "_" / "~"                   ; RFC 3986 §2.3
/// sub-delims = "!" / "$" / "&" / "'" / "(" / ")" / "*" / "+" / "," / ";" / "="
/// ```
pub(super) fn is_unreserved_or_delimiter(byte: u8) -> bool {
    is(UNRESERVED_OR_DELIMITER, byte)
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

const TOKEN: u8 = 1;
const TARGET: u8 = 1 << 1;
const TEXT: u8 = 1 << 2;
const UNRESERVED_OR_DELIMITER: u8 = 1 << 3;

/// For each byte the classes it is in.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        classes[byte as usize] = classes_of(byte);
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

const fn classes_of(byte: u8) -> u8 {
    let mut classes = 0;
    if byte.is_ascii_alphanumeric() {
        classes |= TOKEN | UNRESERVED_OR_DELIMITER;
    }
    if matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    ) {
        classes |= TOKEN;
    }
    if matches!(
        byte,
        b'-' | b'.'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b';'
            | b'='
    ) {
        classes |= UNRESERVED_OR_DELIMITER;
    }
    if byte.is_ascii_graphic() || !byte.is_ascii() {
        classes |= TARGET | TEXT;
    }
    if matches!(byte, b' ' | b'\t') {
        classes |= TEXT;
    }
    classes
}

fn is(class: u8, byte: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}
