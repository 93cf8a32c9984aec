//! Values of header fields, of requests and replies alike.

/// Whether a list such as the value of `Connection` has this element, in whatever case
/// (RFC 9110 §5.6.1, §7.6.1).
pub(crate) fn has_option(list: &[u8], option: &[u8]) -> bool {
    list.split(|&byte| byte == b',')
        .any(|element| element.trim_ascii().eq_ignore_ascii_case(option))
}

/// ```text
/// Content-Length = 1*DIGIT                                              ; RFC 9110 §8.6
/// ```
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_in_a_list_in_any_case() {
        for (list, found) in [
            ("close", true),
            ("Upgrade , CLOSE", true),
            (",close,", true),
            ("closed", false),
            ("", false),
        ] {
            assert_eq!(has_option(list.as_bytes(), b"close"), found, "{list}");
        }
    }

    #[test]
    fn a_number_has_digits_alone_and_64_bits() {
        for (digits, value) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("+1", None),
            ("-1", None),
            ("1 ", None),
            ("", None),
        ] {
            assert_eq!(number(digits.as_bytes()), value, "{digits}");
        }
    }
}
