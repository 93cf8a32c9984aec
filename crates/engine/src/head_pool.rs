//! Heads of requests that are filled again, so that a request costs no allocation.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::event::Head;

/// All heads together are 4 MiB at most.
const MOST_HEADS: usize = 1024;
const LARGEST_HEAD: usize = 4096;

/// Heads that are looked at in search of one that nobody has any more.
const LOOKED_AT: usize = 4;

/// Shares the heads that the application has, and takes those again that it has let go of.
#[derive(Debug, Default)]
pub(crate) struct HeadPool {
    /// Those that were filled longest ago come first, since they are let go of first.
    heads: VecDeque<Rc<Head>>,
}

impl HeadPool {
    /// A head to be filled, which nobody else has.
    pub(crate) fn take(&mut self) -> Rc<Head> {
        for _ in 0..LOOKED_AT {
            let Some(mut head) = self.heads.pop_front() else {
                break;
            };
            if Rc::get_mut(&mut head).is_some() {
                return head;
            }
            self.heads.push_back(head);
        }
        Rc::default()
    }

    /// A head that was not filled after all.
    pub(crate) fn give_back(&mut self, head: Rc<Head>) {
        if self.heads.len() < MOST_HEADS {
            self.heads.push_front(head);
        }
    }

    /// This one may be filled again once everybody else has let go of it.
    pub(crate) fn share(&mut self, head: &Rc<Head>) {
        if self.heads.len() < MOST_HEADS && head.request.capacity() <= LARGEST_HEAD {
            self.heads.push_back(Rc::clone(head));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head_reader::HeadReader;
    use crate::limits::Limits;

    fn fill(head: &mut Rc<Head>, target_length: usize) {
        let request = format!("GET /{} HTTP/1.0\r\n\r\n", "a".repeat(target_length));
        let limits = Limits {
            uri: 10_000,
            ..Limits::default()
        };
        let request_head = &mut Rc::get_mut(head).unwrap().request;
        let read = HeadReader::default().read(request_head, request.as_bytes(), &limits);
        assert_eq!(read, Ok(Some(request.len())));
    }

    #[test]
    fn a_head_is_taken_again_once_it_was_let_go() {
        let mut pool = HeadPool::default();
        let mut head = pool.take();
        fill(&mut head, 1);
        pool.share(&head);
        assert!(!Rc::ptr_eq(&head, &pool.take()));
        let address = Rc::as_ptr(&head);
        drop(head);
        assert_eq!(Rc::as_ptr(&pool.take()), address);
    }

    #[test]
    fn those_that_are_kept_for_long_do_not_hide_the_others() {
        let mut pool = HeadPool::default();
        let kept: Vec<_> = (0..20)
            .map(|_| {
                let head = pool.take();
                pool.share(&head);
                head
            })
            .collect();
        let free = Rc::default();
        pool.share(&free);
        let address = Rc::as_ptr(&free);
        drop(free);
        assert!((0..20).any(|_| Rc::as_ptr(&pool.take()) == address));
        drop(kept);
    }

    #[test]
    fn a_large_head_is_not_kept_and_not_more_than_some() {
        let mut pool = HeadPool::default();
        let mut large = pool.take();
        fill(&mut large, LARGEST_HEAD);
        pool.share(&large);
        assert!(pool.heads.is_empty());
        let heads: Vec<Rc<Head>> = (0..2 * MOST_HEADS).map(|_| Rc::default()).collect();
        heads.iter().for_each(|head| pool.share(head));
        heads.into_iter().for_each(|head| pool.give_back(head));
        assert_eq!(pool.heads.len(), MOST_HEADS);
    }
}
