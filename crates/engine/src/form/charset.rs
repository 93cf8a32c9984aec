//! Decides the charset of a decoded field: UTF-8 as Perl has it, or else cp1251.

use std::fmt;

use crate::limits::Exceeded;

/// Text in Perl's extended UTF-8, as the buffer of a scalar with the UTF-8 flag holds it.
///
/// Perl's encoding is UTF-8 without its upper bounds: surrogates and code points above U+10FFFF,
/// up to 2⁶³−1 in 13 bytes, are encoded by the same scheme; overlong forms are not valid (perlunicode,
/// `is_utf8_string` in perlapi). So the bytes are not always a Rust `str`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Text(Vec<u8>);

impl Text {
    /// Takes bytes whose charset nobody has told: they stay as they are if they are valid, and else
    /// are read as cp1251, in which each byte is a character (0x98 is none: U+FFFD).
    ///
    /// ```
    /// use engine::form::charset::Text;
    ///
    /// assert_eq!(Text::decide("я".into()), Text::from("я"));
    /// assert_eq!(Text::decide(vec![0xff]), Text::from("я"));
    /// ```
    pub fn decide(bytes: Vec<u8>) -> Text {
        if is_valid(&bytes) {
            return Text(bytes);
        }
        Text::from_cp1251(bytes)
    }

    /// Reads bytes as cp1251; never fails.
    pub fn from_cp1251(bytes: Vec<u8>) -> Text {
        let mut text = String::with_capacity(length_of_cp1251(&bytes));
        text.extend(bytes.iter().copied().map(cp1251_character));
        Text(text.into_bytes())
    }

    /// The same as [`decide`](Text::decide) for what may be large.
    ///
    /// # Errors
    ///
    /// [`Exceeded::Memory`]
    pub(crate) fn try_decide(bytes: Vec<u8>) -> Result<Text, Exceeded> {
        if is_valid(&bytes) {
            return Ok(Text(bytes));
        }
        let mut text = String::new();
        let room = text.try_reserve_exact(length_of_cp1251(&bytes));
        room.map_err(|_| Exceeded::Memory)?;
        text.extend(bytes.iter().copied().map(cp1251_character));
        Ok(Text(text.into_bytes()))
    }

    /// Takes bytes for which [`is_valid`] has been seen to hold.
    pub(super) fn from_valid(bytes: Vec<u8>) -> Text {
        Text(bytes)
    }

    /// The bytes, in Perl's extended UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, in Perl's extended UTF-8.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes ASCII characters by `map`, or removes those it maps to `None`.
    pub(super) fn map_ascii(mut self, map: impl Fn(u8) -> Option<u8>) -> Text {
        self.0.retain_mut(|byte| {
            if !byte.is_ascii() {
                return true;
            }
            // What takes the place of an ASCII character is one too, so the encoding stays valid.
            match map(*byte).filter(u8::is_ascii) {
                Some(mapped) => {
                    *byte = mapped;
                    true
                }
                None => false,
            }
        });
        self
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Text({:?})", String::from_utf8_lossy(&self.0))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.into())
    }
}

/// Whether bytes are valid in Perl's extended UTF-8; see [`Text`].
///
/// ```
/// use engine::form::charset::is_valid;
///
/// assert!(is_valid("ж".as_bytes()));
/// assert!(is_valid(b"\xed\xa0\x80"), "a surrogate");
/// assert!(!is_valid(b"\xc0\x80"), "overlong");
/// ```
pub fn is_valid(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        // The standard library is fast on what nearly all text is; only where it stops is there a
        // character to judge here.
        let Err(error) = std::str::from_utf8(rest) else {
            return true;
        };
        let beyond = rest.get(error.valid_up_to()..).unwrap_or_default();
        let Some(length) = extended_character(beyond) else {
            return false;
        };
        rest = beyond.get(length..).unwrap_or_default();
    }
}

/// The length of the character at the beginning of `bytes`; `None` if there is none that is valid.
///
/// ```text
/// bytes  first byte  second byte at least (below: overlong)
/// 3      E0..EF      A0 after E0
/// 4      F0..F7      90 after F0
/// 5      F8..FB      88 after F8
/// 6      FC..FD      84 after FC
/// 7      FE          82
/// 13     FF          value from 2³⁶ to 2⁶³−1
/// ```
fn extended_character(bytes: &[u8]) -> Option<usize> {
    let (&first, rest) = bytes.split_first()?;
    let (length, second) = match first {
        0xe0 => (3, 0xa0),
        0xe1..=0xef => (3, 0x80),
        0xf0 => (4, 0x90),
        0xf1..=0xf7 => (4, 0x80),
        0xf8 => (5, 0x88),
        0xf9..=0xfb => (5, 0x80),
        0xfc => (6, 0x84),
        0xfd => (6, 0x80),
        0xfe => (7, 0x82),
        0xff => (13, 0x80),
        _ => return None,
    };
    let continuation = rest.get(..length - 1)?;
    if continuation.iter().any(|&byte| byte & 0xc0 != 0x80) || *continuation.first()? < second {
        return None;
    }
    if first == 0xff && !is_longest_form(continuation) {
        return None;
    }
    Some(length)
}

/// Whether 12 continuation bytes hold a value that needs them and that fits a signed 64-bit number.
fn is_longest_form(continuation: &[u8]) -> bool {
    let value = continuation
        .iter()
        .fold(0_u128, |value, &byte| value << 6 | u128::from(byte & 0x3f));
    (1 << 36..1 << 63).contains(&value)
}

fn length_of_cp1251(bytes: &[u8]) -> usize {
    let lengths = bytes.iter().map(|&byte| cp1251_character(byte).len_utf8());
    lengths.sum()
}

fn cp1251_character(byte: u8) -> char {
    let character = match byte {
        0x00..=0x7f => Some(char::from(byte)),
        0x80..=0xbf => CP1251_80_TO_BF.get(usize::from(byte - 0x80)).copied(),
        // А to я stand in the order of Unicode.
        0xc0..=0xff => char::from_u32(0x410 + u32::from(byte - 0xc0)),
    };
    character.unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The upper half of cp1251 as far as it is not in the order of Unicode. 0x98 is not assigned (the
/// WHATWG's windows-1251 has U+0098 there).
const CP1251_80_TO_BF: [char; 64] = [
    'Ђ', 'Ѓ', '‚', 'ѓ', '„', '…', '†', '‡', '€', '‰', 'Љ', '‹', 'Њ', 'Ќ', 'Ћ', 'Џ', // 80
    'ђ', '‘', '’', '“', '”', '•', '–', '—', '\u{fffd}', '™', 'љ', '›', 'њ', 'ќ', 'ћ',
    'џ', // 90
    '\u{a0}', 'Ў', 'ў', 'Ј', '¤', 'Ґ', '¦', '§', 'Ё', '©', 'Є', '«', '¬', '\u{ad}', '®',
    'Ї', // A0
    '°', '±', 'І', 'і', 'ґ', 'µ', '¶', '·', 'ё', '№', 'є', '»', 'ј', 'Ѕ', 'ѕ', 'ї', // B0
];

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! validity {
        ($($name:ident: $bytes:expr => $expected:expr;)*) => {$(
            #[test]
            fn $name() {
                // Between other characters too, so that the position is right.
                for (before, after) in [("", ""), ("aж", "жa")] {
                    let bytes = [before.as_bytes(), $bytes, after.as_bytes()].concat();
                    assert_eq!(is_valid(&bytes), $expected);
                }
            }
        )*};
    }

    // Each as `utf8::decode` of perl 5.36 has it.
    validity! {
        nothing: b"" => true;
        ascii: b"a\0\x7f" => true;
        cyrillic: "Жяї".as_bytes() => true;
        emoji: "\u{1f600}".as_bytes() => true;
        noncharacter: b"\xef\xbf\xbf" => true;
        surrogate: b"\xed\xa0\x80" => true;
        above_10ffff: b"\xf4\x90\x80\x80" => true;
        four_bytes_greatest: b"\xf7\xbf\xbf\xbf" => true;
        five_bytes_least: b"\xf8\x88\x80\x80\x80" => true;
        six_bytes_greatest: b"\xfd\xbf\xbf\xbf\xbf\xbf" => true;
        seven_bytes_least: b"\xfe\x82\x80\x80\x80\x80\x80" => true;
        thirteen_bytes_least: b"\xff\x80\x80\x80\x80\x80\x81\x80\x80\x80\x80\x80\x80" => true;
        thirteen_bytes_greatest: b"\xff\x80\x87\xbf\xbf\xbf\xbf\xbf\xbf\xbf\xbf\xbf\xbf" => true;
        thirteen_bytes_too_great: b"\xff\x80\x88\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80" => false;
        thirteen_bytes_overlong: b"\xff\x80\x80\x80\x80\x80\x80\xbf\xbf\xbf\xbf\xbf\xbf" => false;
        seven_bytes_overlong: b"\xfe\x81\xbf\xbf\xbf\xbf\xbf" => false;
        six_bytes_overlong: b"\xfc\x83\xbf\xbf\xbf\xbf" => false;
        five_bytes_overlong: b"\xf8\x87\xbf\xbf\xbf" => false;
        four_bytes_overlong: b"\xf0\x8f\xbf\xbf" => false;
        three_bytes_overlong: b"\xe0\x9f\xbf" => false;
        two_bytes_overlong: b"\xc1\xbf" => false;
        truncated: b"\xd0" => false;
        truncated_thirteen: b"\xff\x80\x80\x80\x80\x80\x81\x80\x80\x80\x80\x80" => false;
        continuation_alone: b"\x80" => false;
        no_continuation: b"\xf8\x88\x80\x80a" => false;
    }

    #[test]
    fn cp1251_is_that_of_encode() {
        let all: Vec<u8> = (0..=255).collect();
        let expected = engine_checks::charset::from_cp1251_naively(&all);
        assert_eq!(Text::from_cp1251(all).into_bytes(), expected);
    }

    #[test]
    fn what_is_not_utf_8_is_cp1251() {
        assert_eq!(
            Text::decide(b"\xcf\xf0\xe8\xe2\xe5\xf2".into()),
            "Привет".into()
        );
        assert_eq!(Text::decide("Привет".into()), "Привет".into());
    }
}
