//! What belongs to the engine's handles, found by their slots.

use std::collections::HashMap;
use std::hash::Hash;

use engine::{ListenerId, RequestId};

/// A handle of the engine's: small numbers that are used again, told apart by more
/// than the slot.
pub trait Handle: Copy + Eq + Hash {
    fn slot(self) -> usize;
}

impl Handle for RequestId {
    fn slot(self) -> usize {
        RequestId::slot(&self)
    }
}

impl Handle for ListenerId {
    fn slot(self) -> usize {
        ListenerId::slot(&self)
    }
}

/// A map with handles for keys.
pub struct Slots<I, T> {
    slots: Vec<Option<(I, T)>>,
    /// Those whose slot has another handle by now.
    outlived: HashMap<I, T>,
}

impl<I, T> Default for Slots<I, T> {
    fn default() -> Slots<I, T> {
        Slots {
            slots: Vec::new(),
            outlived: HashMap::new(),
        }
    }
}

impl<I: Handle, T> Slots<I, T> {
    /// Returns what belonged to the same handle before.
    pub fn insert(&mut self, id: I, value: T) -> Option<T> {
        if self.slots.len() <= id.slot() {
            self.slots.resize_with(id.slot() + 1, || None);
        }
        let slot = self.slots.get_mut(id.slot())?;
        match slot.replace((id, value)) {
            Some((former, value)) if former == id => Some(value),
            Some((former, value)) => {
                self.outlived.insert(former, value);
                None
            }
            None if self.outlived.is_empty() => None,
            None => self.outlived.remove(&id),
        }
    }

    pub fn get(&self, id: I) -> Option<&T> {
        match self.slots.get(id.slot()) {
            Some(Some((owner, value))) if *owner == id => Some(value),
            _ => self.outlived.get(&id),
        }
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        let current = self.slots.iter().flatten().map(|(_, value)| value);
        current.chain(self.outlived.values())
    }

    pub fn get_mut(&mut self, id: I) -> Option<&mut T> {
        match self.slots.get_mut(id.slot()) {
            Some(Some((owner, value))) if *owner == id => Some(value),
            _ => self.outlived.get_mut(&id),
        }
    }

    pub fn remove(&mut self, id: I) -> Option<T> {
        let slot = self.slots.get_mut(id.slot());
        match slot.and_then(|slot| slot.take_if(|(owner, _)| *owner == id)) {
            Some((_, value)) => Some(value),
            None if self.outlived.is_empty() => None,
            None => self.outlived.remove(&id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    struct Id(usize, u64);

    impl Handle for Id {
        fn slot(self) -> usize {
            self.0
        }
    }

    #[test]
    fn a_handle_keeps_its_value_when_its_slot_goes_to_another() {
        let (former, latter) = (Id(3, 1), Id(3, 2));
        let mut slots = Slots::default();
        assert_eq!(slots.insert(former, "former"), None);
        assert_eq!(slots.insert(latter, "latter"), None);
        assert_eq!(slots.get(former), Some(&"former"));
        assert_eq!(slots.get(latter), Some(&"latter"));
        assert_eq!(slots.remove(latter), Some("latter"));
        assert_eq!(slots.get_mut(former), Some(&mut "former"));
        assert_eq!(slots.remove(former), Some("former"));
        assert_eq!(slots.get(former), None);
    }

    #[test]
    fn a_second_value_replaces_the_first() {
        let mut slots = Slots::default();
        slots.insert(Id(0, 1), 1);
        assert_eq!(slots.insert(Id(0, 1), 2), Some(1));
        slots.insert(Id(0, 2), 3);
        assert_eq!(slots.remove(Id(0, 2)), Some(3));
        assert_eq!(slots.insert(Id(0, 1), 4), Some(2));
        assert_eq!(slots.get(Id(0, 1)), Some(&4));
        assert_eq!(slots.get(Id(7, 1)), None);
    }
}
