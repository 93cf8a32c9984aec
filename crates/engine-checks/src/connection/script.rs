//! What is to happen, as read from the bytes a fuzzer gives.

/// Numbers and texts, taken from the front. Where there are none left, each is 0 or empty.
pub(super) struct Script<'a> {
    bytes: &'a [u8],
}

impl<'a> Script<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Script<'a> {
        Script { bytes }
    }

    pub(super) fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        first
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// One in so many.
    pub(super) fn once_in(&mut self, many: usize) -> bool {
        self.below(many) == 1
    }

    /// Mostly small.
    pub(super) fn size(&mut self) -> usize {
        let byte = usize::from(self.byte());
        match byte {
            0..128 => byte,
            128..250 => (byte - 127) * (byte - 127),
            _ => (byte - 249) * 50_000,
        }
    }

    /// Up to 255 bytes.
    pub(super) fn text(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.bytes.len());
        let (text, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        text
    }
}
