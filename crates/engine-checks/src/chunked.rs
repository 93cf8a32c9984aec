//! Bodies in chunks (RFC 9112 §7.1).

use engine::http::chunked::{ChunkedDecoder, ChunkedError};
use engine::limits::Limits;

use crate::input::{Input, pieces, single_bytes};

/// A complete body, and how many bytes of the input it took.
pub type Body = (Vec<u8>, usize);

/// Checks the decoder with what a fuzzer gives.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = limits(&mut input);
    let cuts = input.cuts();
    let bytes = input.rest();
    let whole = read(&[bytes], &limits);
    let complete = whole.clone().ok().flatten();
    assert_eq!(complete, read_naively(bytes, &limits), "whole");
    assert_eq!(read(&pieces(bytes, &cuts), &limits), whole, "in pieces");
    assert_eq!(read(&single_bytes(bytes), &limits), whole, "byte by byte");
}

fn limits(input: &mut Input) -> Limits {
    let default = Limits::default();
    match input.below(4) {
        0 => Limits {
            body_size: input.below(64),
            chunk_line: input.below(20),
            header_line: input.below(20),
            header_size: input.below(64),
            headers: input.below(4),
            ..default
        },
        _ => default,
    }
}

/// Has the decoder read a body in these pieces, and checks what each call of it promises.
///
/// # Errors
///
/// The decoder's.
pub fn read(pieces: &[&[u8]], limits: &Limits) -> Result<Option<Body>, ChunkedError> {
    let mut decoder = ChunkedDecoder::default();
    let mut body = Vec::new();
    let mut taken = 0;
    for piece in pieces {
        let mut input = piece.to_vec();
        let decoded = decoder.decode(&mut input, limits)?;
        assert!(decoder.is_complete() || decoded.consumed == piece.len());
        assert!(decoded.body <= decoded.consumed);
        assert_eq!(input[decoded.consumed..], piece[decoded.consumed..]);
        body.extend_from_slice(&input[..decoded.body]);
        taken += decoded.consumed;
    }
    Ok(decoder.is_complete().then_some((body, taken)))
}

/// Reads a body that is all there; `None` if it is not, or is malformed, or exceeds a limit.
pub fn read_naively(input: &[u8], limits: &Limits) -> Option<Body> {
    let mut body = Vec::new();
    let mut rest = input;
    loop {
        let (line, behind) = split_line(rest)?;
        let digits = line
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let (size, extensions) = line.split_at(digits);
        let size = u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        if line.len() as u64 > limits.chunk_line || !are_extensions(extensions) {
            return None;
        }
        if size == 0 {
            let trailer_size = trailer_size(behind, limits)?;
            let taken = input.len() - behind.len() + trailer_size;
            return Some((body, taken));
        }
        let (data, behind) = behind.split_at_checked(usize::try_from(size).ok()?)?;
        body.extend_from_slice(data);
        if limits.body_size > 0 && body.len() as u64 > limits.body_size {
            return None;
        }
        rest = behind.strip_prefix(b"\r\n")?;
    }
}

/// The data of a body that is not all there, or is malformed, as far as it can be told.
pub(crate) fn begun_naively(input: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut rest = input;
    while let Some((line, behind)) = split_line(rest) {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let size = std::str::from_utf8(&line[..digits.count()]).unwrap_or_default();
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        let (data, behind) = behind.split_at(size.min(behind.len()));
        body.extend_from_slice(data);
        match behind.strip_prefix(b"\r\n") {
            Some(next) if size > 0 => rest = next,
            _ => break,
        }
    }
    body
}

fn split_line(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = input.windows(2).position(|two| two == b"\r\n")?;
    Some((&input[..end], &input[end + 2..]))
}

/// ```text
/// chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
/// ```
fn are_extensions(text: &[u8]) -> bool {
    if text.is_empty() {
        return true;
    }
    let Some(extension) = skip_white_space(text).strip_prefix(b";") else {
        return false;
    };
    let (name, rest) = split_token(skip_white_space(extension));
    if name.is_empty() {
        return false;
    }
    let Some(value) = skip_white_space(rest).strip_prefix(b"=") else {
        return are_extensions(rest);
    };
    let value = skip_white_space(value);
    match value.strip_prefix(b"\"") {
        Some(quoted) => skip_quoted(quoted).is_some_and(are_extensions),
        None => {
            let (value, rest) = split_token(value);
            !value.is_empty() && are_extensions(rest)
        }
    }
}

fn skip_white_space(text: &[u8]) -> &[u8] {
    let width = text.iter().take_while(|byte| b" \t".contains(byte)).count();
    &text[width..]
}

fn split_token(text: &[u8]) -> (&[u8], &[u8]) {
    let is_token = |byte: &&u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    text.split_at(text.iter().take_while(is_token).count())
}

/// What is behind the quote that ends `text`.
fn skip_quoted(text: &[u8]) -> Option<&[u8]> {
    match text {
        [b'"', rest @ ..] => Some(rest),
        [b'\\', byte, rest @ ..] if is_text(*byte) => skip_quoted(rest),
        [byte, rest @ ..] if *byte != b'\\' && is_text(*byte) => skip_quoted(rest),
        _ => None,
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// The size of the trailer section, with the empty line behind it.
fn trailer_size(input: &[u8], limits: &Limits) -> Option<usize> {
    let mut rest = input;
    let mut lines = 0;
    loop {
        let (line, behind) = split_line(rest)?;
        let size = input.len() - behind.len();
        if size as u64 > limits.header_size {
            return None;
        }
        if line.is_empty() {
            return Some(size);
        }
        lines += 1;
        let (name, value) = split_token(line);
        let value = value.strip_prefix(b":")?;
        let valid = !name.is_empty() && value.iter().all(|&byte| is_text(byte));
        if !valid || lines > limits.headers || line.len() as u64 > limits.header_line {
            return None;
        }
        rest = behind;
    }
}
