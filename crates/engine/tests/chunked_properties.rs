//! The decoder of chunked bodies agrees with a naive one, however the input is cut or spoilt.

use engine::http::chunked::{ChunkedDecoder, ChunkedError};
use engine::limits::Limits;
use proptest::collection::vec;
use proptest::prelude::*;

/// A complete body, and how many bytes of the input it took.
type Body = (Vec<u8>, usize);

fn read(pieces: &[&[u8]], limits: &Limits) -> Result<Option<Body>, ChunkedError> {
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
fn read_naively(input: &[u8], limits: &Limits) -> Option<Body> {
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

#[derive(Clone, Debug)]
struct Sent {
    body: Vec<u8>,
    encoded: Vec<u8>,
}

fn extensions() -> impl Strategy<Value = String> {
    let white_space = "[ \t]{0,2}";
    let token = "[a-z0-9!#$%&'*+.^_`|~-]{1,3}";
    let quoted = r#""([ !#-\[\]-~\tä]|\\[ -~\tä]){0,4}""#;
    let value = format!("{white_space}={white_space}({token}|{quoted})");
    let extension = format!("{white_space};{white_space}{token}({value})?");
    prop::string::string_regex(&format!("({extension}){{0,3}}")).unwrap()
}

fn chunk() -> impl Strategy<Value = (Vec<u8>, String, String)> {
    let data = prop_oneof![
        4 => vec(any::<u8>(), 1..20),
        2 => "[0\r\n]{1,12}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 100..600),
    ];
    let line = ("0{0,3}", any::<bool>(), extensions());
    (data, line).prop_map(|(data, (zeros, upper, extensions))| {
        let size = match upper {
            true => format!("{zeros}{:X}", data.len()),
            false => format!("{zeros}{:x}", data.len()),
        };
        (data, size, extensions)
    })
}

fn sent() -> impl Strategy<Value = Sent> {
    let trailer = "[A-Za-z!~-]{1,4}:[ -~\tä]{0,8}\r\n";
    (
        vec(chunk(), 0..8),
        ("0{1,4}", extensions()),
        vec(trailer, 0..4),
    )
        .prop_map(|(chunks, (last, last_extensions), trailers)| {
            let mut encoded = Vec::new();
            for (data, size, extensions) in &chunks {
                encoded.extend(format!("{size}{extensions}\r\n").bytes());
                encoded.extend(data);
                encoded.extend(b"\r\n");
            }
            let trailers = trailers.concat();
            encoded.extend(format!("{last}{last_extensions}\r\n{trailers}\r\n").bytes());
            let body = chunks.into_iter().flat_map(|(data, ..)| data).collect();
            Sent { body, encoded }
        })
}

/// Bytes put in the place of others.
#[derive(Clone, Debug)]
struct Spoiling {
    /// Of the line ends and the quotes, modulo their number: where it is about.
    landmark: usize,
    /// Behind the landmark, or in front of it.
    offset: isize,
    width: usize,
    bytes: Vec<u8>,
}

fn spoiling() -> impl Strategy<Value = Spoiling> {
    let bytes = prop_oneof![
        4 => prop::sample::select(SPOILING_BYTES).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..3),
    ];
    let offset = prop_oneof![4 => -1..3_isize, 1 => -20..20_isize];
    (any::<usize>(), offset, 0..3_usize, bytes).prop_map(|(landmark, offset, width, bytes)| {
        Spoiling {
            landmark,
            offset,
            width,
            bytes,
        }
    })
}

const SPOILING_BYTES: &[&str] = &[
    "",
    "\r",
    "\n",
    "\r\n",
    " ",
    "\t",
    ";",
    "=",
    "\"",
    "\\",
    ":",
    "0",
    "1",
    "f",
    "g",
    "-",
    "\0",
    "\x7f",
    "0x",
    "ffffffffffffffff",
];

fn spoil(input: &mut Vec<u8>, spoiling: Spoiling) {
    let landmarks: Vec<usize> = (0..input.len())
        .filter(|&at| matches!(input[at], b'\r' | b'"'))
        .collect();
    let landmark = landmarks[spoiling.landmark % landmarks.len()];
    let start = landmark
        .saturating_add_signed(spoiling.offset)
        .min(input.len());
    let end = input.len().min(start + spoiling.width);
    input.splice(start..end, spoiling.bytes);
}

/// Nearly all limits as they are by default, so that each has its turn to be met.
fn limits() -> impl Strategy<Value = Limits> {
    let default = Limits::default();
    prop_oneof![
        (0..60_u64).prop_map(move |body_size| Limits {
            body_size,
            ..default
        }),
        (0..20_u64).prop_map(move |chunk_line| Limits {
            chunk_line,
            ..default
        }),
        (0..16_u64).prop_map(move |header_line| Limits {
            header_line,
            ..default
        }),
        (0..40_u64).prop_map(move |header_size| Limits {
            header_size,
            ..default
        }),
        (0..4_u64).prop_map(move |headers| Limits { headers, ..default }),
    ]
}

/// Cuts `input` where `cuts` say; each is a position modulo the length.
fn pieces<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.push(input.len());
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter()
        .map(|end| &input[std::mem::replace(&mut start, end)..end])
        .collect()
}

proptest! {
    #[test]
    fn what_is_sent_in_chunks_arrives(
        sent in sent(),
        behind in vec(any::<u8>(), 0..10),
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let input = [&sent.encoded[..], &behind].concat();
        let limits = Limits::default();
        let expected = Some((sent.body, sent.encoded.len()));
        prop_assert_eq!(&read_naively(&input, &limits), &expected);
        prop_assert_eq!(&read(&[&input], &limits), &Ok(expected.clone()));
        prop_assert_eq!(&read(&pieces(&input, &cuts), &limits), &Ok(expected));
    }

    #[test]
    fn a_spoilt_body_is_read_as_a_naive_decoder_reads_it(
        sent in sent(),
        spoiling in spoiling(),
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let mut input = sent.encoded;
        spoil(&mut input, spoiling);
        let limits = Limits::default();
        let whole = read(&[&input], &limits);
        prop_assert_eq!(whole.clone().ok().flatten(), read_naively(&input, &limits));
        prop_assert_eq!(&read(&pieces(&input, &cuts), &limits), &whole);
        prop_assert_eq!(&read(&input.chunks(1).collect::<Vec<_>>(), &limits), &whole);
    }

    #[test]
    fn a_body_within_small_limits_is_read_as_a_naive_decoder_reads_it(
        sent in sent(),
        cuts in vec(any::<usize>(), 0..8),
        limits in limits(),
    ) {
        let whole = read(&[&sent.encoded], &limits);
        prop_assert_eq!(whole.clone().ok().flatten(), read_naively(&sent.encoded, &limits));
        prop_assert_eq!(&read(&pieces(&sent.encoded, &cuts), &limits), &whole);
    }
}

/// However much comes without an end, a limit is met.
#[test]
fn endless_input_is_refused() {
    let limits = Limits {
        body_size: 1000,
        ..Limits::default()
    };
    for (start, again) in [
        (&b"0"[..], &b"0"[..]),
        (b"1;", b"a"),
        (b"1;a=\"", b"b"),
        (b"1 ", b" "),
        (b"", b"1\r\na\r\n"),
        (b"0\r\n", b"A"),
        (b"0\r\nA:", b" "),
        (b"0\r\n", b"A: b\r\n"),
    ] {
        let endless = std::iter::once(start).chain(std::iter::repeat_n(again, 1 << 17));
        let outcome = read(&endless.collect::<Vec<_>>(), &limits);
        assert!(
            matches!(outcome, Err(ChunkedError::Exceeded(_))),
            "{}: {outcome:?}",
            start.escape_ascii()
        );
    }
}
