//! The decoder of chunked bodies agrees with a naive one, however the input is cut or spoilt.

use engine::http::chunked::ChunkedError;
use engine::limits::Limits;
use engine_checks::chunked::{read, read_naively};
use engine_checks::pieces;
use proptest::collection::vec;
use proptest::prelude::*;

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
