//! Read buffers, and the pieces of them that wait to be parsed or written.

use std::ops::Range;
use std::sync::Arc;

use crate::limits::Exceeded;
use crate::memory;

/// Bytes of one read buffer: what a large upload is read with.
pub(crate) const BUFFER_SIZE: usize = 1024 * 1024;

/// Bytes carried over from read to read beyond which they stay where they are, and the next are
/// read behind them: copying them for each read would take time square to their number.
const MOST_COPIED: usize = 16 * 1024;

/// All buffers together are 16 MiB at most.
const MAXIMUM_BUFFERS: usize = 16;

/// A piece of a buffer that others may hold pieces of as well.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunk {
    /// INVARIANT: `None` if the range is empty, so that nobody keeps a buffer for nothing.
    buffer: Option<Arc<Vec<u8>>>,
    range: Range<usize>,
}

impl Chunk {
    pub(crate) fn bytes(&self) -> &[u8] {
        let buffer = self.buffer.as_deref().map(Vec::as_slice);
        buffer
            .and_then(|bytes| bytes.get(self.range.clone()))
            .unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.range.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Leaves out the first bytes.
    pub(crate) fn advance(&mut self, length: usize) {
        *self = self.part(length..self.len());
    }

    /// A part of this piece, counted from its beginning, sharing the buffer.
    pub(crate) fn part(&self, range: Range<usize>) -> Chunk {
        let end = self.range.end.min(self.range.start + range.end);
        let start = end.min(self.range.start + range.start);
        match &self.buffer {
            Some(buffer) if start < end => Chunk {
                buffer: Some(Arc::clone(buffer)),
                range: start..end,
            },
            _ => Chunk::default(),
        }
    }

    /// Copies more bytes behind its own.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Exceeded> {
        let mut own = Vec::new();
        memory::reserve_exactly(&mut own, self.len() + bytes.len())?;
        own.extend_from_slice(self.bytes());
        own.extend_from_slice(bytes);
        *self = Chunk::from(own);
        Ok(())
    }

    /// Whether it keeps much more memory than it has bytes.
    pub(crate) fn is_wasteful(&self) -> bool {
        self.buffer_length() > 8 * self.len()
    }

    /// Keeps only its own bytes, so that the buffer can be used by others. What nobody shares
    /// may keep some space, to be read behind. Where there is no memory for the copy, it stays as
    /// it is.
    pub(crate) fn compact(&mut self) -> Result<(), Exceeded> {
        if self.is_shared() || self.is_wasteful() {
            *self = Chunk::from(memory::copy(self.bytes())?);
        }
        Ok(())
    }

    /// Its bytes at the front of a buffer that nobody shares; there may be space behind them.
    fn into_own_buffer(self) -> Result<Vec<u8>, Exceeded> {
        match self.buffer.map(Arc::try_unwrap) {
            // They are there already from the second time on: moving them to where they are
            // would take time square to their number.
            Some(Ok(buffer)) if self.range.start == 0 => Ok(buffer),
            Some(Ok(mut buffer)) => {
                buffer.copy_within(self.range, 0);
                Ok(buffer)
            }
            Some(Err(shared)) => memory::copy(shared.get(self.range).unwrap_or_default()),
            None => Ok(Vec::new()),
        }
    }

    /// Whether a pool or another piece has the buffer too.
    fn is_shared(&self) -> bool {
        let buffer = self.buffer.as_ref();
        buffer.is_some_and(|buffer| Arc::strong_count(buffer) > 1)
    }

    fn buffer_length(&self) -> usize {
        self.buffer.as_ref().map_or(0, |buffer| buffer.capacity())
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Chunk {
        match bytes.len() {
            0 => Chunk::default(),
            length => Chunk {
                range: 0..length,
                buffer: Some(Arc::new(bytes)),
            },
        }
    }
}

/// Read buffers of a loop. They are made when first needed, and used again when no chunk shares
/// them any more.
#[derive(Debug)]
pub(crate) struct BufferPool {
    buffers: Vec<Arc<Vec<u8>>>,
    maximum: usize,
}

/// What [`BufferPool::read`] found.
pub(crate) enum Filled {
    /// Bytes, those carried over first.
    Chunk(Chunk),
    /// The reader came to the end.
    End,
    /// Every buffer is in use. What was carried over comes back.
    NoBuffer(Chunk),
    /// There is no memory for a buffer.
    Unavailable(Exceeded),
    /// The reader failed. What was carried over comes back.
    Failed(Chunk, rustix::io::Errno),
}

impl BufferPool {
    /// Buffers that may be kept for some time.
    pub(crate) fn for_uploads() -> BufferPool {
        BufferPool {
            buffers: Vec::new(),
            maximum: MAXIMUM_BUFFERS,
        }
    }

    /// A buffer for those who copy what they keep.
    pub(crate) fn for_short_reads() -> BufferPool {
        BufferPool {
            buffers: Vec::new(),
            maximum: 1,
        }
    }

    /// Reads at most `limit` bytes behind those `carried` over from the last time. The reader
    /// returns how many bytes it leaves at the front of its space, or `None` at the end.
    pub(crate) fn read(
        &mut self,
        carried: Chunk,
        limit: usize,
        reader: impl FnOnce(&mut [u8]) -> rustix::io::Result<Option<usize>>,
    ) -> Filled {
        let start = carried.len();
        if start > MOST_COPIED {
            return read_behind(carried, limit, reader);
        }
        let shared = match self.unused() {
            Ok(Some(unused)) => unused,
            Ok(None) => return Filled::NoBuffer(carried),
            Err(exceeded) => return Filled::Unavailable(exceeded),
        };
        let Some(buffer) = Arc::get_mut(shared) else {
            return Filled::NoBuffer(carried);
        };
        let end = buffer.capacity().min(start + limit);
        if buffer.len() < end {
            buffer.resize(end, 0);
        }
        let (front, space) = buffer[..end].split_at_mut(start);
        match reader(space) {
            Err(error) => Filled::Failed(carried, error),
            Ok(None) => Filled::End,
            Ok(Some(0)) => Filled::Chunk(carried),
            Ok(Some(length)) => {
                front.copy_from_slice(carried.bytes());
                Filled::Chunk(Chunk {
                    buffer: Some(Arc::clone(shared)),
                    range: 0..start + length,
                })
            }
        }
    }

    /// A buffer that nobody uses. Memory is taken as it is read into, since most reads are short.
    fn unused(&mut self) -> Result<Option<&mut Arc<Vec<u8>>>, Exceeded> {
        let free = self
            .buffers
            .iter_mut()
            .position(|buffer| Arc::get_mut(buffer).is_some());
        let free = match free {
            Some(free) => free,
            None if self.buffers.len() < self.maximum => {
                let mut buffer = Vec::new();
                memory::reserve_exactly(&mut buffer, BUFFER_SIZE)?;
                self.buffers.push(Arc::new(buffer));
                self.buffers.len() - 1
            }
            None => return Ok(None),
        };
        Ok(self.buffers.get_mut(free))
    }
}

/// Reads without a pool, and without copying what was carried over more often than is needed
/// for its buffer to grow.
fn read_behind(
    carried: Chunk,
    limit: usize,
    reader: impl FnOnce(&mut [u8]) -> rustix::io::Result<Option<usize>>,
) -> Filled {
    let start = carried.len();
    let mut buffer = match own_buffer_with_space(carried) {
        Ok(buffer) => buffer,
        Err(exceeded) => return Filled::Unavailable(exceeded),
    };
    let end = buffer.len().min(start + limit);
    let read = reader(&mut buffer[start..end]);
    let chunk = |length| Chunk {
        buffer: Some(Arc::new(buffer)),
        range: 0..start + length,
    };
    match read {
        Err(error) => Filled::Failed(chunk(0), error),
        Ok(None) => Filled::End,
        Ok(Some(length)) => Filled::Chunk(chunk(length)),
    }
}

/// The bytes, and at least half as much space behind them.
fn own_buffer_with_space(carried: Chunk) -> Result<Vec<u8>, Exceeded> {
    let start = carried.len();
    let mut buffer = carried.into_own_buffer()?;
    let space = buffer.len() - start;
    if space < start / 2 {
        memory::reserve_exactly(&mut buffer, start - space)?;
        buffer.resize(2 * start, 0);
    }
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_over_is_copied_seldom() {
        let mut pool = BufferPool::for_uploads();
        let mut carried = Chunk::default();
        let mut lengths = Vec::new();
        for round in 0..4096_u32 {
            let filled = pool.read(carried, BUFFER_SIZE, |space| {
                space[..1024].fill(round as u8);
                Ok(Some(1024))
            });
            let Filled::Chunk(chunk) = filled else {
                panic!("there is space");
            };
            carried = chunk;
            carried.compact().unwrap();
            if carried.len() > MOST_COPIED + 1024 {
                lengths.push(carried.buffer_length());
            }
        }
        let rounds = carried.bytes().chunks(1024).enumerate();
        for (round, bytes) in rounds {
            assert!(bytes.iter().all(|byte| *byte == round as u8));
        }
        assert_eq!(carried.len(), 4096 * 1024);
        lengths.dedup();
        assert!(lengths.len() < 25, "{lengths:?}");
        assert!(lengths.is_sorted() && lengths.last() < Some(&(9 << 20)));
    }

    #[test]
    fn a_compacted_chunk_leaves_the_buffer_to_others() {
        let mut pool = BufferPool::for_short_reads();
        let read = |pool: &mut BufferPool| pool.read(Chunk::default(), 10, |_| Ok(Some(10)));
        let Filled::Chunk(mut chunk) = read(&mut pool) else {
            panic!("there is a buffer");
        };
        assert!(matches!(read(&mut pool), Filled::NoBuffer(_)));
        chunk.compact().unwrap();
        assert!(matches!(read(&mut pool), Filled::Chunk(_)));
    }
}
