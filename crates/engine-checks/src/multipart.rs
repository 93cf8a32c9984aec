//! Bodies of `multipart/form-data` (RFC 7578, RFC 2046 §5.1).

use engine::form::multipart::{Item, Multipart, MultipartError, Step};
use engine::limits::{Exceeded, Limits};

use crate::charset::text_naively;
use crate::input::{Input, pieces, single_bytes};

/// What a body consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Name, and value as text.
    Field(Vec<u8>, Vec<u8>),
    /// Name, file name as text, and content.
    File(Vec<u8>, Vec<u8>, Vec<u8>),
}

/// All parts, or why the body is refused.
pub type Parts = Result<Vec<Part>, MultipartError>;

/// Checks the parser with what a fuzzer gives.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = limits(&mut input);
    let boundary = BOUNDARIES[input.below(BOUNDARIES.len() as u64) as usize];
    let cuts = input.cuts();
    let bytes = input.rest();
    let whole = read(boundary, &[bytes], &limits);
    assert_eq!(whole, read_naively(boundary, bytes, &limits), "whole");
    assert_eq!(
        read(boundary, &pieces(bytes, &cuts), &limits),
        whole,
        "in pieces"
    );
    assert_eq!(
        read(boundary, &single_bytes(bytes), &limits),
        whole,
        "byte by byte"
    );
}

/// The last of them look like their own delimiters.
const BOUNDARIES: &[&str] = &["b", "bb--bb", "-", "--"];

fn limits(input: &mut Input) -> Limits {
    let default = Limits::default();
    match input.below(4) {
        0 => Limits {
            header_size: input.below(64),
            field_name: input.below(8),
            file_name: input.below(8),
            field_value: input.below(32),
            file_size: input.below(32),
            parts: input.below(5),
            files: input.below(4),
            ..default
        },
        _ => default,
    }
}

/// A file that is being read: its name, its file name, its content so far.
type Begun = (Vec<u8>, Vec<u8>, Vec<u8>);

/// Offers a body piece by piece, as a connection does, and checks what each step promises.
///
/// # Errors
///
/// The parser's.
pub fn read(boundary: &str, pieces: &[&[u8]], limits: &Limits) -> Parts {
    let content_type = format!("multipart/form-data; boundary=\"{boundary}\"");
    let mut multipart = Multipart::new(content_type.as_bytes(), limits)?;
    let mut parts = Vec::new();
    let mut file: Option<Begun> = None;
    let mut kept: Vec<u8> = Vec::new();
    for piece in pieces {
        kept.extend_from_slice(piece);
        let mut need_more = false;
        while !need_more {
            let Step { consumed, item } = multipart.next(&kept)?;
            match item {
                Item::Field { name, value } => {
                    assert!(file.is_none());
                    parts.push(Part::Field(name, value.into_bytes()));
                }
                Item::FileStart { name, file_name } => {
                    let begun = (name, file_name.into_bytes(), Vec::new());
                    assert!(file.replace(begun).is_none());
                }
                Item::FileData(range) => {
                    assert!(!range.is_empty() && range.end <= consumed);
                    file.as_mut().unwrap().2.extend_from_slice(&kept[range]);
                }
                Item::FileEnd => {
                    let (name, file_name, data) = file.take().unwrap();
                    parts.push(Part::File(name, file_name, data));
                }
                Item::End => {
                    assert_eq!(multipart.next(b"--x").unwrap().item, Item::End);
                    return multipart.finish().map(|()| parts);
                }
                Item::NeedMore => {
                    let longest_delimiter = boundary.len() + 4 + LONGEST_PADDING + 1;
                    let longest_head = limits.header_size as usize + 3;
                    assert!(kept.len() - consumed <= longest_delimiter.max(longest_head));
                    need_more = true;
                }
            }
            kept.drain(..consumed);
        }
    }
    multipart.finish().map(|()| parts)
}

const LONGEST_PADDING: usize = 256;

/// Reads a body that is all there.
///
/// # Errors
///
/// What is wrong with it, as the parser should tell.
pub fn read_naively(boundary: &str, body: &[u8], limits: &Limits) -> Parts {
    let (parts, outcome) = read_parts_naively(boundary, body, limits);
    outcome.map(|()| parts)
}

/// The parts of a body, and what is wrong behind them, if anything is.
pub fn read_parts_naively(
    boundary: &str,
    body: &[u8],
    limits: &Limits,
) -> (Vec<Part>, Result<(), MultipartError>) {
    // Behind a line end that is not there, the first delimiter is like all others.
    let body = [b"\r\n", body].concat();
    let delimiter = format!("\r\n--{boundary}");
    let mut parts = Vec::new();
    let (_, mut next) = split_at_delimiter(&body, delimiter.as_bytes());
    while let Next::Part(rest) = next {
        match take_part(rest, delimiter.as_bytes(), &parts, limits) {
            Ok((part, behind)) => {
                parts.push(part);
                next = behind;
            }
            Err(error) => return (parts, Err(error)),
        }
    }
    (parts, Ok(()))
}

/// The part behind a delimiter, and what is behind the next one.
fn take_part<'a>(
    rest: &'a [u8],
    delimiter: &[u8],
    before: &[Part],
    limits: &Limits,
) -> Result<(Part, Next<'a>), MultipartError> {
    let (head, content) = split_head(rest, limits)?;
    let (name, file_name) = names(head)?;
    check_names(&name, &file_name, before, limits)?;
    let is_file = !file_name.is_empty();
    let (content, behind) = split_at_delimiter(content, delimiter);
    let length = content.len() as u64;
    if is_file && limits.file_size > 0 && length > limits.file_size {
        return Err(Exceeded::FileSize.into());
    }
    if !is_file && length > limits.field_value {
        return Err(Exceeded::FieldValue.into());
    }
    let part = match is_file {
        true => Part::File(name, clean_naively(&file_name), content.to_vec()),
        false => Part::Field(name, text_naively(content)),
    };
    match behind {
        Next::Nothing => Err(MultipartError::Truncated),
        _ => Ok((part, behind)),
    }
}

/// What is behind a delimiter.
enum Next<'a> {
    /// A part, with the end of the delimiter's line in front of it.
    Part(&'a [u8]),
    /// The end of the body.
    Close,
    /// There was no delimiter.
    Nothing,
}

/// What stands before the next delimiter, or before the end and what may become one, and what is
/// behind it.
fn split_at_delimiter<'a>(body: &'a [u8], delimiter: &[u8]) -> (&'a [u8], Next<'a>) {
    let line_ends = (0..body.len()).filter(|&at| body[at] == b'\r');
    for start in line_ends {
        let (before, rest) = body.split_at(start);
        if delimiter.starts_with(rest) {
            return (before, Next::Nothing);
        }
        let Some(behind) = rest.strip_prefix(delimiter) else {
            continue;
        };
        if behind.starts_with(b"--") {
            return (before, Next::Close);
        }
        let padding = behind.iter().take_while(|byte| b" \t".contains(byte));
        let padding = padding.count();
        let line_end = &behind[padding..];
        if padding <= LONGEST_PADDING && line_end.starts_with(b"\r\n") {
            return (before, Next::Part(behind));
        }
        let is_begun = padding <= LONGEST_PADDING && b"\r\n".starts_with(line_end);
        if is_begun || behind == b"-" {
            return (before, Next::Nothing);
        }
    }
    (body, Next::Nothing)
}

/// The head of a part, and what is behind its empty line.
fn split_head<'a>(rest: &'a [u8], limits: &Limits) -> Result<(&'a [u8], &'a [u8]), MultipartError> {
    let end = rest.windows(4).position(|four| four == b"\r\n\r\n");
    // The last three bytes may begin an empty line.
    let length = end.unwrap_or(rest.len().saturating_sub(3));
    if length as u64 > limits.header_size {
        return Err(Exceeded::PartHeader.into());
    }
    match end {
        Some(end) => Ok((&rest[..end], &rest[end + 4..])),
        None => Err(MultipartError::Truncated),
    }
}

fn check_names(
    name: &[u8],
    file_name: &[u8],
    before: &[Part],
    limits: &Limits,
) -> Result<(), Exceeded> {
    if before.len() as u64 >= limits.parts {
        return Err(Exceeded::Parts);
    }
    if name.len() as u64 > limits.field_name {
        return Err(Exceeded::FieldName);
    }
    if file_name.len() as u64 > limits.file_name {
        return Err(Exceeded::FileName);
    }
    let is_file = |part: &&Part| matches!(part, Part::File(..));
    let files = before.iter().filter(is_file).count() as u64;
    if !file_name.is_empty() && limits.files > 0 && files >= limits.files {
        return Err(Exceeded::Files);
    }
    Ok(())
}

/// A file name that is fit for a directory.
fn clean_naively(file_name: &[u8]) -> Vec<u8> {
    let mut name = text_naively(file_name);
    name.retain(|byte| *byte != 0);
    for byte in &mut name {
        if b"\t\n\x0b\r*/:<>?\\|".contains(byte) {
            *byte = b'_';
        }
    }
    match &name[..] {
        b"" | b"." | b".." => b"_".to_vec(),
        _ => name,
    }
}

/// Name and file name in the head of a part; empty where there is none.
fn names(head: &[u8]) -> Result<(Vec<u8>, Vec<u8>), MultipartError> {
    let (mut name, mut file_name) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < head.len() {
        let (before, rest) = head.split_at(at);
        at += 1;
        if rest[0] != b'=' {
            continue;
        }
        let found = match before {
            _ if before.ends_with(b"filename") => &mut file_name,
            _ if before.ends_with(b" name") => &mut name,
            _ => continue,
        };
        let (value, length) = value(&rest[1..])?;
        at += length;
        if found.is_empty() {
            *found = value;
        }
    }
    Ok((name, file_name))
}

/// A value, quoted or not, and how many bytes it takes.
fn value(text: &[u8]) -> Result<(Vec<u8>, usize), MultipartError> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| b"; \t\n\r\x0c".contains(byte));
        let value = &text[..end.unwrap_or(text.len())];
        return Ok((value.to_vec(), value.len()));
    };
    let mut value = Vec::new();
    let mut at = 0;
    loop {
        match &quoted[at..] {
            [] => return Err(MultipartError::OpenQuote),
            [b'"', ..] => return Ok((value, at + 2)),
            [b'\\', b'"', ..] => {
                value.push(b'"');
                at += 2;
            }
            [b'\\', b'\\', ..] => {
                value.extend(b"\\\\");
                at += 2;
            }
            [byte, ..] => {
                value.push(*byte);
                at += 1;
            }
        }
    }
}
