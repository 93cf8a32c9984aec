//! The chunked transfer coding of a body (RFC 9112 §7.1), decoded in place.

use thiserror::Error;

use super::characters::{is_text, is_token, is_white_space};
use crate::limits::{Exceeded, Limits};

/// Decodes one chunked body that may arrive in pieces.
///
/// Chunk extensions and trailer lines are checked by their grammar and ignored. All lines end in
/// CRLF, and white space stands only where the grammar has it: around the `;` and the `=` of an
/// extension. No byte is looked at twice, and nothing is kept of the input.
///
/// Large chunks cost what moving their data costs. A body of chunks of one byte is legal: the
/// client sends six bytes for each byte of the body, and no memory is kept for that, but the server
/// has some 20 ns to do for each, as long as [`Limits::body_size`] allows.
///
/// ```
/// use engine::http::chunked::{ChunkedDecoder, Decoded};
/// use engine::limits::Limits;
///
/// let mut decoder = ChunkedDecoder::default();
/// let mut input = *b"4\r\nWiki\r\n5;a=b\r\npedia\r\n0\r\n\r\nGET";
/// let Decoded { body, consumed } = decoder.decode(&mut input, &Limits::default())?;
/// assert!(decoder.is_complete());
/// assert_eq!((&input[..body], &input[consumed..]), (&b"Wikipedia"[..], &b"GET"[..]));
/// # Ok::<(), engine::http::chunked::ChunkedError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ChunkedDecoder {
    expecting: Expecting,
    /// The size of the chunk whose line is being read, or how much of its data is still to come.
    chunk_left: u64,
    /// Bytes of all chunks together, as announced so far.
    body_size: u64,
    /// Bytes so far of the chunk line or trailer line that is being read.
    line_length: u64,
    trailer_lines: u64,
    /// Bytes of the trailer section so far, line ends included.
    trailer_size: u64,
}

/// What [`ChunkedDecoder::decode`] has made of its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// How many bytes of the body stand at the front of the input now.
    pub body: usize,
    /// Bytes of the input that belonged to the body: all of them unless it is complete. What is
    /// behind them is untouched.
    pub consumed: usize,
}

/// Why a chunked body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ChunkedError {
    /// Not `chunk-size [ chunk-ext ] CRLF`, or a size beyond 64 bits.
    #[error("bad request: malformed line before a chunk")]
    ChunkLine,
    /// The data of a chunk does not end where its size says.
    #[error("bad request: a chunk does not end where its size says")]
    ChunkEnd,
    /// Not `field-name ":" field-value CRLF`.
    #[error("bad request: malformed trailer line")]
    TrailerLine,
    /// The body, or a line in it, is larger than allowed.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
}

impl ChunkedError {
    /// The status code of the answer: 400, 413 or 431.
    pub fn status(&self) -> u16 {
        match self {
            ChunkedError::ChunkLine | ChunkedError::ChunkEnd | ChunkedError::TrailerLine => 400,
            ChunkedError::Exceeded(exceeded) => exceeded.status(),
        }
    }
}

impl ChunkedDecoder {
    /// Decodes `input`, which goes on where the input of the last call ended, and moves what it
    /// holds of the body to its front.
    ///
    /// # Errors
    ///
    /// As soon as it is known that the coding is malformed or a limit is exceeded; a chunk that
    /// would exceed [`Limits::body_size`] is refused before its data comes. The decoder is of no
    /// use after that.
    pub fn decode(&mut self, input: &mut [u8], limits: &Limits) -> Result<Decoded, ChunkedError> {
        let mut decoded = Decoded::default();
        while let Some(&byte) = input.get(decoded.consumed) {
            self.expecting = match self.expecting {
                Expecting::Data => {
                    self.take_data(input, &mut decoded);
                    continue;
                }
                Expecting::Nothing => break,
                Expecting::ChunkLine(part) => self.take_chunk_line(part, byte, limits)?,
                Expecting::ChunkLineFeed => self.begin_chunk(byte, limits)?,
                Expecting::DataEnd => expect(byte, b'\r', Expecting::DataLineFeed)?,
                Expecting::DataLineFeed => expect(byte, b'\n', Expecting::default())?,
                Expecting::Trailer(part) => self.take_trailer(part, byte, limits)?,
            };
            decoded.consumed += 1;
        }
        Ok(decoded)
    }

    /// Whether the whole body was decoded.
    pub fn is_complete(&self) -> bool {
        matches!(self.expecting, Expecting::Nothing)
    }

    /// How many bytes of the body are known to come: the rest of the chunk that has begun.
    pub fn least_left(&self) -> u64 {
        match self.expecting {
            Expecting::Data => self.chunk_left,
            _ => 0,
        }
    }

    fn take_data(&mut self, input: &mut [u8], decoded: &mut Decoded) {
        let start = decoded.consumed;
        let present = input.len() - start;
        let taken = usize::try_from(self.chunk_left).map_or(present, |left| left.min(present));
        if decoded.body < start {
            input.copy_within(start..start + taken, decoded.body);
        }
        decoded.body += taken;
        decoded.consumed += taken;
        self.chunk_left -= taken as u64;
        if self.chunk_left == 0 {
            self.expecting = Expecting::DataEnd;
        }
    }

    fn take_chunk_line(
        &mut self,
        part: ChunkLine,
        byte: u8,
        limits: &Limits,
    ) -> Result<Expecting, ChunkedError> {
        if byte == b'\r' && part.may_end() {
            self.line_length = 0;
            return Ok(Expecting::ChunkLineFeed);
        }
        self.line_length += 1;
        if self.line_length > limits.chunk_line {
            return Err(Exceeded::ChunkLine.into());
        }
        let next = part.next(byte).ok_or(ChunkedError::ChunkLine)?;
        if let ChunkLine::Size = next {
            self.chunk_left = append_digit(self.chunk_left, byte).ok_or(ChunkedError::ChunkLine)?;
        }
        Ok(Expecting::ChunkLine(next))
    }

    fn begin_chunk(&mut self, byte: u8, limits: &Limits) -> Result<Expecting, ChunkedError> {
        if byte != b'\n' {
            return Err(ChunkedError::ChunkLine);
        }
        if self.chunk_left == 0 {
            return Ok(Expecting::Trailer(Trailer::LineStart));
        }
        self.body_size = match self.body_size.checked_add(self.chunk_left) {
            Some(size) if limits.body_size == 0 || size <= limits.body_size => size,
            _ => return Err(Exceeded::BodySize.into()),
        };
        Ok(Expecting::Data)
    }

    fn take_trailer(
        &mut self,
        part: Trailer,
        byte: u8,
        limits: &Limits,
    ) -> Result<Expecting, ChunkedError> {
        self.trailer_size += 1;
        if self.trailer_size > limits.header_size {
            return Err(Exceeded::HeaderSize.into());
        }
        let next = match (part, byte) {
            (Trailer::LastLineFeed, b'\n') => return Ok(Expecting::Nothing),
            _ => part.next(byte).ok_or(ChunkedError::TrailerLine)?,
        };
        match (part, next) {
            (Trailer::LineStart, Trailer::Name) => {
                self.trailer_lines += 1;
                self.line_length = 1;
            }
            (_, Trailer::Name | Trailer::Value) => self.line_length += 1,
            _ => return Ok(Expecting::Trailer(next)),
        }
        if self.trailer_lines > limits.headers {
            return Err(Exceeded::Headers.into());
        }
        if self.line_length > limits.header_line {
            return Err(Exceeded::HeaderLine.into());
        }
        Ok(Expecting::Trailer(next))
    }
}

/// What the next byte belongs to.
///
/// ```text
/// chunked-body    = *chunk last-chunk trailer-section CRLF             ; RFC 9112 §7.1
/// chunk           = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
/// chunk-size      = 1*HEXDIG
/// last-chunk      = 1*("0") [ chunk-ext ] CRLF
/// ```
#[derive(Clone, Copy, Debug)]
enum Expecting {
    ChunkLine(ChunkLine),
    ChunkLineFeed,
    Data,
    /// The line end behind the data.
    DataEnd,
    DataLineFeed,
    Trailer(Trailer),
    /// The body is complete.
    Nothing,
}

impl Default for Expecting {
    fn default() -> Expecting {
        Expecting::ChunkLine(ChunkLine::Start)
    }
}

/// Where in the line before a chunk it is.
///
/// ```text
/// chunk-ext       = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
/// chunk-ext-name  = token                                              ; RFC 9112 §7.1.1
/// chunk-ext-val   = token / quoted-string
/// quoted-string   = DQUOTE *( qdtext / quoted-pair ) DQUOTE            ; RFC 9110 §5.6.4
/// ```
#[derive(Clone, Copy, Debug)]
enum ChunkLine {
    Start,
    Size,
    /// In white space that only another extension may follow.
    BeforeSemicolon,
    BeforeName,
    Name,
    /// In the white space behind a name.
    BeforeEquals,
    BeforeValue,
    Value,
    Quoted,
    /// Behind a backslash.
    QuotedPair,
    QuotedEnd,
}

impl ChunkLine {
    fn may_end(self) -> bool {
        matches!(
            self,
            ChunkLine::Size | ChunkLine::Name | ChunkLine::Value | ChunkLine::QuotedEnd
        )
    }

    /// Where it is behind `byte`; `None` if that may not come here.
    fn next(self, byte: u8) -> Option<ChunkLine> {
        match (self, byte) {
            (ChunkLine::Start | ChunkLine::Size, _) if byte.is_ascii_hexdigit() => {
                Some(ChunkLine::Size)
            }
            (ChunkLine::BeforeName | ChunkLine::Name, _) if is_token(byte) => Some(ChunkLine::Name),
            (ChunkLine::BeforeValue | ChunkLine::Value, _) if is_token(byte) => {
                Some(ChunkLine::Value)
            }
            (ChunkLine::BeforeValue, b'"') => Some(ChunkLine::Quoted),
            (ChunkLine::Quoted, b'"') => Some(ChunkLine::QuotedEnd),
            (ChunkLine::Quoted, b'\\') => Some(ChunkLine::QuotedPair),
            (ChunkLine::Quoted | ChunkLine::QuotedPair, _) if is_text(byte) => {
                Some(ChunkLine::Quoted)
            }
            (ChunkLine::Name | ChunkLine::BeforeEquals, b'=') => Some(ChunkLine::BeforeValue),
            (
                ChunkLine::Size
                | ChunkLine::BeforeSemicolon
                | ChunkLine::Name
                | ChunkLine::BeforeEquals
                | ChunkLine::Value
                | ChunkLine::QuotedEnd,
                b';',
            ) => Some(ChunkLine::BeforeName),
            (ChunkLine::Name, _) if is_white_space(byte) => Some(ChunkLine::BeforeEquals),
            (ChunkLine::Size | ChunkLine::Value | ChunkLine::QuotedEnd, _)
                if is_white_space(byte) =>
            {
                Some(ChunkLine::BeforeSemicolon)
            }
            (
                ChunkLine::BeforeSemicolon
                | ChunkLine::BeforeName
                | ChunkLine::BeforeEquals
                | ChunkLine::BeforeValue,
                _,
            ) if is_white_space(byte) => Some(self),
            _ => None,
        }
    }
}

/// Where in the trailer section it is.
///
/// ```text
/// trailer-section = *( field-line CRLF )                               ; RFC 9112 §7.1.2
/// field-line      = field-name ":" OWS field-value OWS                 ; RFC 9112 §5
/// ```
#[derive(Clone, Copy, Debug)]
enum Trailer {
    LineStart,
    Name,
    /// Behind the colon.
    Value,
    LineFeed,
    /// Of the empty line that ends the body.
    LastLineFeed,
}

impl Trailer {
    /// Where it is behind `byte`; `None` if that may not come here, or ends the section.
    fn next(self, byte: u8) -> Option<Trailer> {
        match (self, byte) {
            (Trailer::LineStart | Trailer::Name, _) if is_token(byte) => Some(Trailer::Name),
            (Trailer::Name, b':') => Some(Trailer::Value),
            (Trailer::Value, _) if is_text(byte) => Some(Trailer::Value),
            (Trailer::Value, b'\r') => Some(Trailer::LineFeed),
            (Trailer::LineFeed, b'\n') => Some(Trailer::LineStart),
            (Trailer::LineStart, b'\r') => Some(Trailer::LastLineFeed),
            _ => None,
        }
    }
}

fn expect(byte: u8, expected: u8, next: Expecting) -> Result<Expecting, ChunkedError> {
    match byte == expected {
        true => Ok(next),
        false => Err(ChunkedError::ChunkEnd),
    }
}

fn append_digit(size: u64, digit: u8) -> Option<u64> {
    let value = char::from(digit).to_digit(16)?;
    Some(size.checked_mul(16)? + u64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body so far, and what is behind it once it is complete.
    type Read = Result<(Vec<u8>, Option<Vec<u8>>), ChunkedError>;

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Read {
        let mut decoder = ChunkedDecoder::default();
        let mut body = Vec::new();
        let mut behind = Vec::new();
        for piece in pieces {
            let mut input = piece.to_vec();
            let decoded = decoder.decode(&mut input, limits)?;
            body.extend_from_slice(&input[..decoded.body]);
            behind.extend_from_slice(&input[decoded.consumed..]);
        }
        if !decoder.is_complete() {
            assert_eq!(behind, b"");
            return Ok((body, None));
        }
        Ok((body, Some(behind)))
    }

    /// However the input is cut, the same comes of it.
    fn assert_read(input: &[u8], limits: &Limits, expected: &Read) {
        assert_eq!(&read([input], limits), expected, "whole");
        assert_eq!(&read(input.chunks(1), limits), expected, "byte by byte");
        for cut in 0..=input.len() {
            let (first, second) = input.split_at(cut);
            assert_eq!(&read([first, second], limits), expected, "cut at {cut}");
        }
    }

    fn complete(body: &[u8], behind: &[u8]) -> Read {
        Ok((body.to_vec(), Some(behind.to_vec())))
    }

    fn partial(body: &[u8]) -> Read {
        Ok((body.to_vec(), None))
    }

    fn exceeded(exceeded: Exceeded) -> Read {
        Err(exceeded.into())
    }

    const SMALL: Limits = Limits {
        body_size: 5,
        chunk_line: 6,
        header_line: 5,
        headers: 2,
        header_size: 14,
        uri: 0,
        urlencoded_fields: 0,
        cookies: 0,
        field_name: 0,
        file_name: 0,
        field_value: 0,
        parts: 0,
        urlencoded_body: 0,
        file_size: 0,
        files: 0,
    };

    macro_rules! bodies {
        ($($name:ident: $input:expr, $limits:expr => $expected:expr;)*) => {$(
            #[test]
            fn $name() {
                assert_read($input, &$limits, &$expected);
            }
        )*};
    }

    bodies! {
        empty: b"0\r\n\r\n", Limits::default() => complete(b"", b"");
        one_chunk: b"3\r\nabc\r\n0\r\n\r\n", Limits::default() => complete(b"abc", b"");
        chunks: b"3\r\nabc\r\n1\r\nd\r\n2\r\nef\r\n0\r\n\r\n", Limits::default()
            => complete(b"abcdef", b"");
        next_request_behind: b"1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n", Limits::default()
            => complete(b"a", b"GET / HTTP/1.1\r\n");
        body_behind: b"0\r\n\r\n0\r\n\r\n", Limits::default() => complete(b"", b"0\r\n\r\n");
        line_ends_in_the_data: b"6\r\n\r\n0\r\n\r\r\n0\r\n\r\n", Limits::default()
            => complete(b"\r\n0\r\n\r", b"");
        digits_in_any_case: b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", Limits::default()
            => complete(b"01234567890123456789", b"");
        two_digits: b"1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n", Limits::default()
            => complete(b"abcdefghijklmnopqrstuvwxyz", b"");
        leading_zeros: b"00000000000000000000001\r\na\r\n0\r\n\r\n", Limits::default()
            => complete(b"a", b"");
        many_zeros_last: b"000\r\n\r\n", Limits::default() => complete(b"", b"");

        extension: b"1;a=b\r\nx\r\n0;c\r\n\r\n", Limits::default() => complete(b"x", b"");
        extensions: b"1;a;b=c;d=\"e\";f\r\nx\r\n0\r\n\r\n", Limits::default() => complete(b"x", b"");
        white_space_in_extensions: b"1 \t; a = b ;\tc\t=\t\"d\" ; e ;f\r\nx\r\n0\r\n\r\n", Limits::default()
            => complete(b"x", b"");
        anything_quoted: b"1;a=\"; =\t\\\"\\\\\xff\\\xff\"\r\nx\r\n0\r\n\r\n", Limits::default()
            => complete(b"x", b"");
        empty_quoted: b"1;a=\"\"\r\nx\r\n0\r\n\r\n", Limits::default() => complete(b"x", b"");

        trailer: b"0\r\nA: b\r\n\r\n", Limits::default() => complete(b"", b"");
        trailers: b"0\r\nA:b\r\nC: \r\nD:\r\nE: f\tg: \xff \r\n\r\nx", Limits::default()
            => complete(b"", b"x");

        nothing_yet: b"", Limits::default() => partial(b"");
        part_of_the_size: b"1", Limits::default() => partial(b"");
        part_of_the_data: b"3\r\nab", Limits::default() => partial(b"ab");
        no_last_chunk_yet: b"1\r\na\r\n", Limits::default() => partial(b"a");
        no_empty_line_yet: b"0\r\n", Limits::default() => partial(b"");
        part_of_the_empty_line: b"0\r\n\r", Limits::default() => partial(b"");
        part_of_the_trailer: b"0\r\nA: b\r\n", Limits::default() => partial(b"");
        largest_size: b"ffffffffffffffff\r\nab", Limits::default() => partial(b"ab");

        no_size: b"\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        no_digit: b"g\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        hexadecimal_prefix: b"0x1\r\na\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        negative: b"-1\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        signed: b"+1\r\na\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        underscore: b"1_0\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        quoted_size: b"\"1\"\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        beyond_64_bits: b"10000000000000000\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        far_beyond_64_bits: b"fffffffffffffffffffffffff\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        sum_beyond_64_bits: b"1\r\na\r\nffffffffffffffff\r\n", Limits::default()
            => exceeded(Exceeded::BodySize);
        space_before_the_size: b" 1\r\na\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        tab_before_the_size: b"\t1\r\na\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        space_in_the_size: b"1 0\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        space_behind_the_size: b"1 \r\na\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        tab_behind_the_size: b"1\t\r\na\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        vertical_tab_behind_the_size: b"1\x0b\r\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        nul_behind_the_size: b"1\0\r\na\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        empty_line_before_the_size: b"\r\n1\r\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);

        line_feed_alone_behind_the_size: b"1\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        carriage_return_alone_behind_the_size: b"1\ra\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        two_carriage_returns_behind_the_size: b"1\r\r\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        line_feed_alone_behind_the_last_chunk: b"0\n\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        line_feed_alone_behind_the_data: b"1\r\na\n0\r\n", Limits::default()
            => Err(ChunkedError::ChunkEnd);
        carriage_return_alone_behind_the_data: b"1\r\na\r0\r\n", Limits::default()
            => Err(ChunkedError::ChunkEnd);
        data_longer_than_its_size: b"1\r\nab\r\n", Limits::default() => Err(ChunkedError::ChunkEnd);
        data_shorter_than_its_size: b"3\r\na\r\n0\r\n\r\n", Limits::default()
            => Err(ChunkedError::ChunkEnd);
        no_line_end_behind_the_data: b"1\r\na0\r\n\r\n", Limits::default()
            => Err(ChunkedError::ChunkEnd);

        empty_extension: b"1;\r\na\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        empty_extension_between: b"1;;a\r\na\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        extension_without_name: b"1;=a\r\na\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        extension_without_value: b"1;a=\r\na\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        extension_without_semicolon: b"1 a\r\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        extension_name_no_token: b"1;a(\r\na\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        extension_of_two_values: b"1;a=b=c\r\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        space_behind_an_extension: b"1;a=b \r\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        space_behind_an_extension_name: b"1;a \r\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        space_within_an_extension: b"1;a b\r\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        unfinished_quote: b"1;a=\"b\r\na\r\n", Limits::default() => Err(ChunkedError::ChunkLine);
        line_end_in_a_quoted_pair: b"1;a=\"\\\r\n\"\r\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        token_behind_a_quote: b"1;a=\"b\"c\r\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        quote_in_a_token: b"1;a=b\"c\"\r\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        line_feed_in_an_extension: b"1;a\nb\r\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        line_feed_in_a_quote: b"1;a=\"\n\"\r\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        control_in_a_quote: b"1;a=\"\x7f\"\r\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);
        byte_beyond_ascii_in_a_name: b"1;\xff\r\na\r\n", Limits::default()
            => Err(ChunkedError::ChunkLine);

        folded_trailer: b"0\r\nA: b\r\n c\r\n\r\n", Limits::default()
            => Err(ChunkedError::TrailerLine);
        space_before_the_trailer: b"0\r\n A: b\r\n\r\n", Limits::default()
            => Err(ChunkedError::TrailerLine);
        space_before_the_colon: b"0\r\nA : b\r\n\r\n", Limits::default()
            => Err(ChunkedError::TrailerLine);
        trailer_without_colon: b"0\r\nA\r\n\r\n", Limits::default()
            => Err(ChunkedError::TrailerLine);
        trailer_without_name: b"0\r\n: b\r\n\r\n", Limits::default()
            => Err(ChunkedError::TrailerLine);
        trailer_name_no_token: b"0\r\nA(: b\r\n\r\n", Limits::default()
            => Err(ChunkedError::TrailerLine);
        nul_in_a_trailer: b"0\r\nA: \0\r\n\r\n", Limits::default()
            => Err(ChunkedError::TrailerLine);
        delete_in_a_trailer: b"0\r\nA: \x7f\r\n\r\n", Limits::default()
            => Err(ChunkedError::TrailerLine);
        carriage_return_in_a_trailer: b"0\r\nA: b\rc\r\n\r\n", Limits::default()
            => Err(ChunkedError::TrailerLine);
        line_feed_alone_behind_a_trailer: b"0\r\nA: b\n\r\n", Limits::default()
            => Err(ChunkedError::TrailerLine);
        line_feed_alone_at_the_end: b"0\r\n\n", Limits::default() => Err(ChunkedError::TrailerLine);
        carriage_return_alone_at_the_end: b"0\r\n\rG", Limits::default()
            => Err(ChunkedError::TrailerLine);
        request_for_a_trailer: b"0\r\nGET / HTTP/1.1\r\n\r\n", Limits::default()
            => Err(ChunkedError::TrailerLine);

        body_at_its_limit: b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", SMALL => complete(b"abcde", b"");
        body_above_its_limit: b"3\r\nabc\r\n3\r\n", SMALL => exceeded(Exceeded::BodySize);
        chunk_line_at_its_limit: b"0001;a\r\nx\r\n0;a=bc\r\n\r\n", SMALL => complete(b"x", b"");
        size_too_long: b"0000001", SMALL => exceeded(Exceeded::ChunkLine);
        extension_too_long: b"1;a=bcd", SMALL => exceeded(Exceeded::ChunkLine);
        trailers_at_their_limits: b"0\r\nA: bc\r\nD:e\r\n\r\n", SMALL => complete(b"", b"");
        trailer_line_too_long: b"0\r\nA: bcd", SMALL => exceeded(Exceeded::HeaderLine);
        trailer_name_too_long: b"0\r\nABCDEF", SMALL => exceeded(Exceeded::HeaderLine);
        too_many_trailers: b"0\r\nA:\r\nB:\r\nC", SMALL => exceeded(Exceeded::Headers);
        trailers_too_large: b"0\r\nA: bc\r\nD:ef\r\n\r\n", SMALL => exceeded(Exceeded::HeaderSize);
    }

    #[test]
    fn a_complete_body_takes_nothing_more() {
        let mut decoder = ChunkedDecoder::default();
        let limits = Limits::default();
        let mut input = *b"0\r\n\r\n";
        let decoded = decoder.decode(&mut input, &limits);
        assert_eq!(
            decoded,
            Ok(Decoded {
                body: 0,
                consumed: 5
            })
        );
        assert_eq!(decoder.decode(&mut input, &limits), Ok(Decoded::default()));
        assert!(decoder.is_complete());
    }

    #[test]
    fn each_status_is_the_one_of_the_fault() {
        let statuses = [
            (ChunkedError::ChunkLine, 400),
            (ChunkedError::ChunkEnd, 400),
            (ChunkedError::TrailerLine, 400),
            (ChunkedError::Exceeded(Exceeded::BodySize), 413),
            (ChunkedError::Exceeded(Exceeded::ChunkLine), 413),
            (ChunkedError::Exceeded(Exceeded::Headers), 431),
        ];
        for (error, status) in statuses {
            assert_eq!(error.status(), status, "{error}");
        }
    }
}
