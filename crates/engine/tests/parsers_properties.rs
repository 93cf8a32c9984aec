//! What the parsers keep for any input, however it is cut into pieces.

use engine::form::charset::{Text, is_valid};
use engine::form::cookies;
use engine::form::urlencoded::{self, Options};
use engine::http::head_reader::{Parsed, parse};
use engine::limits::{Exceeded, Limits};
use engine_checks::charset::text_naively;
use engine_checks::multipart::{self, Part};
use engine_checks::urlencoded::pair;
use engine_checks::{pieces, request_head};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes glued from pieces that matter to a grammar, and from any others.
fn soup(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

const HEAD_PIECES: &[&str] = &[
    "GET",
    "POST",
    " ",
    " ",
    "/",
    "/a?b",
    "HTTP/1.1",
    "HTTP/1.0",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    "Host: a",
    "A:b",
    "A: \t",
    " b",
    "GET / HTTP/1.0\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "\r\nA: b\r\n",
    "\r\n\r\n",
];

const TARGET_PIECES: &[&str] = &[
    "/", "//", ":", "://", "*", "?", "#", "a", "1", "+", "-", ".", "@", "http", "HTTPS", "b:80",
];

const MULTIPART_PIECES: &[&str] = &[
    "\r\n",
    "\r\n",
    "\r",
    "\n",
    "--",
    "-",
    "bb",
    "b",
    " ",
    "\t",
    "--bb",
    "\r\n--bb",
    "\r\n--bb\r\n",
    "\r\n--bb--",
    " name=\"n\"",
    " filename=\"f\"",
    "=",
    "\"",
    "\\",
    "x",
    "\r\n--bb\r\n name=\"n\"\r\n\r\n",
    "\r\n--bb\r\n filename=\"f\"\r\n\r\n",
    "\r\n\r\n",
];

const FIELD_PIECES: &[&str] = &[
    "&", ";", "; ", "=", "%", "%4", "%41", "%D0", "%B6", "%26", "%3D", "%zz", "+", "a", "bc", "ж",
];

fn single_bytes(input: &[u8]) -> Vec<&[u8]> {
    input.chunks(1).collect()
}

/// Like a delimiter, since it goes on as a closing one does.
const BOUNDARY: &str = "bb--bb";

/// A part to send: name, file name, value. The value looks like a delimiter, but has none.
fn part() -> impl Strategy<Value = (String, Option<String>, Vec<u8>)> {
    let value = soup(MULTIPART_PIECES).prop_map(|mut value| {
        while contains(&value, b"--bb--bb") {
            value.pop();
        }
        value
    });
    (
        "[a-zж=; ]{0,8}",
        proptest::option::of("[a-zж.=; ]{1,8}x"),
        value,
    )
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_head_is_the_same_in_any_pieces(
        input in soup(HEAD_PIECES),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        let limits = Limits::default();
        let whole = parse(&input, &limits);
        prop_assert_eq!(&request_head::read(&pieces(&input, &cuts), &limits), &whole);
        prop_assert_eq!(&request_head::read(&single_bytes(&input), &limits), &whole);
    }

    #[test]
    fn a_target_is_accepted_where_a_naive_reading_accepts_it(
        method in prop::sample::select(&["GET", "OPTIONS", "CONNECT"]),
        pieces in vec(prop::sample::select(TARGET_PIECES), 0..6),
    ) {
        let limits = Limits::default();
        let input = format!("{method} {} HTTP/1.0\r\n\r\n", pieces.concat());
        let is_accepted = parse(input.as_bytes(), &limits).is_ok();
        let naive = request_head::read_naively(input.as_bytes(), &limits);
        prop_assert_eq!(is_accepted, naive.is_some(), "{}", input);
    }

    #[test]
    fn a_complete_head_is_the_same_in_any_pieces(
        target in "/[a-z?%=]{0,20}",
        headers in vec(("[A-Za-z-]{1,10}", "[a-z:=; ]{0,20}"), 0..40),
        body in vec(any::<u8>(), 0..10),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        let limits = Limits::default();
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let text = format!("GET {target} HTTP/1.0\r\n{lines}\r\n");
        let input = [text.as_bytes(), &body].concat();
        let whole = parse(&input, &limits);
        let Ok(Parsed::Complete { head, consumed }) = &whole else {
            return Err(TestCaseError::fail(format!("{whole:?}")));
        };
        prop_assert_eq!(*consumed, text.len());
        prop_assert_eq!(head.target(), target.as_bytes());
        let sent: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_bytes(), value.trim().as_bytes())).collect();
        prop_assert_eq!(head.headers().collect::<Vec<_>>(), sent);
        prop_assert_eq!(&request_head::read(&pieces(&input, &cuts), &limits), &whole);
        prop_assert_eq!(&request_head::read(&single_bytes(&input), &limits), &whole);
    }

    #[test]
    fn a_head_within_small_limits_is_the_same_in_any_pieces(
        input in soup(HEAD_PIECES),
        uri in 0..6_u64,
        header_line in 3..12_u64,
        header_size in 20..80_u64,
        headers in 0..4_u64,
    ) {
        let limits = Limits { uri, header_line, header_size, headers, ..Limits::default() };
        let whole = parse(&input, &limits);
        let split = request_head::read(&single_bytes(&input), &limits);
        // Of several faults, a head in pieces may show another one first.
        prop_assert_eq!(split.is_err(), whole.is_err());
        if whole.is_ok() {
            prop_assert_eq!(split, whole);
        }
    }

    #[test]
    fn any_multipart_body_is_the_same_in_any_pieces(
        body in soup(MULTIPART_PIECES),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        let body = [b"--bb\r\n", &body[..]].concat();
        let limits = Limits::default();
        let whole = multipart::read("bb", &[&body], &limits);
        prop_assert_eq!(&multipart::read("bb", &pieces(&body, &cuts), &limits), &whole);
        prop_assert_eq!(&multipart::read("bb", &single_bytes(&body), &limits), &whole);
    }

    #[test]
    fn a_multipart_body_within_small_limits_is_the_same_in_any_pieces(
        body in soup(MULTIPART_PIECES),
        cuts in vec(any::<usize>(), 0..6),
        header_size in 20..60_u64,
        field_value in 0..12_u64,
        file_size in 0..12_u64,
        parts in 0..4_u64,
        files in 0..3_u64,
    ) {
        let body = [b"--bb\r\n", &body[..]].concat();
        let limits =
            Limits { header_size, field_value, file_size, parts, files, ..Limits::default() };
        let whole = multipart::read("bb", &[&body], &limits);
        prop_assert_eq!(&multipart::read("bb", &pieces(&body, &cuts), &limits), &whole);
        prop_assert_eq!(&multipart::read("bb", &single_bytes(&body), &limits), &whole);
    }

    #[test]
    fn what_is_sent_in_parts_arrives(
        sent in vec(part(), 0..6),
        preamble in prop::option::of("[ac-z\r\n-]{0,10}"),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let mut body = preamble.map_or(Vec::new(), |preamble| format!("{preamble}\r\n").into());
        for (name, file_name, data) in &sent {
            let disposition = match file_name {
                Some(file_name) => format!("name=\"{name}\"; filename=\"{file_name}\""),
                None => format!("name=\"{name}\""),
            };
            body.extend(format!("--{BOUNDARY}\r\nA: form-data; {disposition}\r\n\r\n").bytes());
            body.extend(data);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{BOUNDARY}--\r\nepilogue").bytes());
        let expected: Vec<Part> = sent
            .into_iter()
            .map(|(name, file_name, data)| match file_name {
                Some(file_name) => Part::File(name.into(), file_name.into(), data),
                None => Part::Field(name.into(), text_naively(&data)),
            })
            .collect();
        let limits = Limits::default();
        let arrived = multipart::read(BOUNDARY, &pieces(&body, &cuts), &limits);
        prop_assert_eq!(arrived, Ok(expected));
    }

    #[test]
    fn urlencoded_fields_are_those_of_a_naive_reading(
        input in soup(FIELD_PIECES),
        max_fields in 0..5_u64,
        plus_as_space: bool,
    ) {
        let options = Options { max_fields, plus_as_space };
        let fields: Vec<_> = urlencoded::parse(&input, &options).map(pair).collect();
        prop_assert_eq!(fields, engine_checks::urlencoded::read_naively(&input, &options));
    }

    #[test]
    fn fields_of_a_name_are_those_among_all(
        input in soup(FIELD_PIECES),
        max_fields in 0..5_u64,
        plus_as_space: bool,
        picked in any::<prop::sample::Index>(),
    ) {
        let options = Options { max_fields, plus_as_space };
        let all: Vec<_> = urlencoded::parse(&input, &options).collect();
        let names = all.iter().map(|field| field.name.as_bytes()).chain([&b"a"[..], b""]);
        let names: Vec<_> = names.filter(|name| name.is_ascii()).collect();
        let name = *picked.get(&names);
        let expected: Vec<_> = all.iter().filter(|field| field.name.as_bytes() == name).collect();
        let found: Vec<_> = urlencoded::named(&input, name, &options).collect();
        prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn cookies_are_those_of_a_naive_reading(input in soup(FIELD_PIECES), max in 0..5_u64) {
        let cookies: Vec<_> = cookies::parse(&input, max).map(pair).collect();
        prop_assert_eq!(cookies, engine_checks::cookies::read_naively(&input, max));
    }

    #[test]
    fn every_text_is_valid_and_valid_bytes_stay(bytes in soup(&["\u{10ffff}", "ж", "a"])) {
        let text = Text::decide(bytes.clone());
        prop_assert!(is_valid(text.as_bytes()));
        prop_assert_eq!(text.as_bytes(), text_naively(&bytes));
        prop_assert_eq!(is_valid(&bytes), text.as_bytes() == bytes);
        if std::str::from_utf8(&bytes).is_ok() {
            prop_assert_eq!(text.into_bytes(), bytes);
        }
    }
}

/// A body with everything in it, in two pieces cut at every position.
#[test]
fn a_body_cut_anywhere_gives_the_same() {
    let body = b"preamble\r\n--bb\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--bb \r\n\
        Content-Disposition: form-data; name=\"f\"; filename=\"x.txt\"\r\nContent-Type: text/plain\r\n\r\n\
        data\r\n--b\r\n--bbc\r\n-\r\n\r\n--bb\r\n\r\n\r\n--bb--\r\nepilogue";
    let whole = multipart::read("bb", &[body], &Limits::default());
    let data = b"data\r\n--b\r\n--bbc\r\n-\r\n".to_vec();
    let expected = vec![
        Part::Field(b"a".into(), "1".into()),
        Part::File(b"f".into(), "x.txt".into(), data),
        Part::Field(vec![], "".into()),
    ];
    assert_eq!(whole, Ok(expected));
    for cut in 0..=body.len() {
        let (first, second) = body.split_at(cut);
        assert_eq!(
            multipart::read("bb", &[first, second], &Limits::default()),
            whole,
            "cut at {cut}"
        );
    }
}

/// However much comes without an end, a limit is met.
#[test]
fn endless_input_is_refused() {
    let limits = Limits {
        file_size: 1000,
        ..Limits::default()
    };
    let endless = |start: &'static [u8]| {
        std::iter::once(start).chain(std::iter::repeat_n(&b"x"[..], 1 << 17))
    };
    let head = |start| request_head::read(&endless(start).collect::<Vec<_>>(), &limits);
    assert_eq!(head(b"G"), Err(Exceeded::HeaderLine.into()));
    assert_eq!(head(b"GET /"), Err(Exceeded::Uri.into()));
    assert_eq!(
        head(b"GET / HTTP/1.1\r\nA: "),
        Err(Exceeded::HeaderLine.into())
    );
    let multipart = |start| multipart::read("bb", &endless(start).collect::<Vec<_>>(), &limits);
    assert_eq!(multipart(b"--bb\r\n"), Err(Exceeded::PartHeader.into()));
    assert_eq!(multipart(b"--bb\r\n\r\n"), Err(Exceeded::FieldValue.into()));
    assert_eq!(
        multipart(b"--bb\r\n filename=f\r\n\r\n"),
        Err(Exceeded::FileSize.into())
    );
}
