//! Memory for output, which goes from one connection to the next.

/// All of it together.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// What is larger is given back to the system.
const LARGEST: usize = 256 * 1024;

/// Room for a small reply.
const NEW: usize = 512;

/// Vectors that connections have needed for a reply, and others may need for the next.
#[derive(Debug, Default)]
pub(crate) struct OutputPool {
    /// The last is taken first: it is the likeliest to be in the processor's cache.
    vectors: Vec<Vec<u8>>,
    /// INVARIANT: the cost of all vectors together.
    bytes: usize,
}

impl OutputPool {
    /// An empty vector with some room.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let Some(vector) = self.vectors.pop() else {
            return Vec::with_capacity(NEW);
        };
        self.bytes -= cost(&vector);
        vector
    }

    /// A vector that is empty and needed no more.
    pub(crate) fn give(&mut self, vector: Vec<u8>) {
        let bytes = self.bytes + cost(&vector);
        let is_useful = (NEW..=LARGEST).contains(&vector.capacity());
        if is_useful && bytes <= MOST_BYTES {
            self.bytes = bytes;
            self.vectors.push(vector);
        }
    }
}

fn cost(vector: &Vec<u8>) -> usize {
    size_of::<Vec<u8>>() + vector.capacity()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_taken_again() {
        let mut pool = OutputPool::default();
        pool.give(Vec::with_capacity(NEW));
        pool.give(Vec::with_capacity(LARGEST));
        assert_eq!(pool.take().capacity(), LARGEST);
        assert_eq!(pool.take().capacity(), NEW);
        assert_eq!((pool.take().capacity(), pool.bytes), (NEW, 0));
    }

    #[test]
    fn nothing_useless_is_kept_and_not_too_much() {
        let mut pool = OutputPool::default();
        pool.give(Vec::new());
        pool.give(Vec::with_capacity(LARGEST + 1));
        assert!(pool.vectors.is_empty());
        (0..100).for_each(|_| pool.give(Vec::with_capacity(LARGEST)));
        assert_eq!(pool.vectors.len(), MOST_BYTES / LARGEST - 1);
        assert!(pool.bytes <= MOST_BYTES);
    }
}
