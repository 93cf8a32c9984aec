//! Splits and decodes the value of a `Cookie` header.

use super::urlencoded::{Field, Plus, Separator, Split, decode_field};

/// The cookies of a `Cookie` header's value (RFC 6265 §4.2), in the order sent.
///
/// `"; "` separates cookies, that and nothing else; a cookie is then read like a field of a query
/// ([`urlencoded::parse`](super::urlencoded::parse)), with `+` as itself. At `max_cookies` the
/// last one keeps the unsplit rest; 0: unlimited.
///
/// ```
/// use engine::form::cookies::parse;
///
/// let cookies: Vec<_> = parse(b"session=YQ==; theme=dark", 100).collect();
/// assert_eq!(cookies[0].value, Some("YQ==".into()));
/// assert_eq!(cookies[1].name, "theme".into());
/// ```
pub fn parse(input: &[u8], max_cookies: u64) -> impl Iterator<Item = Field> + use<'_> {
    Split::new(input, Separator::SemicolonSpace, max_cookies)
        .map(|cookie| decode_field(cookie, Plus::Literal))
}
