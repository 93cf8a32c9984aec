//! Names of temporary files: nobody can guess one, and a claimed one tells whose the file is.

use std::io;

/// Characters in a name, of 62 kinds.
const LENGTH: usize = 50;

/// Those that tell the owner, from the first on.
const TAG_LENGTH: usize = 11;

/// The last ones, which follow from the others: a name that somebody else has made up is taken
/// for one of ours once in 10^14 times.
const CHECK_LENGTH: usize = 8;

const RANDOM_END: usize = LENGTH - CHECK_LENGTH;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BASE: u64 = ALPHABET.len() as u64;

/// What tells the owners of files in one directory apart. An offset in a file: 62 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u64);

impl Tag {
    const END: u64 = 1 << 62;

    pub(super) fn random() -> io::Result<Tag> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)?;
        Ok(Tag(u64::from_ne_bytes(bytes) % Tag::END))
    }

    pub(super) fn offset(self) -> u64 {
        self.0
    }
}

/// The name of a new file whose owner has this tag. 31 of its characters are random, which
/// are 184 bits.
pub(super) fn claimed(tag: Tag) -> io::Result<String> {
    let mut name = random_characters()?;
    write_number(tag.0, &mut name[..TAG_LENGTH]);
    let check = check(&name[..RANDOM_END]);
    write_number(check, &mut name[RANDOM_END..]);
    Ok(as_string(&name))
}

/// The name of a new file that only its owner ever removes.
pub(super) fn unclaimed() -> io::Result<String> {
    loop {
        let name = random_characters()?;
        if owner(&name).is_none() {
            return Ok(as_string(&name));
        }
    }
}

/// The tag of the owner, if the name is a claimed one.
pub(super) fn owner(name: &[u8]) -> Option<Tag> {
    if name.len() != LENGTH {
        return None;
    }
    let tag = read_number(&name[..TAG_LENGTH]).filter(|tag| *tag < Tag::END)?;
    let is_ours = read_number(&name[RANDOM_END..])? == check(&name[..RANDOM_END]);
    is_ours.then_some(Tag(tag))
}

/// FNV-1a, the same in every release.
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
fn check(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash % BASE.pow(CHECK_LENGTH as u32)
}

fn write_number(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(number % BASE) as usize];
        number /= BASE;
    }
}

/// None for what is no digit, and for a number that is too large.
fn read_number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| {
        let value = ALPHABET.iter().position(|one| one == digit)?;
        number.checked_mul(BASE)?.checked_add(value as u64)
    })
}

fn random_characters() -> io::Result<[u8; LENGTH]> {
    /// Bytes from here on are thrown away, so that every character is as likely as the others.
    const FAIR: u8 = 248;

    let mut name = [0; LENGTH];
    let mut filled = 0;
    while filled < LENGTH {
        let mut random = [0; 64];
        getrandom::fill(&mut random)?;
        let fair = random.iter().filter(|byte| **byte < FAIR);
        for (place, byte) in name.iter_mut().skip(filled).zip(fair) {
            *place = ALPHABET[usize::from(*byte) % ALPHABET.len()];
            filled += 1;
        }
    }
    Ok(name)
}

fn as_string(name: &[u8; LENGTH]) -> String {
    name.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_name_tells_its_owner() {
        for number in [0, 1, 61, 62, u64::from(u32::MAX), Tag::END - 1] {
            let name = claimed(Tag(number)).unwrap();
            assert_eq!(name.len(), LENGTH);
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            assert_eq!(owner(name.as_bytes()), Some(Tag(number)));
        }
    }

    #[test]
    fn no_two_names_are_the_same() {
        let tag = Tag::random().unwrap();
        let mut names: Vec<_> = (0..1000).map(|_| claimed(tag).unwrap()).collect();
        names.extend((0..1000).map(|_| unclaimed().unwrap()));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 2000);
    }

    /// By mere chance one of the 62 is missing somewhere once in more than ten billion runs.
    #[test]
    fn each_random_character_may_be_any() {
        let tag = Tag::random().unwrap();
        let names: Vec<_> = (0..2000).map(|_| claimed(tag).unwrap()).collect();
        for place in TAG_LENGTH..RANDOM_END {
            let mut kinds: Vec<_> = names.iter().map(|name| name.as_bytes()[place]).collect();
            kinds.sort_unstable();
            kinds.dedup();
            assert_eq!(kinds.len(), ALPHABET.len(), "at {place}");
        }
    }

    #[test]
    fn an_unclaimed_name_has_no_owner() {
        for _ in 0..1000 {
            assert_eq!(owner(unclaimed().unwrap().as_bytes()), None);
        }
    }

    #[test]
    fn a_name_that_is_changed_anywhere_has_no_owner() {
        let name = claimed(Tag::random().unwrap()).unwrap().into_bytes();
        for index in 0..LENGTH {
            for other in *b"A9-\0" {
                let mut changed = name.clone();
                changed[index] = other;
                assert_eq!(owner(&changed).is_some(), changed == name);
            }
        }
        assert_eq!(owner(&name[1..]), None);
        assert_eq!(owner(&[&name[..], b"A"].concat()), None);
        assert_eq!(owner(b""), None);
    }

    #[test]
    fn what_is_too_large_for_a_tag_has_no_owner() {
        let mut name = [b'9'; LENGTH];
        let check = check(&name[..RANDOM_END]);
        write_number(check, &mut name[RANDOM_END..]);
        assert_eq!(owner(&name), None);
    }
}
