//! Decoded text as Perl strings.

use engine::form::charset::Text;
use perl_xs::{Key, Perl, Returned, Scalar};

/// A Perl string with the UTF-8 flag.
pub fn scalar(perl: Perl, text: &Text) -> Scalar {
    Scalar::from_perl_utf8(perl, text.as_bytes())
}

/// A hash key with the UTF-8 flag.
pub fn key(text: &Text) -> Key {
    Key {
        bytes: text.as_bytes().to_vec(),
        is_utf8: true,
    }
}

/// The list (bytes or undef, 1 or 0).
pub fn pair(perl: Perl, bytes: Option<&[u8]>, flag: bool) -> Returned {
    let bytes = match bytes {
        Some(bytes) => Scalar::from_bytes(perl, bytes),
        None => Scalar::undef(perl),
    };
    Returned::List(vec![bytes, Scalar::from_integer(perl, flag.into())])
}
