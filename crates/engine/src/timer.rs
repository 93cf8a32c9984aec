//! Deadlines: at most one for each connection, cheap to put off.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Wakes the engine for its connections.
///
/// A connection keeps its deadline as a field, and putting it off is a write to that field. The
/// heap has an entry for the slot that is due no later; when that is due, the engine looks at
/// the field and arms the slot anew if the deadline is still to come.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    /// By slot: the entry that counts. Any other of the slot is superseded.
    armed: Vec<Option<Instant>>,
}

impl Timers {
    /// Makes sure that the slot is looked at no later than at its deadline.
    pub(crate) fn arm(&mut self, slot: usize, deadline: Instant) {
        if self.armed.len() <= slot {
            self.armed.resize(slot + 1, None);
        }
        let Some(armed) = self.armed.get_mut(slot) else {
            return;
        };
        if armed.is_some_and(|armed| armed <= deadline) {
            return;
        }
        *armed = Some(deadline);
        self.heap.push(Reverse((deadline, slot)));
        self.forget_superseded();
    }

    /// When the engine is to look again.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }

    /// A slot whose entry is due; it is no longer armed.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<usize> {
        while self.next().is_some_and(|due| due <= now) {
            let Reverse((due, slot)) = self.heap.pop()?;
            let armed = self.armed.get_mut(slot)?;
            if *armed == Some(due) {
                *armed = None;
                return Some(slot);
            }
        }
        None
    }

    /// Entries that were superseded stay until they are due, unless they become too many.
    fn forget_superseded(&mut self) {
        if self.heap.len() > 64 + 4 * self.armed.len() {
            let armed = &self.armed;
            self.heap
                .retain(|Reverse((due, slot))| armed.get(*slot) == Some(&Some(*due)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_earliest_deadline_of_a_slot_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        timers.arm(3, at(60));
        timers.arm(3, at(70));
        timers.arm(3, at(2));
        timers.arm(5, at(4));
        assert_eq!(timers.next(), Some(at(2)));
        assert_eq!(timers.pop_due(at(1)), None);
        assert_eq!(timers.pop_due(at(5)), Some(3));
        assert_eq!(timers.pop_due(at(5)), Some(5));
        assert_eq!(timers.pop_due(at(100)), None);
    }

    #[test]
    fn superseded_entries_do_not_pile_up() {
        let start = Instant::now();
        let mut timers = Timers::default();
        for step in (0..100_000).rev() {
            timers.arm(0, start + Duration::from_millis(step));
        }
        assert!(timers.heap.len() < 100);
        assert_eq!(timers.pop_due(start), Some(0));
    }
}
