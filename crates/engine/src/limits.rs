//! Every limit on what a client may send: its name, its default, and the error when it is exceeded.

use thiserror::Error;

/// How much a client may send before it is refused.
///
/// Each field is the listen option `max_<field>` of the Perl side. All sizes are bytes, and each
/// limit is inclusive: exactly that much passes. A field of which the description says so is
/// unlimited at 0.
///
/// ```
/// use engine::limits::Limits;
///
/// let limits = Limits { file_size: 50 << 20, ..Limits::default() };
/// assert_eq!(limits.uri, 4099);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `max_uri`: bytes of the request target. Default 4099.
    pub uri: u64,
    /// `max_header_line`: bytes of one header line without its line end; also of one trailer line,
    /// and of the request line's method and of its version. Default 16384.
    pub header_line: u64,
    /// `max_header_size`: bytes of the whole head, from the request line to the empty line, line
    /// ends included; also of the head of one multipart part, and of the trailer lines of a chunked
    /// body with the empty line behind them. Default 65536.
    pub header_size: u64,
    /// `max_headers`: how many header lines; also how many trailer lines. Default 100.
    pub headers: u64,
    /// `max_field_name`: bytes of the name of a multipart part, as sent. Default 4099.
    pub field_name: u64,
    /// `max_file_name`: bytes of the file name of a multipart part, as sent. Default 4099.
    pub file_name: u64,
    /// `max_field_value`: bytes of the value of a multipart field that is not a file, as sent.
    /// Default 51197.
    pub field_value: u64,
    /// `max_parts`: how many parts in a multipart body, fields and files together. Default 1025.
    pub parts: u64,
    /// `max_urlencoded_body`: bytes of a body that is not multipart. Default 102400.
    pub urlencoded_body: u64,
    /// `max_urlencoded_fields`: into how many fields a query or an urlencoded body is split; what
    /// is left stays unsplit in the last one, which is no error. 0: unlimited. Default 1024.
    pub urlencoded_fields: u64,
    /// `max_cookies`: into how many cookies the `Cookie` header is split, likewise. 0: unlimited.
    /// Default 100.
    pub cookies: u64,
    /// `max_file_size`: bytes of one uploaded file. 0: unlimited. Default 0.
    pub file_size: u64,
    /// `max_files`: how many files in one multipart body. 0: unlimited. Default 0.
    pub files: u64,
    /// `max_body_size`: bytes of a request's body, as announced; of a chunked one, the bytes of its
    /// chunks together. 0: unlimited. Default 0.
    pub body_size: u64,
    /// `max_chunk_line`: bytes of the line before each chunk of a chunked body, its extensions
    /// included, its line end not. Default 4096.
    pub chunk_line: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            uri: 4099,
            header_line: 16 * 1024,
            header_size: 64 * 1024,
            headers: 100,
            field_name: 4099,
            file_name: 4099,
            field_value: 51197,
            parts: 1025,
            urlencoded_body: 102_400,
            urlencoded_fields: 1024,
            cookies: 100,
            file_size: 0,
            files: 0,
            body_size: 0,
            chunk_line: 4096,
        }
    }
}

/// Which limit was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Exceeded {
    /// See [`Limits::uri`].
    #[error("the request target is too long")]
    Uri,
    /// See [`Limits::header_line`].
    #[error("a line of the request head is too long")]
    HeaderLine,
    /// See [`Limits::header_size`].
    #[error("the request head is too large")]
    HeaderSize,
    /// See [`Limits::headers`].
    #[error("the request has too many header lines")]
    Headers,
    /// See [`Limits::header_size`].
    #[error("the head of a part is too large")]
    PartHeader,
    /// See [`Limits::field_name`].
    #[error("the name of a part is too long")]
    FieldName,
    /// See [`Limits::file_name`].
    #[error("the file name of a part is too long")]
    FileName,
    /// See [`Limits::field_value`].
    #[error("the value of a field is too large")]
    FieldValue,
    /// See [`Limits::parts`].
    #[error("the body has too many parts")]
    Parts,
    /// See [`Limits::urlencoded_body`].
    #[error("the body is too large for one that is not multipart")]
    UrlencodedBody,
    /// See [`Limits::file_size`].
    #[error("a file is too large")]
    FileSize,
    /// See [`Limits::files`].
    #[error("the body has too many files")]
    Files,
    /// See [`Limits::body_size`].
    #[error("the body is too large")]
    BodySize,
    /// See [`Limits::chunk_line`].
    #[error("the line before a chunk is too long")]
    ChunkLine,
    /// Not a limit of [`Limits`]: what the system has.
    #[error("there is no memory left for the request")]
    Memory,
}

impl Exceeded {
    /// The status code that tells the client: 414 (RFC 9110 §15.5.15), 431 (RFC 6585 §5), 413
    /// (RFC 9110 §15.5.14) or 503 (§15.6.4).
    pub fn status(self) -> u16 {
        match self {
            Exceeded::Uri => 414,
            Exceeded::HeaderLine | Exceeded::HeaderSize | Exceeded::Headers => 431,
            Exceeded::PartHeader
            | Exceeded::FieldName
            | Exceeded::FileName
            | Exceeded::FieldValue
            | Exceeded::Parts
            | Exceeded::UrlencodedBody
            | Exceeded::FileSize
            | Exceeded::Files
            | Exceeded::BodySize
            | Exceeded::ChunkLine => 413,
            Exceeded::Memory => 503,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_the_one_of_what_is_too_large() {
        let statuses = [
            (Exceeded::Uri, 414),
            (Exceeded::HeaderLine, 431),
            (Exceeded::Headers, 431),
            (Exceeded::FieldValue, 413),
            (Exceeded::BodySize, 413),
            (Exceeded::Memory, 503),
        ];
        for (exceeded, status) in statuses {
            assert_eq!(exceeded.status(), status, "{exceeded}");
        }
    }
}
