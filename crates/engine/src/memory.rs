//! Memory whose size the input or the application decides: where the system has none, that request
//! fails, and not the process.
//!
//! What is small and made for each connection or event is not looked after: a process that is short
//! of that ends, as perl itself does.

use crate::limits::Exceeded;

/// Appends a copy of the bytes.
pub(crate) fn append(to: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Exceeded> {
    reserve(to, bytes.len())?;
    to.extend_from_slice(bytes);
    Ok(())
}

/// A copy of the bytes.
pub(crate) fn copy(bytes: &[u8]) -> Result<Vec<u8>, Exceeded> {
    let mut copied = Vec::new();
    reserve_exactly(&mut copied, bytes.len())?;
    copied.extend_from_slice(bytes);
    Ok(copied)
}

/// Makes room for so many more, and for some to follow.
pub(crate) fn reserve<T>(to: &mut Vec<T>, additional: usize) -> Result<(), Exceeded> {
    to.try_reserve(additional)
        .or_else(|_| to.try_reserve_exact(additional))
        .map_err(|_| Exceeded::Memory)
}

/// Makes room for so many more and none besides.
pub(crate) fn reserve_exactly<T>(to: &mut Vec<T>, additional: usize) -> Result<(), Exceeded> {
    to.try_reserve_exact(additional)
        .map_err(|_| Exceeded::Memory)
}

/// Whether there is room for so many of a kind: for a container that cannot be asked to fail. It
/// then grows at once, so that nobody else is likely to have taken the room.
pub(crate) fn has_room<T>(count: usize) -> Result<(), Exceeded> {
    reserve_exactly(&mut Vec::<T>::new(), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than an address space has.
    const TOO_MANY: usize = usize::MAX / 2;

    #[test]
    fn what_there_is_no_memory_for_is_an_error() {
        let mut bytes = b"a".to_vec();
        assert_eq!(reserve(&mut bytes, TOO_MANY), Err(Exceeded::Memory));
        assert_eq!(reserve_exactly(&mut bytes, TOO_MANY), Err(Exceeded::Memory));
        assert_eq!(has_room::<u64>(TOO_MANY), Err(Exceeded::Memory));
        assert_eq!((append(&mut bytes, b"b"), &bytes[..]), (Ok(()), &b"ab"[..]));
        assert_eq!(copy(&bytes), Ok(bytes));
    }
}
