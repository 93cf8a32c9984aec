//! The values of `Cookie` headers.

use engine::form::cookies;

use crate::input::Input;
use crate::urlencoded::{Pair, field_naively, pair};

/// Checks the parser with what a fuzzer gives.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let most = input.below(6);
    let bytes = input.rest();
    let cookies: Vec<_> = cookies::parse(bytes, most).map(pair).collect();
    assert_eq!(cookies, read_naively(bytes, most));
    assert_eq!(cookies::has_cookies(bytes, most), !cookies.is_empty());
}

/// All cookies; `most` is 0 for any number.
pub fn read_naively(input: &[u8], most: u64) -> Vec<Pair> {
    let cookies = split_naively(input, most as usize);
    cookies.iter().map(|cookie| field_naively(cookie)).collect()
}

fn split_naively(input: &[u8], limit: usize) -> Vec<Vec<u8>> {
    let mut cookies = vec![Vec::new()];
    let mut at = 0;
    while at < input.len() {
        if input[at..].starts_with(b"; ") && cookies.len() != limit {
            cookies.push(Vec::new());
            at += 2;
            continue;
        }
        cookies.last_mut().unwrap().push(input[at]);
        at += 1;
    }
    let keep_empty = limit > 0 && !input.is_empty();
    while !keep_empty && cookies.last().is_some_and(Vec::is_empty) {
        cookies.pop();
    }
    cookies
}
