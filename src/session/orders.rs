//! Words to the server as a whole: flush_all, stats and their like reach all shards, and are barriers.
//!
//! Everything that the connection asked before has been answered when such a word is obeyed, and nothing that it asks
//! after is taken before every core has reported. So `flush_all` and `stats reset` are visible to whatever the
//! connection says next.

use super::pipeline::Pipeline;
use super::statistics::{self, Totals};
use super::{ConnectionId, Desk, Order, Shards, Wire};
use crate::protocol::{self, Control, Spelling, Stats, Word};

/// The order under way, if there is one. While it is, no request is taken.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Boxed: few connections ever give an order.
    barrier: Option<Box<Barrier>>,
}

#[derive(Debug)]
struct Barrier {
    /// Cores that have not reported yet.
    waiting: usize,
    totals: Totals,
    answer: Answer,
    spelling: Spelling,
}

/// What is said when all have reported.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Ok,
    Reset,
    GeneralStatistics,
}

impl Orders {
    pub(super) fn is_free(&self) -> bool {
        self.barrier.is_none()
    }

    /// Carries out a control word, or begins to.
    pub(super) fn obey<S: Shards, W: Wire>(
        &mut self,
        control: Control<'_>,
        spelling: Spelling,
        connection: ConnectionId,
        pipeline: &mut Pipeline,
        desk: &mut Desk<'_, S, W>,
    ) {
        let (order, answer) = match control {
            Control::FlushAll { delay } => {
                // Refused ones count, too.
                desk.counters.cmd_flush += 1;
                if desk.rules.flush_refused {
                    let out = pipeline.writer(desk.buffers);
                    return protocol::say(out, spelling, Word::FlushNotAllowed);
                }
                (Order::Flush(delay), Answer::Ok)
            }
            Control::Stats { what: Stats::General } => (Order::Statistics, Answer::GeneralStatistics),
            Control::Stats { what: Stats::Reset } => (Order::ResetStatistics, Answer::Reset),
            _ => return answer_at_once(control, spelling, pipeline, desk),
        };
        let mut totals = Totals::default();
        let waiting = desk.shards.order(connection, order, desk.counters, &mut totals);
        self.barrier = Some(Box::new(Barrier {
            waiting,
            totals,
            answer,
            spelling,
        }));
        self.finish(pipeline, desk);
    }

    /// Another core's report.
    pub(super) fn report<S: Shards, W: Wire>(
        &mut self,
        totals: &Totals,
        pipeline: &mut Pipeline,
        desk: &mut Desk<'_, S, W>,
    ) {
        let barrier = self
            .barrier
            .as_mut()
            .expect("a report comes only to a session that waits");
        barrier.totals.add(totals);
        barrier.waiting -= 1;
        self.finish(pipeline, desk);
    }

    /// Answers if all reports are in.
    fn finish<S: Shards, W: Wire>(&mut self, pipeline: &mut Pipeline, desk: &mut Desk<'_, S, W>) {
        let Some(barrier) = self.barrier.take_if(|barrier| barrier.waiting == 0) else {
            return;
        };
        let Barrier {
            totals,
            answer,
            spelling,
            ..
        } = *barrier;
        let out = pipeline.writer(desk.buffers);
        match answer {
            Answer::Ok => protocol::write_ok(out, spelling),
            Answer::Reset => protocol::write_reset(out, spelling),
            Answer::GeneralStatistics => {
                statistics::general(&totals, desk.facts, desk.now, |name, value| {
                    protocol::write_stat(out, spelling, name, value);
                });
                protocol::write_stats_end(out, spelling);
            }
        }
    }
}

/// The words that need no shard.
fn answer_at_once<S: Shards, W: Wire>(
    control: Control<'_>,
    spelling: Spelling,
    pipeline: &mut Pipeline,
    desk: &mut Desk<'_, S, W>,
) {
    let out = pipeline.writer(desk.buffers);
    match control {
        Control::Version => protocol::write_version(out, spelling, desk.rules.version),
        // It is what memcached logs more at; our log's level is set at the start.
        Control::Verbosity(_) => protocol::write_ok(out, spelling),
        Control::Stats { .. } => protocol::say(out, spelling, Word::NoSuchStats),
        Control::Shutdown { .. } => protocol::say(out, spelling, Word::ShutdownNotEnabled),
        _ => protocol::say(out, spelling, Word::Error),
    }
}
