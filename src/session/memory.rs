//! What a session holds in memory: all but pages of items, which count as such.

use super::Session;
use super::output::Output;
use super::pipeline::Pipeline;
use crate::memory::Parts;

impl Session {
    /// Bytes that it holds beside itself.
    pub fn memory(&self) -> usize {
        let arriving = self.arriving.as_deref().map_or(0, |arriving| arriving.memory());
        self.input.capacity() + self.pipeline.memory() + arriving
    }

    /// Of these, what is in use: requests of which a part has come, replies that are not read. A buffer is lent with room
    /// for more, and goes back with the reply.
    pub fn used(&self) -> usize {
        let arriving = self.arriving.as_deref().map_or(0, |arriving| arriving.memory());
        self.input.len() + self.pipeline.used() + arriving
    }
}

impl Pipeline {
    fn memory(&self) -> usize {
        self.outputs().map(Output::memory).iter().sum::<usize>() + self.gaps_memory()
    }

    fn used(&self) -> usize {
        self.outputs().map(Output::used).iter().sum()
    }

    fn outputs(&self) -> [&Output; 3] {
        [&self.out, &self.tail, &self.held]
    }
}

/// `stats memory`: calls `line` with the name and value of each part, in bytes.
pub(super) fn statistics(parts: &Parts, resident: u64, mut line: impl FnMut(&str, u64)) {
    let Parts {
        limit,
        slack,
        items_limit,
        items,
        tables,
        connections,
        buffers,
        unseen,
    } = *parts;
    line("limit", limit);
    line("slack", slack);
    line("items_limit", items_limit);
    line("items", items);
    line("tables", tables);
    line("connections", connections);
    line("buffers", buffers);
    line("unseen", unseen);
    line("total", items + tables + connections + buffers + unseen);
    line("rss", resident);
}
