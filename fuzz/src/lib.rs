//! Replays what the fuzzers have found worth keeping, and what is in their dictionaries.

use std::fs;
use std::path::Path;

/// Holds all of a corpus and of a dictionary to the checks of a target.
pub fn replay(target: &str, check: fn(&[u8])) {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = fs::read_dir(base.join("corpora").join(target)).unwrap();
    let mut inputs: Vec<_> = corpus.map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "the corpus of {target} is there");
    for input in inputs {
        println!("{}", input.display());
        check(&fs::read(input).unwrap());
    }
    let dictionary = fs::read_to_string(base.join(format!("dictionaries/{target}.dict"))).unwrap();
    let tokens: Vec<_> = dictionary.lines().filter_map(token).collect();
    assert!(!tokens.is_empty(), "the dictionary of {target} can be read");
    tokens.iter().for_each(|token| check(token));
    check(&tokens.concat());
}

/// The bytes of a line `"..."`, in which `\\`, `\"` and `\xNN` are escapes.
fn token(line: &str) -> Option<Vec<u8>> {
    let quoted = line.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::new();
    let mut rest = quoted.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = match (first, behind) {
            (b'\\', [b'x', high, low, behind @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                behind
            }
            (b'\\', [escaped, behind @ ..]) => {
                bytes.push(*escaped);
                behind
            }
            _ => {
                bytes.push(*first);
                behind
            }
        };
    }
    Some(bytes)
}
