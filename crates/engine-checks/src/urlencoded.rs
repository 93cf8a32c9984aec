//! Queries and `application/x-www-form-urlencoded` bodies.

use engine::form::charset::Text;
use engine::form::urlencoded::{self, Field, Options};

use crate::charset::{from_cp1251_naively, is_valid_naively, text_naively};
use crate::input::Input;

/// Name and value, decoded, as text.
pub type Pair = (Vec<u8>, Option<Vec<u8>>);

/// What the parser's field is.
pub fn pair(field: Field) -> Pair {
    (field.name.into_bytes(), field.value.map(Text::into_bytes))
}

/// Checks the parser with what a fuzzer gives.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let options = Options {
        max_fields: input.below(6),
        plus_as_space: input.flag(),
    };
    let picked = usize::from(input.byte());
    let bytes = input.rest();
    let fields: Vec<_> = urlencoded::parse(bytes, &options).collect();
    assert_eq!(urlencoded::has_fields(bytes, &options), !fields.is_empty());
    check_decoding(bytes);
    let names: Vec<_> = fields.iter().map(|field| field.name.as_bytes()).collect();
    let name = names.get(picked % (names.len() + 1)).copied();
    check_named(bytes, name.unwrap_or(b"a"), &fields, &options);
    let pairs: Vec<_> = fields.into_iter().map(pair).collect();
    assert_eq!(pairs, read_naively(bytes, &options));
}

fn check_decoding(bytes: &[u8]) {
    let decoded = decode_naively(bytes);
    let valid = is_valid_naively(&decoded);
    assert_eq!(urlencoded::decode(bytes), (decoded, valid));
}

fn check_named(bytes: &[u8], name: &[u8], fields: &[Field], options: &Options) {
    if !name.is_ascii() {
        return;
    }
    let found: Vec<_> = urlencoded::named(bytes, name, options).collect();
    let has_name = |field: &&Field| field.name.as_bytes() == name;
    let expected: Vec<_> = fields.iter().filter(has_name).collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
}

/// All fields.
pub fn read_naively(input: &[u8], options: &Options) -> Vec<Pair> {
    let is_separator = |byte: &u8| *byte == b'&' || *byte == b';';
    split_naively(input, options.max_fields as usize, is_separator)
        .into_iter()
        .map(|mut field| {
            let plus = field.iter_mut().filter(|byte| **byte == b'+');
            if options.plus_as_space {
                plus.for_each(|byte| *byte = b' ');
            }
            field_naively(&field)
        })
        .collect()
}

/// By the words of perlfunc: split everything, join what is too much, drop empty ends.
fn split_naively(input: &[u8], limit: usize, is_separator: fn(&u8) -> bool) -> Vec<Vec<u8>> {
    if input.is_empty() {
        return Vec::new();
    }
    if limit > 0 {
        let fields = input.splitn(limit, is_separator);
        return fields.map(<[u8]>::to_vec).collect();
    }
    let mut fields: Vec<_> = input.split(is_separator).map(<[u8]>::to_vec).collect();
    while fields.last().is_some_and(Vec::is_empty) {
        fields.pop();
    }
    fields
}

fn decode_naively(input: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < input.len() {
        let escape = input
            .get(at + 1..at + 3)
            .filter(|digits| input[at] == b'%' && digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(escape.unwrap_or(input[at]));
        at += if escape.is_some() { 3 } else { 1 };
    }
    decoded
}

pub(crate) fn field_naively(field: &[u8]) -> Pair {
    let equals = field.iter().position(|&byte| byte == b'=');
    let name = decode_naively(&field[..equals.unwrap_or(field.len())]);
    let value = equals.map(|equals| decode_naively(&field[equals + 1..]));
    let whole = [&name[..], b"=", value.as_deref().unwrap_or_default()].concat();
    // The charset of both is that of the whole.
    let text = match is_valid_naively(&whole) {
        true => text_naively,
        false => from_cp1251_naively,
    };
    (text(&name), value.map(|value| text(&value)))
}
