//! Until when the system has told of everything that had come.

use std::time::Instant;

/// What the system tells of at a time does not cover everything where many clients send. It tells of
/// each descriptor once, in the order in which something came: after as many as there were when it
/// began, it has told of all that had something then.
#[derive(Debug)]
pub(super) struct Told {
    until: Instant,
    telling: Option<Telling>,
}

/// It had more to tell than it does at a time.
#[derive(Debug)]
struct Telling {
    since: Instant,
    /// Of how many it may still have to tell.
    left: usize,
}

impl Told {
    pub(super) fn new(now: Instant) -> Told {
        Told {
            until: now,
            telling: None,
        }
    }

    /// What had come by then is known, be it late or in time.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// The system, asked at this time, has told of everything.
    pub(super) fn of_all(&mut self, asked: Instant) {
        self.until = asked;
        self.telling = None;
    }

    /// The system, asked at this time about so many descriptors, has told of some.
    pub(super) fn of_some(&mut self, asked: Instant, told: usize, descriptors: usize) {
        let telling = self.telling.get_or_insert(Telling {
            since: asked,
            left: descriptors,
        });
        telling.left = telling.left.saturating_sub(told);
        if telling.left == 0 {
            self.until = telling.since;
            self.telling = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The beginning, and the seconds behind it.
    fn seconds() -> impl Fn(u64) -> Instant {
        let beginning = Instant::now();
        move |second| beginning + Duration::from_secs(second)
    }

    #[test]
    fn who_tells_of_all_has_told_until_it_was_asked() {
        let at = seconds();
        let mut told = Told::new(at(0));
        told.of_all(at(1));
        assert_eq!(told.until(), at(1));
        told.of_some(at(2), 1024, 3000);
        told.of_all(at(3));
        assert_eq!(told.until(), at(3));
    }

    #[test]
    fn all_that_were_there_when_it_began_have_to_be_told_of() {
        let at = seconds();
        let mut told = Told::new(at(0));
        told.of_some(at(1), 1024, 3000);
        // Those that were told of may be gone by now; the others are not told of for that.
        told.of_some(at(2), 1024, 1976);
        assert_eq!(told.until(), at(0));
        told.of_some(at(3), 1024, 952);
        assert_eq!(told.until(), at(1));
    }

    #[test]
    fn it_comes_round_again_while_everybody_sends() {
        let at = seconds();
        let mut told = Told::new(at(0));
        for round in 0..100 {
            let asked = 2 * round + 1;
            told.of_some(at(asked), 1024, 2048);
            told.of_some(at(asked + 1), 1024, 2048);
            assert_eq!(told.until(), at(asked));
        }
    }
}
