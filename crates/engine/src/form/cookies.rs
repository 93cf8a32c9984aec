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

/// Whether [`parse`] gives any cookie at all.
pub fn has_cookies(input: &[u8], max_cookies: u64) -> bool {
    Split::new(input, Separator::SemicolonSpace, max_cookies)
        .next()
        .is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::charset::Text;

    macro_rules! cookies {
        ($($name:ident: $input:expr, $max:expr => [$($cookie:expr),*];)*) => {$(
            #[test]
            fn $name() {
                let expected: Vec<(&str, Option<&str>)> = vec![$($cookie),*];
                let expected: Vec<Field> = expected
                    .into_iter()
                    .map(|(name, value)| Field { name: name.into(), value: value.map(Text::from) })
                    .collect();
                assert_eq!(parse($input, $max).collect::<Vec<_>>(), expected);
            }
        )*};
    }

    cookies! {
        nothing: b"", 100 => [];
        two: b"a=1; b=2", 100 => [("a", Some("1")), ("b", Some("2"))];
        semicolon_without_space: b"a=1;b=2", 100 => [("a", Some("1;b=2"))];
        two_spaces: b"a=1;  b=2", 100 => [("a", Some("1")), (" b", Some("2"))];
        ampersand: b"a=1&b", 100 => [("a", Some("1&b"))];
        base64: b"a=YQ==; b", 100 => [("a", Some("YQ==")), ("b", None)];
        escapes: b"a=%D0%B6+%zz", 100 => [("a", Some("ж+%zz"))];
        cp1251: b"a=\xe6", 100 => [("a", Some("ж"))];
        empty_end: b"a=1; ", 100 => [("a", Some("1")), ("", None)];
        empty_end_unlimited: b"a=1; ; ", 0 => [("a", Some("1"))];
        rest_in_the_last: b"a=1; b=2; c=3", 2 => [("a", Some("1")), ("b", Some("2; c=3"))];
    }
}
