//! Parses a `multipart/form-data` body as it arrives (RFC 7578, RFC 2046 §5.1).

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2, memmem};
use thiserror::Error;

use super::charset::Text;
use crate::limits::{Exceeded, Limits};
use crate::memory;

/// Why a multipart body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MultipartError {
    /// The `Content-Type` has no `boundary` parameter, or one that cannot be.
    #[error("the Content-Type has no usable boundary")]
    Boundary,
    /// A quoted name in the head of a part has no end.
    #[error("the head of a part has an open quote")]
    OpenQuote,
    /// The body ends within a part.
    #[error("the body ends within a part")]
    Truncated,
    /// The body, or a part of it, is larger than allowed.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
}

impl MultipartError {
    /// The status code of the answer: 400 or 413.
    pub fn status(&self) -> u16 {
        match self {
            MultipartError::Exceeded(exceeded) => exceeded.status(),
            _ => 400,
        }
    }
}

/// What [`Multipart::next`] has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How many bytes at the beginning of the input are done with.
    pub consumed: usize,
    /// What they gave.
    pub item: Item,
}

/// What a multipart body consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A complete field that is not a file.
    Field {
        /// Its name as sent, in whatever charset; empty if it has none.
        name: Vec<u8>,
        /// Its value.
        value: Text,
    },
    /// A file begins.
    FileStart {
        /// The field's name as sent, in whatever charset; empty if it has none.
        name: Vec<u8>,
        /// The file's name, cleaned: see [`clean_file_name`].
        file_name: Text,
    },
    /// Data of the file that began last: where they are in the input just given. Never empty.
    FileData(Range<usize>),
    /// The file that began last is complete.
    FileEnd,
    /// There is nothing more in the input; what is not consumed is to be offered again with more
    /// behind it. It is never more than a delimiter, or the head of a part with
    /// [`Limits::header_size`] and 3 bytes.
    NeedMore,
    /// The closing delimiter was seen. What follows is to be ignored.
    End,
}

/// A push parser for one multipart body.
///
/// It copies no file data, and takes time linear to the body however that is cut into pieces.
///
/// ```
/// use engine::form::multipart::{Item, Multipart};
/// use engine::limits::Limits;
///
/// let mut input = &b"--b\r\n\
///     Content-Disposition: form-data; name=\"n\"; filename=\"f\"\r\n\r\n\
///     data\r\n--b--"[..];
/// let mut multipart = Multipart::new(b"multipart/form-data; boundary=b", &Limits::default())?;
/// let mut data: Vec<u8> = Vec::new();
/// loop {
///     let step = multipart.next(input)?;
///     match step.item {
///         Item::FileStart { file_name, .. } => assert_eq!(file_name, "f".into()),
///         Item::FileData(range) => data.extend(&input[range]),
///         Item::NeedMore => unreachable!("read more from the socket"),
///         Item::End => break,
///         Item::Field { .. } | Item::FileEnd => {}
///     }
///     input = &input[step.consumed..];
/// }
/// multipart.finish()?;
/// assert_eq!(data, b"data");
/// # Ok::<(), engine::form::multipart::MultipartError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Multipart {
    /// CRLF, two dashes, the boundary.
    delimiter: memmem::Finder<'static>,
    limits: Limits,
    parts: u64,
    files: u64,
    /// Of the ordinary field that is being received.
    field_name: Vec<u8>,
    field_value: Vec<u8>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Nothing is consumed yet: a delimiter may stand here without a CRLF before it.
    Start,
    Preamble,
    /// Behind a boundary, before its padding and CRLF. There is no CRLFCRLF that begins before `searched`.
    PartHead {
        searched: usize,
    },
    Field,
    /// So much of the file is given out.
    File {
        size: u64,
    },
    Closed,
}

impl Multipart {
    /// A parser for the body of a request with this `Content-Type`.
    ///
    /// The type itself is not looked at, only the `boundary` parameter, quoted or not (RFC 2045
    /// §5.1, RFC 2046 §5.1.1). Unquoted, it may hold any character but `;`, since clients send
    /// `=`, `/` and the like there.
    ///
    /// # Errors
    ///
    /// [`MultipartError::Boundary`] if there is none, it is empty, longer than 256 bytes (RFC 2046
    /// allows 70), or holds control characters.
    pub fn new(content_type: &[u8], limits: &Limits) -> Result<Multipart, MultipartError> {
        memory::has_room::<u8>(MOST_GROWTH * content_type.len())?;
        let boundary = boundary(content_type).ok_or(MultipartError::Boundary)?;
        let unfit = boundary.is_empty()
            || boundary.len() > LONGEST_BOUNDARY
            || boundary.iter().any(u8::is_ascii_control);
        if unfit {
            return Err(MultipartError::Boundary);
        }
        let delimiter = [b"\r\n--", &boundary[..]].concat();
        Ok(Multipart {
            delimiter: memmem::Finder::new(&delimiter).into_owned(),
            limits: *limits,
            parts: 0,
            files: 0,
            field_name: Vec::new(),
            field_value: Vec::new(),
            state: State::Start,
        })
    }

    /// Parses on from the first byte not consumed yet.
    ///
    /// # Errors
    ///
    /// [`MultipartError::OpenQuote`] and [`MultipartError::Exceeded`]. The parser is of no use
    /// after that.
    pub fn next(&mut self, input: &[u8]) -> Result<Step, MultipartError> {
        let mut consumed = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            let advance = match self.state {
                State::Start => self.start(rest),
                State::Preamble => self.preamble(rest),
                State::PartHead { searched } => self.part_head(rest, searched)?,
                State::Field => self.field(rest)?,
                State::File { size } => self.file(rest, consumed, size)?,
                State::Closed => Advance::item(0, Item::End),
            };
            consumed += advance.consumed;
            if let Some(item) = advance.item {
                return Ok(Step { consumed, item });
            }
        }
    }

    /// Says that the body has ended.
    ///
    /// A body in which no delimiter was seen has no parts, which is no error.
    ///
    /// # Errors
    ///
    /// [`MultipartError::Truncated`] if there was a delimiter, but not the closing one.
    pub fn finish(&self) -> Result<(), MultipartError> {
        match self.state {
            State::Start | State::Preamble | State::Closed => Ok(()),
            State::PartHead { .. } | State::Field | State::File { .. } => {
                Err(MultipartError::Truncated)
            }
        }
    }

    fn start(&mut self, input: &[u8]) -> Advance {
        let dash_boundary = self.delimiter.needle().get(2..).unwrap_or_default();
        if let Some(rest) = input.strip_prefix(dash_boundary) {
            let end = dash_boundary.len();
            match delimiter_end(rest) {
                DelimiterEnd::Unknown => return Advance::item(0, Item::NeedMore),
                DelimiterEnd::Part => return self.leave_preamble(end),
                DelimiterEnd::Close => return self.close(end + CLOSE.len()),
                DelimiterEnd::None => {}
            }
        } else if dash_boundary.starts_with(input) {
            return Advance::item(0, Item::NeedMore);
        }
        self.state = State::Preamble;
        Advance::silent(0)
    }

    fn preamble(&mut self, input: &[u8]) -> Advance {
        match self.find_delimiter(input) {
            Found::Part { end, .. } => self.leave_preamble(end),
            Found::Close { end, .. } => self.close(end),
            Found::Data { length } => Advance::item(length, Item::NeedMore),
        }
    }

    fn leave_preamble(&mut self, consumed: usize) -> Advance {
        self.state = State::PartHead { searched: 0 };
        Advance::silent(consumed)
    }

    fn close(&mut self, consumed: usize) -> Advance {
        self.state = State::Closed;
        Advance::item(consumed, Item::End)
    }

    fn part_head(&mut self, input: &[u8], searched: usize) -> Result<Advance, MultipartError> {
        let limit = self.limits.header_size;
        let unseen = input.get(searched..).unwrap_or_default();
        let Some(offset) = memmem::find(unseen, HEAD_END) else {
            // CRLFCRLF can still begin in the last 3 bytes.
            let searched = input.len().saturating_sub(HEAD_END.len() - 1);
            if searched as u64 > limit {
                return Err(Exceeded::PartHeader.into());
            }
            self.state = State::PartHead { searched };
            return Ok(Advance::item(0, Item::NeedMore));
        };
        let length = searched + offset;
        if length as u64 > limit {
            return Err(Exceeded::PartHeader.into());
        }
        memory::has_room::<u8>(MOST_GROWTH * length)?;
        let names = Names::parse(input.get(..length).unwrap_or_default())?;
        Ok(Advance {
            consumed: length + HEAD_END.len(),
            item: self.begin_part(names)?,
        })
    }

    fn begin_part(&mut self, names: Names) -> Result<Option<Item>, Exceeded> {
        let Names {
            field_name: name,
            file_name,
        } = names;
        self.parts += 1;
        if self.parts > self.limits.parts {
            return Err(Exceeded::Parts);
        }
        if name.len() as u64 > self.limits.field_name {
            return Err(Exceeded::FieldName);
        }
        if file_name.is_empty() {
            self.field_name = name;
            self.state = State::Field;
            return Ok(None);
        }
        if file_name.len() as u64 > self.limits.file_name {
            return Err(Exceeded::FileName);
        }
        self.files += 1;
        if self.limits.files > 0 && self.files > self.limits.files {
            return Err(Exceeded::Files);
        }
        memory::has_room::<u8>(MOST_GROWTH * file_name.len())?;
        self.state = State::File { size: 0 };
        let file_name = clean_file_name(file_name);
        Ok(Some(Item::FileStart { name, file_name }))
    }

    fn field(&mut self, input: &[u8]) -> Result<Advance, MultipartError> {
        let found = self.find_delimiter(input);
        let data = input.get(..found.data_length()).unwrap_or_default();
        if (self.field_value.len() + data.len()) as u64 > self.limits.field_value {
            return Err(Exceeded::FieldValue.into());
        }
        memory::append(&mut self.field_value, data)?;
        let Some(end) = self.pass_delimiter(&found) else {
            return Ok(Advance::item(data.len(), Item::NeedMore));
        };
        let field = Item::Field {
            name: std::mem::take(&mut self.field_name),
            value: Text::try_decide(std::mem::take(&mut self.field_value))?,
        };
        Ok(Advance::item(end, field))
    }

    /// `offset` is where `input` begins in the input the caller gave.
    fn file(&mut self, input: &[u8], offset: usize, size: u64) -> Result<Advance, MultipartError> {
        let found = self.find_delimiter(input);
        let length = found.data_length();
        if length > 0 {
            let size = size.saturating_add(length as u64);
            if self.limits.file_size > 0 && size > self.limits.file_size {
                return Err(Exceeded::FileSize.into());
            }
            self.state = State::File { size };
            let data = Item::FileData(offset..offset + length);
            return Ok(Advance::item(length, data));
        }
        match self.pass_delimiter(&found) {
            Some(end) => Ok(Advance::item(end, Item::FileEnd)),
            None => Ok(Advance::item(0, Item::NeedMore)),
        }
    }

    /// Goes behind the delimiter that was found, if one was, and returns where that is.
    fn pass_delimiter(&mut self, found: &Found) -> Option<usize> {
        match *found {
            Found::Part { end, .. } => {
                self.state = State::PartHead { searched: 0 };
                Some(end)
            }
            Found::Close { end, .. } => {
                self.state = State::Closed;
                Some(end)
            }
            Found::Data { .. } => None,
        }
    }

    /// Looks for the first delimiter; what looks like one but does not end as one is data.
    fn find_delimiter(&self, input: &[u8]) -> Found {
        let mut searched = 0;
        loop {
            let unseen = input.get(searched..).unwrap_or_default();
            let Some(offset) = self.delimiter.find(unseen) else {
                let length = input.len() - self.delimiter_begun(unseen);
                return Found::Data { length };
            };
            let start = searched + offset;
            let end = start + self.delimiter.needle().len();
            match delimiter_end(input.get(end..).unwrap_or_default()) {
                DelimiterEnd::Unknown => return Found::Data { length: start },
                DelimiterEnd::Part => return Found::Part { start, end },
                DelimiterEnd::Close => {
                    let end = end + CLOSE.len();
                    return Found::Close { start, end };
                }
                DelimiterEnd::None => searched = end,
            }
        }
    }

    /// How many bytes at the end of `input`, in which there is no delimiter, may begin one.
    fn delimiter_begun(&self, input: &[u8]) -> usize {
        let delimiter = self.delimiter.needle();
        let tail_start = input.len().saturating_sub(delimiter.len() - 1);
        let tail = input.get(tail_start..).unwrap_or_default();
        // There is one CR in a delimiter, at its beginning.
        memchr_iter(b'\r', tail)
            .filter_map(|start| tail.get(start..))
            .find(|begun| delimiter.starts_with(begun))
            .map_or(0, <[u8]>::len)
    }
}

/// How far the parser got.
struct Advance {
    consumed: usize,
    /// `None`: go on with what is left of the input.
    item: Option<Item>,
}

impl Advance {
    fn item(consumed: usize, item: Item) -> Advance {
        Advance {
            consumed,
            item: Some(item),
        }
    }

    fn silent(consumed: usize) -> Advance {
        Advance {
            consumed,
            item: None,
        }
    }
}

/// What [`Multipart::find_delimiter`] found; positions are in its input.
enum Found {
    /// A delimiter before another part. `end` is that of the boundary: padding and CRLF are left to
    /// the head of the part, so that one without lines ends in CRLFCRLF too.
    Part { start: usize, end: usize },
    /// The closing delimiter.
    Close { start: usize, end: usize },
    /// No complete delimiter: `length` bytes are data, and the rest may begin a delimiter.
    Data { length: usize },
}

impl Found {
    fn data_length(&self) -> usize {
        match *self {
            Found::Part { start, .. } | Found::Close { start, .. } => start,
            Found::Data { length } => length,
        }
    }
}

/// What stands behind a boundary.
enum DelimiterEnd {
    /// Padding and CRLF.
    Part,
    /// Two dashes.
    Close,
    /// Something else: it is no delimiter.
    None,
    /// The input ends before it is decided.
    Unknown,
}

/// ```text
/// encapsulation     := delimiter transport-padding CRLF body-part
/// delimiter         := CRLF "--" boundary
/// close-delimiter   := delimiter "--"
/// transport-padding := *LWSP-char                                       ; RFC 2046 §5.1.1
/// ```
fn delimiter_end(rest: &[u8]) -> DelimiterEnd {
    if rest.starts_with(CLOSE) {
        return DelimiterEnd::Close;
    }
    let is_padding = |&&byte: &&u8| byte == b' ' || byte == b'\t';
    let padding = rest
        .iter()
        .take(LONGEST_PADDING + 1)
        .take_while(is_padding)
        .count();
    if padding > LONGEST_PADDING {
        return DelimiterEnd::None;
    }
    match rest.get(padding..).unwrap_or_default() {
        [] | b"\r" => DelimiterEnd::Unknown,
        b"-" if padding == 0 => DelimiterEnd::Unknown,
        [b'\r', b'\n', ..] => DelimiterEnd::Part,
        _ => DelimiterEnd::None,
    }
}

const CLOSE: &[u8] = b"--";
const HEAD_END: &[u8] = b"\r\n\r\n";
const LONGEST_BOUNDARY: usize = 256;
/// No client is known to send padding at all; without a bound it could fill the memory.
const LONGEST_PADDING: usize = 256;
/// How many times the memory of some bytes their copy takes at most: that of cp1251 three times, and
/// one that grows piece by piece up to two times.
const MOST_GROWTH: usize = 3;

/// The names in the head of a part.
///
/// They are searched in all of the head, in the case given here, ` name=` with its space (or it
/// would be found in `filename=`), and of each the first that is not empty counts. The value is
/// quoted, or else ends at white space or a semicolon.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    field_name: Vec<u8>,
    file_name: Vec<u8>,
}

impl Names {
    fn parse(head: &[u8]) -> Result<Names, MultipartError> {
        let mut names = Names::default();
        let mut rest = head;
        while let Some((before, value)) = split_at_byte(rest, b'=') {
            rest = value;
            let name = if before.ends_with(b"filename") {
                &mut names.file_name
            } else if before.ends_with(b" name") {
                &mut names.field_name
            } else {
                continue;
            };
            let value = take_value(&mut rest)?;
            if name.is_empty() {
                *name = value;
            }
        }
        Ok(names)
    }
}

fn split_at_byte(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr(byte, bytes)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

fn take_value(rest: &mut &[u8]) -> Result<Vec<u8>, MultipartError> {
    if let Some(quoted) = rest.strip_prefix(b"\"") {
        let (value, behind) =
            unquote(quoted, Backslash::EscapesQuote).ok_or(MultipartError::OpenQuote)?;
        *rest = behind;
        return Ok(value);
    }
    let is_end = |byte: &u8| *byte == b';' || byte.is_ascii_whitespace();
    let length = rest.iter().position(is_end).unwrap_or(rest.len());
    let (value, behind) = rest.split_at(length);
    *rest = behind;
    Ok(value.to_vec())
}

/// What a backslash does in a quoted value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backslash {
    /// `\"` is a quote; any other backslash is itself, since browsers send paths with them. `\\` is
    /// two, neither of which escapes what follows: senders that double a backslash mean that.
    EscapesQuote,
    /// It stands for the character behind it (RFC 2045 §5.1, quoted-string).
    EscapesAll,
}

/// The value up to the closing quote, and what is behind that; `None` if there is no closing quote.
fn unquote(quoted: &[u8], backslash: Backslash) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut rest = quoted;
    loop {
        let special = memchr2(b'"', b'\\', rest)?;
        let (plain, behind) = rest.split_at(special);
        value.extend_from_slice(plain);
        rest = match (behind, backslash) {
            ([b'"', behind @ ..], _) => return Some((value, behind)),
            ([b'\\', b'"', behind @ ..], _) => {
                value.push(b'"');
                behind
            }
            ([b'\\', b'\\', behind @ ..], Backslash::EscapesQuote) => {
                value.extend_from_slice(b"\\\\");
                behind
            }
            ([b'\\', escaped, behind @ ..], Backslash::EscapesAll) => {
                value.push(*escaped);
                behind
            }
            ([other, behind @ ..], _) => {
                value.push(*other);
                behind
            }
            ([], _) => return None,
        };
    }
}

/// Makes the name a client gave to a file fit for a directory, but for its uniqueness.
///
/// The charset is decided ([`Text::decide`]); TAB, LF, VT, CR and each of `* / : < > ? \ |` become
/// `_`, NUL is removed, and `.`, `..` and a name of which nothing is left become `_`.
///
/// ```
/// use engine::form::multipart::clean_file_name;
///
/// assert_eq!(clean_file_name("C:\\a/é.txt".into()), "C__a_é.txt".into());
/// assert_eq!(clean_file_name("..".into()), "_".into());
/// ```
pub fn clean_file_name(file_name: Vec<u8>) -> Text {
    let cleaned = Text::decide(file_name).map_ascii(|byte| match byte {
        b'\0' => None,
        b'\t' | b'\n' | 0x0b | b'\r' => Some(b'_'),
        b'*' | b'/' | b':' | b'<' | b'>' | b'?' | b'\\' | b'|' => Some(b'_'),
        _ => Some(byte),
    });
    match cleaned.as_bytes() {
        b"" | b"." | b".." => Text::from("_"),
        _ => cleaned,
    }
}

/// The `boundary` parameter of a `Content-Type`.
///
/// ```text
/// content   := type "/" subtype *(";" parameter)
/// parameter := attribute "=" value
/// value     := token / quoted-string                                    ; RFC 2045 §5.1
/// ```
fn boundary(content_type: &[u8]) -> Option<Vec<u8>> {
    let (_, mut rest) = split_at_byte(content_type, b';')?;
    loop {
        let name_length = memchr2(b'=', b';', rest)?;
        let (name, behind) = rest.split_at(name_length);
        let Some(value) = behind.strip_prefix(b"=") else {
            rest = behind.get(1..)?;
            continue;
        };
        let (value, behind) = parameter_value(value.trim_ascii_start())?;
        if name.trim_ascii().eq_ignore_ascii_case(b"boundary") {
            return Some(value);
        }
        rest = split_at_byte(behind, b';')?.1;
    }
}

fn parameter_value(rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    if let Some(quoted) = rest.strip_prefix(b"\"") {
        return unquote(quoted, Backslash::EscapesAll);
    }
    let length = memchr(b';', rest).unwrap_or(rest.len());
    let (value, behind) = rest.split_at(length);
    Some((value.trim_ascii_end().to_vec(), behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a parser gave, with the data of each file in one piece.
    #[derive(Debug, PartialEq, Eq)]
    enum Part {
        Field(Vec<u8>, Text),
        File(Vec<u8>, Text, Vec<u8>),
    }

    fn field(name: &str, value: &str) -> Part {
        Part::Field(name.into(), value.into())
    }

    fn file(name: &str, file_name: &str, data: &[u8]) -> Part {
        Part::File(name.into(), file_name.into(), data.into())
    }

    /// Parses a body that comes in pieces of `size` bytes, as a connection would.
    fn parse_in_pieces(
        body: &[u8],
        size: usize,
        limits: &Limits,
    ) -> Result<Vec<Part>, MultipartError> {
        let mut multipart = Multipart::new(b"multipart/form-data; boundary=b", limits)?;
        let mut parts = Vec::new();
        let mut open_file = None;
        let mut kept = Vec::new();
        for piece in body.chunks(size) {
            kept.extend_from_slice(piece);
            loop {
                let Step { consumed, item } = multipart.next(&kept)?;
                match item {
                    Item::Field { name, value } => parts.push(Part::Field(name, value)),
                    Item::FileStart { name, file_name } => {
                        assert!(open_file.replace((name, file_name, Vec::new())).is_none());
                    }
                    Item::FileData(range) => {
                        assert!(!range.is_empty() && range.end <= consumed);
                        open_file
                            .as_mut()
                            .unwrap()
                            .2
                            .extend_from_slice(&kept[range]);
                    }
                    Item::FileEnd => {
                        let (name, file_name, data) = open_file.take().unwrap();
                        parts.push(Part::File(name, file_name, data));
                    }
                    Item::End => return multipart.finish().map(|()| parts),
                    Item::NeedMore => {
                        kept.drain(..consumed);
                        break;
                    }
                }
                kept.drain(..consumed);
            }
        }
        multipart.finish().map(|()| parts)
    }

    fn assert_parsed(body: &[u8], limits: &Limits, expected: &Result<Vec<Part>, MultipartError>) {
        for size in [usize::MAX, 1, 2, 3, 5, 7, 11] {
            let parts = parse_in_pieces(body, size, limits);
            assert_eq!(&parts, expected, "in pieces of {size}");
        }
    }

    macro_rules! bodies {
        ($($name:ident: $body:expr => $expected:expr;)*) => {$(
            #[test]
            fn $name() {
                assert_parsed($body, &Limits::default(), &$expected);
            }
        )*};
    }

    bodies! {
        nothing: b"" => Ok(vec![]);
        wrong_boundary: b"--c\r\n name=\"n\"\r\n\r\nv\r\n--c--\r\n" => Ok(vec![]);
        no_parts: b"--b--\r\n" => Ok(vec![]);
        one_field: b"--b\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\nv\r\n--b--\r\n"
            => Ok(vec![field("n", "v")]);
        one_file: b"--b\r\nContent-Disposition: form-data; name=\"n\"; filename=\"f\"\r\n\
            Content-Type: text/plain\r\n\r\ndata\r\n--b--" => Ok(vec![file("n", "f", b"data")]);
        field_behind_file: b"--b\r\n name=\"n\"; filename=\"f\"\r\n\r\nhello\r\n--b\r\n name=\"m\"\r\n\r\n1\r\n--b--"
            => Ok(vec![file("n", "f", b"hello"), field("m", "1")]);
        empty_field: b"--b\r\n name=\"n\"\r\n\r\n\r\n--b--" => Ok(vec![field("n", "")]);
        empty_file: b"--b\r\n name=\"n\"; filename=\"f\"\r\n\r\n\r\n--b--"
            => Ok(vec![file("n", "f", b"")]);
        empty_file_name: b"--b\r\n name=\"n\"; filename=\"\"\r\n\r\nv\r\n--b--"
            => Ok(vec![field("n", "v")]);
        extended_file_name: b"--b\r\n name=\"n\"; filename*=UTF-8''f\r\n\r\nv\r\n--b--"
            => Ok(vec![field("n", "v")]);
        no_part_head: b"--b\r\n\r\nv\r\n--b--" => Ok(vec![field("", "v")]);
        names_in_either_order: b"--b\r\nX: filename=\"f\"\r\nY: z; name=\"n\"\r\n\r\n\r\n--b--"
            => Ok(vec![file("n", "f", b"")]);
        first_name_that_is_not_empty: b"--b\r\n name=\"\"; name=\"n\"; name=\"m\"\r\n\r\n\r\n--b--"
            => Ok(vec![field("n", "")]);
        name_in_other_case: b"--b\r\n Name=\"n\"; FileName=\"f\"\r\n\r\nv\r\n--b--"
            => Ok(vec![field("", "v")]);
        name_without_space: b"--b\r\n;name=\"n\"\r\n\r\nv\r\n--b--" => Ok(vec![field("", "v")]);
        unquoted_names: b"--b\r\n form-data; name=n; filename=f.txt\r\n\r\nv\r\n--b--"
            => Ok(vec![file("n", "f.txt", b"v")]);
        name_within_a_name: b"--b\r\n name=\"a filename=\\\"f\\\"; name=\\\"m\\\"\"\r\n\r\nv\r\n--b--"
            => Ok(vec![field("a filename=\"f\"; name=\"m\"", "v")]);
        escaped_quotes: b"--b\r\n name=\"a\\\"b\"; filename=\"c\\\"\"\r\n\r\n\r\n--b--"
            => Ok(vec![file("a\"b", "c\"", b"")]);
        other_backslashes: b"--b\r\n name=\"\\a\\\\\"; filename=\"C:\\d\\e\"\r\n\r\n\r\n--b--"
            => Ok(vec![file("\\a\\\\", "C__d_e", b"")]);
        open_quote: b"--b\r\n name=\"n\r\n\r\nv\r\n--b--" => Err(MultipartError::OpenQuote);
        open_quote_behind_backslash: b"--b\r\n name=\"n\\\"\r\n\r\nv\r\n--b--"
            => Err(MultipartError::OpenQuote);
        cp1251_value: b"--b\r\n name=\"n\"\r\n\r\n\xe6\r\n--b--" => Ok(vec![field("n", "ж")]);
        cp1251_file_name: b"--b\r\n name=\"n\"; filename=\"\xe6\"\r\n\r\n\xe6\r\n--b--"
            => Ok(vec![file("n", "ж", b"\xe6")]);
        name_as_bytes: b"--b\r\n name=\"\xe6\"\r\n\r\n\r\n--b--"
            => Ok(vec![Part::Field(vec![0xe6], "".into())]);
        preamble: b"This is\r\n--bx\r\na preamble --b\r\n--b\r\n name=\"n\"\r\n\r\nv\r\n--b--"
            => Ok(vec![field("n", "v")]);
        preamble_of_one_line_end: b"\r\n--b\r\n name=\"n\"\r\n\r\nv\r\n--b--" => Ok(vec![field("n", "v")]);
        epilogue: b"--b\r\n name=\"n\"\r\n\r\nv\r\n--b--\r\n\r\n\r\n--b\r\n name=\"m\"\r\n\r\n"
            => Ok(vec![field("n", "v")]);
        padding: b"--b \t\r\n name=\"n\"\r\n\r\nv\r\n--b  \r\n name=\"m\"\r\n\r\n\r\n--b--"
            => Ok(vec![field("n", "v"), field("m", "")]);
        like_a_delimiter: b"--b\r\n name=\"n\"; filename=\"f\"\r\n\r\n\
            --b\r\n--\r\n--bX\r\n--b \t-\r\n--b-\r\n--b\r\r\n--b\n\r\n--b--"
            => Ok(vec![file("n", "f", b"--b\r\n--\r\n--bX\r\n--b \t-\r\n--b-\r\n--b\r\r\n--b\n")]);
        line_ends_before_the_delimiter: b"--b\r\n name=\"n\"\r\n\r\n\r\r\n\r\n\r\n--b--"
            => Ok(vec![field("n", "\r\r\n\r\n")]);
        delimiter_behind_line_feed: b"--b\r\n name=\"n\"\r\n\r\na\n--b\nb\r\n--b--"
            => Ok(vec![field("n", "a\n--b\nb")]);

        truncated_in_the_delimiter: b"--b\r\n name=\"n\"\r\n\r\nv\r\n--b" => Err(MultipartError::Truncated);
        truncated_in_the_close: b"--b\r\n name=\"n\"\r\n\r\nv\r\n--b-" => Err(MultipartError::Truncated);
        truncated_in_the_value: b"--b\r\n name=\"n\"\r\n\r\nv" => Err(MultipartError::Truncated);
        truncated_in_the_file: b"--b\r\n name=\"n\"; filename=\"f\"\r\n\r\nv" => Err(MultipartError::Truncated);
        truncated_in_the_part_head: b"--b\r\n name=\"n\"\r\n" => Err(MultipartError::Truncated);
    }

    const SMALL: Limits = Limits {
        header_size: 40,
        field_name: 3,
        file_name: 4,
        field_value: 5,
        parts: 3,
        file_size: 6,
        files: 2,
        uri: 0,
        header_line: 0,
        headers: 0,
        urlencoded_body: 0,
        urlencoded_fields: 0,
        cookies: 0,
        body_size: 0,
        chunk_line: 0,
    };

    macro_rules! limits {
        ($($name:ident: $body:expr => $expected:expr;)*) => {$(
            #[test]
            fn $name() {
                assert_parsed($body, &SMALL, &$expected);
            }
        )*};
    }

    limits! {
        all_at_their_limits: b"--b\r\n name=\"123\"; filename=\"1234\"; 34567890\r\n\r\n123456\r\n--b\r\n filename=f\r\n\r\n\
            \r\n--b\r\n\r\n12345\r\n--b--"
            => Ok(vec![file("123", "1234", b"123456"), file("", "f", b""), field("", "12345")]);
        part_head_too_large: b"--b\r\n name=\"123\"; filename=\"1234\"; 345678901\r\n\r\n"
            => Err(Exceeded::PartHeader.into());
        part_head_too_large_already: b"--b\r\n345678901234567890123456789012345678901234"
            => Err(Exceeded::PartHeader.into());
        field_name_too_long: b"--b\r\n name=\"1234\"\r\n\r\n" => Err(Exceeded::FieldName.into());
        file_name_too_long: b"--b\r\n filename=\"12345\"\r\n\r\n" => Err(Exceeded::FileName.into());
        field_value_too_large: b"--b\r\n\r\n123456\r\n--b--" => Err(Exceeded::FieldValue.into());
        field_value_too_large_already: b"--b\r\n\r\n123456" => Err(Exceeded::FieldValue.into());
        file_too_large: b"--b\r\n filename=f\r\n\r\n1234567\r\n--b--" => Err(Exceeded::FileSize.into());
        too_many_files: b"--b\r\n filename=f\r\n\r\n\r\n--b\r\n filename=f\r\n\r\n\r\n--b\r\n filename=f\r\n\r\n"
            => Err(Exceeded::Files.into());
        too_many_parts: b"--b\r\n\r\n\r\n--b\r\n\r\n\r\n--b\r\n\r\n\r\n--b\r\n\r\n"
            => Err(Exceeded::Parts.into());
    }

    #[test]
    fn parts_up_to_the_default_limit_pass() {
        let body = |parts: usize| ["--b\r\n\r\n\r\n".repeat(parts), "--b--".into()].concat();
        let parse = |parts| parse_in_pieces(body(parts).as_bytes(), usize::MAX, &Limits::default());
        assert_eq!(parse(1025).map(|parts| parts.len()), Ok(1025));
        assert_eq!(parse(1026), Err(Exceeded::Parts.into()));
    }

    #[test]
    fn padding_without_end_is_data() {
        let padding = " ".repeat(LONGEST_PADDING + 1);
        let body = format!("--b\r\n\r\n\r\n--b{padding}\r\n--b--");
        let value = format!("\r\n--b{padding}");
        assert_parsed(
            body.as_bytes(),
            &Limits::default(),
            &Ok(vec![field("", &value)]),
        );
    }

    #[test]
    fn file_data_are_as_large_as_the_input_allows() {
        let body = b"--b\r\n filename=f\r\n\r\n1\r\n--bX\r\n2\r\n--b";
        let mut multipart =
            Multipart::new(b"multipart/form-data; boundary=b", &Limits::default()).unwrap();
        let start = multipart.next(body).unwrap().consumed;
        let step = multipart.next(&body[start..]).unwrap();
        assert_eq!(&body[start..][..step.consumed], b"1\r\n--bX\r\n2");
        assert_eq!(step.item, Item::FileData(0..step.consumed));
    }

    macro_rules! boundaries {
        ($($name:ident: $content_type:expr => $expected:expr;)*) => {$(
            #[test]
            fn $name() {
                let expected: Option<&[u8]> = $expected;
                let multipart = Multipart::new($content_type, &Limits::default());
                let delimiter = multipart.map(|multipart| multipart.delimiter.needle().to_vec());
                let expected = expected
                    .map(|boundary| [b"\r\n--", boundary].concat())
                    .ok_or(MultipartError::Boundary);
                assert_eq!(delimiter, expected);
            }
        )*};
    }

    boundaries! {
        token: b"multipart/form-data; boundary=abc" => Some(b"abc");
        quoted: b"multipart/form-data; boundary=\"a b;c\"" => Some(b"a b;c");
        quoted_with_escapes: b"multipart/form-data; boundary=\"a\\\"\\b\"" => Some(b"a\"b");
        no_space: b"multipart/form-data;boundary=abc" => Some(b"abc");
        parameter_before: b"multipart/form-data; charset=utf-8; boundary=abc" => Some(b"abc");
        parameter_behind: b"multipart/form-data; boundary=abc ; charset=utf-8" => Some(b"abc");
        quoted_parameter_before: b"multipart/form-data; x=\"; boundary=no\" ; boundary=yes" => Some(b"yes");
        parameter_without_value: b"multipart/form-data; x; ;boundary=abc" => Some(b"abc");
        other_case: b"Multipart/Form-Data; BOUNDARY=aBc" => Some(b"aBc");
        spaces_around: b"multipart/form-data ; boundary = abc " => Some(b"abc");
        no_token_characters: b"multipart/form-data; boundary=----=_a/b:c?" => Some(b"----=_a/b:c?");
        only_mul: b"mulx;boundary=abc" => Some(b"abc");
        first_of_two: b"multipart/form-data; boundary=a; boundary=b" => Some(b"a");
        none: b"multipart/form-data" => None;
        other_parameter: b"multipart/form-data; xboundary=abc" => None;
        empty_type: b"" => None;
        empty_boundary: b"multipart/form-data; boundary=" => None;
        empty_quoted: b"multipart/form-data; boundary=\"\"" => None;
        open_quoted: b"multipart/form-data; boundary=\"abc" => None;
        control_character: b"multipart/form-data; boundary=\"a\r\nb\"" => None;
        longest: &[b"x;boundary=", &[b'a'; 256][..]].concat() => Some(&[b'a'; 256]);
        too_long: &[b"x;boundary=", &[b'a'; 257][..]].concat() => None;
    }

    #[test]
    fn file_names_are_cleaned() {
        let names: [(&[u8], &str); 9] = [
            (b"a b.txt", "a b.txt"),
            (
                b"a\tb\nc\x0bd\re*f/g:h<i>j?k\\l|m",
                "a_b_c_d_e_f_g_h_i_j_k_l_m",
            ),
            (b"\0a\0b\0", "ab"),
            (b"\0", "_"),
            (b".", "_"),
            (b"..", "_"),
            (b".\0.", "_"),
            (b"../.a\x0c", ".._.a\x0c"),
            (b"\xe6:\xff", "ж_я"),
        ];
        for (name, cleaned) in names {
            assert_eq!(clean_file_name(name.into()), cleaned.into());
        }
    }
}
