//! Splits and decodes a query or an `application/x-www-form-urlencoded` body.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2, memmem};
use percent_encoding::percent_decode;

use super::charset::{Text, is_valid};

/// One field of a query, of an urlencoded body or of a `Cookie` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// What stands before the first `=`, decoded.
    pub name: Text,
    /// What stands behind the first `=`, decoded; `None` if there is no `=`.
    pub value: Option<Text>,
}

/// How [`parse`] reads fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The number of fields at which splitting stops: the last one keeps the unsplit rest. 0:
    /// unlimited, and then empty fields at the end are dropped, as Perl's `split` does it.
    pub max_fields: u64,
    /// Whether `+` is a space, as in forms sent by browsers; else it is itself.
    pub plus_as_space: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            max_fields: 1024,
            plus_as_space: false,
        }
    }
}

/// The fields of a query or a body, in the order sent.
///
/// `&` and `;` separate fields, the first `=` separates name and value, and both are
/// percent-decoded after that, so that an encoded separator is text. The charset is decided once
/// per field ([`Text::decide`]). Nothing is an error: a bad percent escape stays as it is.
///
/// ```
/// use engine::form::urlencoded::{Options, parse};
///
/// let fields: Vec<_> = parse(b"a=b%26c;d", &Options::default()).collect();
/// assert_eq!(fields[0].value, Some("b&c".into()));
/// assert_eq!((&fields[1].name, &fields[1].value), (&"d".into(), &None));
/// ```
pub fn parse<'a>(input: &'a [u8], options: &Options) -> impl Iterator<Item = Field> + use<'a> {
    let plus = Plus::of(options);
    Split::new(input, Separator::AmpersandOrSemicolon, options.max_fields)
        .map(move |field| decode_field(field, plus))
}

/// Those fields that [`parse`] gives with this name, which is ASCII. Most of the others are not
/// decoded.
///
/// ```
/// use engine::form::urlencoded::{Options, named};
///
/// let mut fields = named(b"a=1;b=2&%61=3", b"a", &Options::default());
/// assert_eq!(fields.next().unwrap().value, Some("1".into()));
/// assert_eq!(fields.next().unwrap().value, Some("3".into()));
/// assert_eq!(fields.next(), None);
/// ```
pub fn named<'a>(
    input: &'a [u8],
    name: &'a [u8],
    options: &Options,
) -> impl Iterator<Item = Field> + use<'a> {
    let plus = Plus::of(options);
    Split::new(input, Separator::AmpersandOrSemicolon, options.max_fields)
        .filter(move |field| may_have_name(field, name))
        .map(move |field| decode_field(field, plus))
        .filter(move |field| field.name.as_bytes() == name)
}

/// Whether the field, not decoded, begins with the name or with something that is more than it
/// seems.
fn may_have_name(field: &[u8], name: &[u8]) -> bool {
    let raw_name = field.split(|&byte| byte == b'=').next();
    raw_name.is_some_and(|raw_name| raw_name == name || memchr2(b'%', b'+', raw_name).is_some())
}

/// Whether [`parse`] gives any field at all.
pub fn has_fields(input: &[u8], options: &Options) -> bool {
    let mut fields = Split::new(input, Separator::AmpersandOrSemicolon, options.max_fields);
    fields.next().is_some()
}

/// Percent-decodes bytes, and tells whether the outcome is valid UTF-8 as Perl has it.
///
/// ```
/// use engine::form::urlencoded::decode;
///
/// assert_eq!(decode(b"%D0%B6+%zz"), ("ж+%zz".into(), true));
/// assert_eq!(decode(b"%ff"), (vec![0xff], false));
/// ```
pub fn decode(input: &[u8]) -> (Vec<u8>, bool) {
    let decoded = match memchr(b'%', input) {
        Some(_) => percent_decode(input).collect(),
        None => input.to_vec(),
    };
    let valid = is_valid(&decoded);
    (decoded, valid)
}

/// What `+` stands for.
#[derive(Clone, Copy)]
pub(super) enum Plus {
    Literal,
    Space,
}

impl Plus {
    fn of(options: &Options) -> Plus {
        match options.plus_as_space {
            true => Plus::Space,
            false => Plus::Literal,
        }
    }
}

pub(super) fn decode_field(field: &[u8], plus: Plus) -> Field {
    let field = match plus {
        Plus::Literal => Cow::Borrowed(field),
        Plus::Space => Cow::Owned(plus_to_space(field)),
    };
    let (name, value) = match memchr(b'=', &field) {
        Some(equals) => (
            field.get(..equals).unwrap_or_default(),
            field.get(equals + 1..),
        ),
        None => (&field[..], None),
    };
    let (name, name_valid) = decode(name);
    let value = value.map(decode);
    // One decision for both: `=` is ASCII, so the whole is valid exactly if both halves are.
    let valid = name_valid && value.as_ref().is_none_or(|(_, valid)| *valid);
    let text = if valid {
        Text::from_valid
    } else {
        Text::from_cp1251
    };
    Field {
        name: text(name),
        value: value.map(|(value, _)| text(value)),
    }
}

fn plus_to_space(field: &[u8]) -> Vec<u8> {
    let space = |&byte: &u8| if byte == b'+' { b' ' } else { byte };
    field.iter().map(space).collect()
}

/// What stands between two fields.
#[derive(Clone, Copy)]
pub(super) enum Separator {
    /// `&` or `;`.
    AmpersandOrSemicolon,
    /// `"; "` exactly.
    SemicolonSpace,
}

impl Separator {
    fn find(self, input: &[u8]) -> Option<Range<usize>> {
        match self {
            Separator::AmpersandOrSemicolon => memchr2(b'&', b';', input).map(|at| at..at + 1),
            Separator::SemicolonSpace => memmem::find(input, b"; ").map(|at| at..at + 2),
        }
    }

    fn strip_from_end(self, input: &[u8]) -> Option<&[u8]> {
        match self {
            Separator::AmpersandOrSemicolon => input
                .strip_suffix(b"&")
                .or_else(|| input.strip_suffix(b";")),
            Separator::SemicolonSpace => input.strip_suffix(b"; "),
        }
    }
}

/// Perl's `split` with a limit (perlfunc), over bytes.
pub(super) struct Split<'a> {
    /// `None` when all is given out.
    rest: Option<&'a [u8]>,
    separator: Separator,
    /// How many fields may still come; `None`: any number.
    left: Option<u64>,
}

impl<'a> Split<'a> {
    /// Splits `input` into `limit` fields at most. 0: unlimited, without empty fields at the end.
    pub(super) fn new(mut input: &'a [u8], separator: Separator, limit: u64) -> Split<'a> {
        if limit == 0 {
            while let Some(stripped) = separator.strip_from_end(input) {
                input = stripped;
            }
        }
        Split {
            rest: Some(input).filter(|input| !input.is_empty()),
            separator,
            left: Some(limit).filter(|&limit| limit > 0),
        }
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        if self.left == Some(1) {
            return Some(rest);
        }
        let Some(found) = self.separator.find(rest) else {
            return Some(rest);
        };
        self.left = self.left.map(|left| left - 1);
        self.rest = rest.get(found.end..);
        rest.get(..found.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Options = Options {
        max_fields: 1024,
        plus_as_space: false,
    };
    const PLUS_AS_SPACE: Options = Options {
        plus_as_space: true,
        ..DEFAULT
    };
    const TWO_FIELDS: Options = Options {
        max_fields: 2,
        ..DEFAULT
    };
    const UNLIMITED: Options = Options {
        max_fields: 0,
        ..DEFAULT
    };

    macro_rules! fields {
        ($($name:ident: $input:expr, $options:expr => [$($field:expr),*];)*) => {$(
            #[test]
            fn $name() {
                let expected: Vec<(&str, Option<&str>)> = vec![$($field),*];
                let expected: Vec<Field> = expected
                    .into_iter()
                    .map(|(name, value)| Field { name: name.into(), value: value.map(Text::from) })
                    .collect();
                assert_eq!(parse($input, &$options).collect::<Vec<_>>(), expected);
            }
        )*};
    }

    fields! {
        second_equals_sign: b"a=b=c", DEFAULT => [("a", Some("b=c"))];
        encoded_second_equals_sign: b"a=b%3Dc", DEFAULT => [("a", Some("b=c"))];
        encoded_equals_sign: b"a%3Db=c", DEFAULT => [("a=b", Some("c"))];
        base64: b"a=b==", DEFAULT => [("a", Some("b=="))];
        encoded_separators: b"a=b%26c%3Bd", DEFAULT => [("a", Some("b&c;d"))];
        empty_value: b"a=", DEFAULT => [("a", Some(""))];
        no_value: b"a", DEFAULT => [("a", None)];
        no_name: b"=x", DEFAULT => [("", Some("x"))];
        empty_field: b"a=1&&b=2", DEFAULT => [("a", Some("1")), ("", None), ("b", Some("2"))];
        nothing: b"", DEFAULT => [];
        plus_is_itself: b"a+b=c+d%2B", DEFAULT => [("a+b", Some("c+d+"))];
        plus_as_space: b"a+b=c+d%2B", PLUS_AS_SPACE => [("a b", Some("c d+"))];
        ampersand_and_semicolon: b"a=1;b=2&c=3", DEFAULT
            => [("a", Some("1")), ("b", Some("2")), ("c", Some("3"))];
        empty_at_both_ends: b"&a=1;", DEFAULT => [("", None), ("a", Some("1")), ("", None)];
        rest_in_the_last_field: b"a=1&b=2&c=3;d", TWO_FIELDS => [("a", Some("1")), ("b", Some("2&c=3;d"))];
        empty_end_at_the_limit: b"a=1&", TWO_FIELDS => [("a", Some("1")), ("", None)];
        empty_end_unlimited: b"&a=1&;", UNLIMITED => [("", None), ("a", Some("1"))];
        only_separators_unlimited: b"&;&", UNLIMITED => [];
        escape_without_hexadecimals: b"%zz=%gg", DEFAULT => [("%zz", Some("%gg"))];
        escape_cut_short: b"%4=%", DEFAULT => [("%4", Some("%"))];
        escape_behind_percent: b"%%41=%4%41", DEFAULT => [("%A", Some("%4A"))];
        utf_8: b"%D0%B6=\xd0\xb6", DEFAULT => [("ж", Some("ж"))];
        cp1251: b"a=%E6", DEFAULT => [("a", Some("ж"))];
        one_charset_for_name_and_value: b"%D0%B6=%E6&%E6=%D0%B6&%D0%B6=%D0%B6", DEFAULT
            => [("Р¶", Some("ж")), ("ж", Some("Р¶")), ("ж", Some("ж"))];
        character_cut_by_the_equals_sign: b"%D0=%B6", DEFAULT => [("Р", Some("¶"))];
    }

    #[test]
    fn surrogates_and_great_code_points_stay_as_they_are() {
        let field = parse(b"%ED%A0%80=%F4%90%80%80", &DEFAULT).next().unwrap();
        assert_eq!(field.name.as_bytes(), b"\xed\xa0\x80");
        assert_eq!(field.value.unwrap().as_bytes(), b"\xf4\x90\x80\x80");
    }
}
