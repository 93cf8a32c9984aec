//! Text whose charset nobody has told: UTF-8 as Perl extends it (perlunicode), or else cp1251.

/// What becomes of bytes that may be either.
pub fn text_naively(bytes: &[u8]) -> Vec<u8> {
    match is_valid_naively(bytes) {
        true => bytes.to_vec(),
        false => from_cp1251_naively(bytes),
    }
}

/// Whether these are characters, each in the only form it may have.
pub fn is_valid_naively(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(&first) = rest.first() {
        let length = match first.leading_ones() {
            0 => 1,
            1 => return false,
            8 => 13,
            ones => ones as usize,
        };
        let Some((character, behind)) = rest.split_at_checked(length) else {
            return false;
        };
        if encode(decode(character)).as_deref() != Some(character) {
            return false;
        }
        rest = behind;
    }
    true
}

/// The number of a character, whatever its bytes are: the bits behind the ones at the front of
/// the first, and six of each other.
fn decode(character: &[u8]) -> u128 {
    let (&first, continuation) = character.split_first().unwrap();
    let value = match first.leading_ones() {
        ones @ 0..=6 => first & (0x7f >> ones),
        _ => 0,
    };
    let bits = continuation.iter().map(|byte| u128::from(byte & 0x3f));
    bits.fold(u128::from(value), |value, bits| value << 6 | bits)
}

/// The shortest form; `None` if there is none.
fn encode(value: u128) -> Option<Vec<u8>> {
    let (length, ones) = match value {
        0..0x80 => return Some(vec![value as u8]),
        0x80..0x800 => (2, 0xc0),
        0x800..0x1_0000 => (3, 0xe0),
        0x1_0000..0x20_0000 => (4, 0xf0),
        0x20_0000..0x400_0000 => (5, 0xf8),
        0x400_0000..0x8000_0000 => (6, 0xfc),
        0x8000_0000..0x10_0000_0000 => (7, 0xfe),
        0x10_0000_0000..0x8000_0000_0000_0000 => (13, 0xff),
        _ => return None,
    };
    let six = |place: usize| (value >> (6 * place)) as u8 & 0x3f;
    let mut character: Vec<u8> = (0..length).rev().map(|place| 0x80 | six(place)).collect();
    character[0] = ones | six(length - 1);
    Some(character)
}

/// Each byte is a character.
pub fn from_cp1251_naively(bytes: &[u8]) -> Vec<u8> {
    let upper: Vec<_> = UPPER.split_whitespace().collect();
    let text: String = bytes
        .iter()
        .map(|&byte| match byte {
            0..0x80 => char::from(byte),
            0x80..0xc0 => {
                let number = u32::from_str_radix(upper[usize::from(byte) - 0x80], 16);
                char::from_u32(number.unwrap()).unwrap()
            }
            0xc0.. => char::from_u32(u32::from(byte) - 0xc0 + 0x410).unwrap(),
        })
        .collect();
    text.into_bytes()
}

/// The code points of cp1251 from 0x80 to 0xBF, as the module Encode of perl 5.36 has them.
const UPPER: &str = "
    0402 0403 201a 0453 201e 2026 2020 2021 20ac 2030 0409 2039 040a 040c 040b 040f
    0452 2018 2019 201c 201d 2022 2013 2014 fffd 2122 0459 203a 045a 045c 045b 045f
    00a0 040e 045e 0408 00a4 0490 00a6 00a7 0401 00a9 0404 00ab 00ac 00ad 00ae 0407
    00b0 00b1 0406 0456 0491 00b5 00b6 00b7 0451 2116 0454 00bb 0458 0405 0455 0457";
