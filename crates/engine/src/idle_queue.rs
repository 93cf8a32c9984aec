//! Which connections idle, in the order in which they began to.

use std::collections::VecDeque;

use crate::event::RequestId;

/// Connections that wait for another request: those that have waited the longest come first.
///
/// A connection that has got a request meanwhile leaves its entry behind, which is known by the
/// number of that request and forgotten later.
#[derive(Debug, Default)]
pub(crate) struct IdleQueue {
    entries: VecDeque<RequestId>,
    /// How many there were when all were looked at last.
    looked_at: usize,
}

impl IdleQueue {
    /// The connection that this request is awaited on begins to idle.
    pub(crate) fn push(&mut self, request: RequestId, idles: impl Fn(RequestId) -> bool) {
        self.entries.push_back(request);
        // As many as are kept come before the next look at all of them.
        if self.entries.len() > 64 + 2 * self.looked_at {
            self.entries.retain(|entry| idles(*entry));
            self.looked_at = self.entries.len();
        }
    }

    /// The one that has idled the longest, and still does.
    pub(crate) fn first(&mut self, idles: impl Fn(RequestId) -> bool) -> Option<RequestId> {
        while let Some(request) = self.entries.front().copied() {
            if idles(request) {
                return Some(request);
            }
            self.entries.pop_front();
        }
        None
    }

    /// Takes the one that is `first`.
    pub(crate) fn pop(&mut self) {
        self.entries.pop_front();
    }

    pub(crate) fn clear(&mut self) {
        *self = IdleQueue::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(generation: u64) -> RequestId {
        RequestId {
            slot: 0,
            generation,
        }
    }

    #[test]
    fn the_first_is_the_one_that_has_idled_the_longest_and_still_does() {
        let mut queue = IdleQueue::default();
        for generation in 1..=4 {
            queue.push(request(generation), |_| true);
        }
        let idles = |request: RequestId| request.generation % 2 == 0;
        assert_eq!(queue.first(idles), Some(request(2)));
        assert_eq!(queue.first(idles), Some(request(2)));
        queue.pop();
        assert_eq!(queue.first(idles), Some(request(4)));
        queue.pop();
        assert_eq!(queue.first(idles), None);
    }

    #[test]
    fn those_that_idle_no_more_do_not_pile_up() {
        let mut queue = IdleQueue::default();
        for generation in 1..=100_000 {
            queue.push(request(generation), |entry| entry.generation == generation);
        }
        assert!(queue.entries.len() < 100, "{}", queue.entries.len());
    }

    #[test]
    fn all_of_them_are_looked_at_seldom() {
        let mut queue = IdleQueue::default();
        let looks = std::cell::Cell::new(0);
        for generation in 1..=100_000 {
            queue.push(request(generation), |_| {
                looks.set(looks.get() + 1);
                true
            });
        }
        assert!(looks.get() < 200_000, "{looks:?}");
    }
}
