//! Takes apart what a fuzzer gives: the bytes for the parser, and what to do with them.

/// Bytes for a parser, with decisions behind them.
///
/// Decisions are taken from the end, so that a fuzzer's dictionary and its splicing work on the
/// bytes in front as they are on the wire. Where there are none left, each is 0.
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { bytes }
    }

    /// The next decision.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&last, rest)) = self.bytes.split_last() else {
            return 0;
        };
        self.bytes = rest;
        last
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        u64::from(self.byte()) % end
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Places to cut the rest at, for [`pieces`].
    pub(crate) fn cuts(&mut self) -> Vec<usize> {
        let count = self.below(6);
        (0..count).map(|_| self.position()).collect()
    }

    fn position(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    /// What is left of the bytes when all is decided.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.bytes
    }
}

/// Cuts `input` where `cuts` say; each is a position modulo the length.
pub fn pieces<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.push(input.len());
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter()
        .map(|end| &input[std::mem::replace(&mut start, end)..end])
        .collect()
}

/// Cuts `input` everywhere.
pub(crate) fn single_bytes(input: &[u8]) -> Vec<&[u8]> {
    input.chunks(1).collect()
}
