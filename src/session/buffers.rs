//! Buffers that are lent to connections while bytes are in flight, so that an idle connection holds none.

#[derive(Debug)]
pub struct Buffers {
    free: Vec<Vec<u8>>,
    /// Bytes of those that are free.
    size: usize,
    /// Larger buffers go back to the allocator: less where memory is scarce, lest who wants little is lent much.
    capacity_max: usize,
}

impl Default for Buffers {
    fn default() -> Buffers {
        Buffers {
            free: Vec::new(),
            size: 0,
            capacity_max: Buffers::CAPACITY_KEPT_MAX,
        }
    }
}

impl Buffers {
    /// Buffers kept for the next turn, at most.
    const FREE_MAX: usize = 256;
    /// Bytes of them, at most.
    const FREE_SIZE_MAX: usize = 4 * 1024 * 1024;
    /// Larger buffers go back to the allocator. What an output comes to that is as large as it may be, is kept
    /// ([`OUTPUT_SIZE_MAX`](super::OUTPUT_SIZE_MAX)): made anew for each turn, it would cost more than what is written to it.
    const CAPACITY_KEPT_MAX: usize = 512 * 1024;
    const CAPACITY_START: usize = 4 * 1024;

    /// The buffer that came back last: its memory is the warmest.
    pub fn take(&mut self) -> Vec<u8> {
        while let Some(buffer) = self.free.pop() {
            self.size -= buffer.capacity();
            if buffer.capacity() <= self.capacity_max {
                return buffer;
            }
        }
        Vec::with_capacity(Buffers::CAPACITY_START)
    }

    /// From now on buffers of more than so many bytes are neither kept nor lent.
    pub fn keep_at_most(&mut self, capacity: usize) {
        self.capacity_max = capacity.clamp(Buffers::CAPACITY_START, Buffers::CAPACITY_KEPT_MAX);
    }

    pub fn give(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if (1..=self.capacity_max).contains(&capacity)
            && self.free.len() < Buffers::FREE_MAX
            && self.size + capacity <= Buffers::FREE_SIZE_MAX
        {
            buffer.clear();
            self.size += capacity;
            self.free.push(buffer);
        }
    }

    /// Bytes of the buffers that are lent to nobody.
    pub fn size(&self) -> usize {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_until_enough_are_kept() {
        let mut buffers = Buffers::default();
        assert_eq!(4096, buffers.take().capacity());
        for _ in 0..100 {
            buffers.give(Vec::with_capacity(128 * 1024));
        }
        assert_eq!(Buffers::FREE_SIZE_MAX, buffers.size());
        buffers.give(Vec::with_capacity(1024 * 1024));
        assert_eq!(128 * 1024, buffers.take().capacity());
        buffers.give(Vec::with_capacity(4096));
        buffers.keep_at_most(8192);
        assert_eq!(4096, buffers.take().capacity());
        assert_eq!(4096, buffers.take().capacity(), "no large one is lent");
        assert_eq!(0, buffers.size());
    }
}
