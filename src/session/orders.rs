//! Words to the server as a whole: flush_all, stats and their like reach all shards, and are barriers.
//!
//! Everything that the connection asked before has been answered when such a word is obeyed, and nothing that it asks
//! after is taken before every core has reported. So `flush_all` and `stats reset` are visible to whatever the
//! connection says next.

use super::dump::{Walk, Walking};
use super::pipeline::Pipeline;
use super::statistics::{self, Certificates, More, Totals};
use super::{ConnectionId, Desk, Order, Shards, Wire, bands, fleet, memory, settings};
use crate::protocol::{self, Control, Lru, LruCrawler, ShutdownMode, Slabs, Spelling, Stats, Word};
use crate::shard;

/// The order under way, if there is one. While it is, no request is taken.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Boxed: few connections ever give an order.
    under_way: Option<Box<UnderWay>>,
}

#[derive(Debug)]
struct UnderWay {
    spelling: Spelling,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// One order to all cores.
    Barrier {
        /// Cores that have not reported yet.
        waiting: usize,
        totals: Box<Totals>,
        answer: Answer,
    },
    /// One slice after another.
    Walk(Walking),
}

/// What is said when all have reported.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Ok,
    Reset,
    GeneralStatistics,
    Items,
    Slabs,
    Detail,
    Connections,
}

/// What a control word comes to.
enum Course {
    Say(Word),
    Version,
    Settings,
    Memory,
    /// In words that are not ours.
    Complain(String),
    /// What there is to say of the published ring.
    Fleet,
    /// A single line of statistics.
    Line(&'static [u8], &'static [u8]),
    Order(Order, Answer),
    /// A walk, what is said before it, and how many lines it may have (0: any number).
    Walk(Walk, Option<Word>, u32),
    /// Nothing more is said, and the connection is closed.
    Close,
}

impl Orders {
    pub(super) fn is_free(&self) -> bool {
        self.under_way.is_none()
    }

    /// Whether it goes on as soon as output has gone.
    pub(super) fn wait_for_output(&self) -> bool {
        matches!(self.under_way.as_deref(), Some(UnderWay { kind: Kind::Walk(walking), .. }) if !walking.is_asked)
    }

    /// Carries out a control word, or begins to. Returns false if the connection is to be closed.
    pub(super) fn obey<S: Shards, W: Wire>(
        &mut self,
        control: Control<'_>,
        spelling: Spelling,
        connection: ConnectionId,
        pipeline: &mut Pipeline,
        desk: &mut Desk<'_, S, W>,
    ) -> bool {
        if let Control::Fleet(asked) = control {
            fleet::answer(asked, spelling, pipeline, desk);
            return true;
        }
        let course = course(control, desk);
        let out = pipeline.writer(desk.buffers);
        let kind = match course {
            Course::Say(word) => {
                protocol::say(out, spelling, word);
                return true;
            }
            Course::Complain(line) => {
                out.extend_from_slice(line.as_bytes());
                out.extend_from_slice(b"\r\n");
                return true;
            }
            Course::Version => {
                protocol::write_version(out, spelling, desk.rules.version);
                return true;
            }
            Course::Settings => {
                settings::settings(desk.facts, |name, value| {
                    protocol::write_stat(out, spelling, name, value)
                });
                protocol::write_stats_end(out, spelling);
                return true;
            }
            Course::Memory => {
                let (parts, resident) = (desk.facts.pool.parts(), (desk.facts.resident)());
                memory::statistics(&parts, resident, |name, bytes| {
                    protocol::write_stat(out, spelling, name.as_bytes(), bytes.to_string().as_bytes());
                });
                protocol::write_stats_end(out, spelling);
                return true;
            }
            Course::Fleet => {
                let mut is_of_a_fleet = false;
                desk.facts.fleet.statistics(&mut |name, value| {
                    is_of_a_fleet = true;
                    protocol::write_stat(out, spelling, name.as_bytes(), value.as_bytes());
                });
                match is_of_a_fleet {
                    true => protocol::write_stats_end(out, spelling),
                    false => protocol::say(out, spelling, Word::NoSuchStats),
                }
                return true;
            }
            Course::Line(name, value) => {
                protocol::write_stat(out, spelling, name, value);
                protocol::write_stats_end(out, spelling);
                return true;
            }
            Course::Close => return false,
            Course::Order(order, answer) => {
                let mut totals = Box::new(Totals::default());
                let waiting = desk.shards.order(connection, order, desk.counters, &mut totals);
                Kind::Barrier {
                    waiting,
                    totals,
                    answer,
                }
            }
            Course::Walk(walk, preface, lines_max) => {
                if let Some(word) = preface {
                    protocol::say(out, spelling, word);
                }
                Kind::Walk(Walking::new(walk, lines_max))
            }
        };
        self.under_way = Some(Box::new(UnderWay { spelling, kind }));
        self.carry_on(connection, pipeline, desk);
        true
    }

    /// Another core's report.
    pub(super) fn report<S: Shards, W: Wire>(
        &mut self,
        report: Totals,
        connection: ConnectionId,
        pipeline: &mut Pipeline,
        desk: &mut Desk<'_, S, W>,
    ) {
        let under_way = self
            .under_way
            .as_mut()
            .expect("a report comes only to a session that waits");
        let spelling = under_way.spelling;
        match &mut under_way.kind {
            Kind::Barrier { waiting, totals, .. } => {
                totals.add(report);
                *waiting -= 1;
            }
            Kind::Walk(walking) => {
                let More::Slice(slice) = report.more else {
                    unreachable!("a slice was ordered")
                };
                let out = pipeline.writer(desk.buffers);
                if !walking.take(&slice, desk.shards.cores(), out) {
                    for (size, count) in walking.sizes() {
                        let (size, count) = (size.to_string(), count.to_string());
                        protocol::write_stat(out, spelling, size.as_bytes(), count.as_bytes());
                    }
                    match walking.walk {
                        Walk::Mgdump(_) => protocol::say(out, spelling, Word::MgdumpEnd),
                        _ => protocol::write_stats_end(out, spelling),
                    }
                    self.under_way = None;
                }
            }
        }
        self.carry_on(connection, pipeline, desk);
    }

    /// Answers if all reports are in; asks for a walk's next slice if there is room for it.
    pub(super) fn carry_on<S: Shards, W: Wire>(
        &mut self,
        connection: ConnectionId,
        pipeline: &mut Pipeline,
        desk: &mut Desk<'_, S, W>,
    ) {
        let Some(UnderWay { spelling, kind }) = self.under_way.as_deref_mut() else {
            return;
        };
        match kind {
            Kind::Walk(walking) => {
                if !walking.is_asked && pipeline.size() < desk.output_size_max {
                    walking.is_asked = true;
                    let order = Order::Slice {
                        walk: walking.walk,
                        from: walking.from,
                    };
                    desk.shards.order_one(walking.core, connection, order);
                }
            }
            Kind::Barrier {
                waiting: 0,
                totals,
                answer,
            } => {
                finish(*std::mem::take(totals), *answer, *spelling, pipeline, desk);
                self.under_way = None;
            }
            Kind::Barrier { .. } => {}
        }
    }
}

fn finish<S: Shards, W: Wire>(
    totals: Totals,
    answer: Answer,
    spelling: Spelling,
    pipeline: &mut Pipeline,
    desk: &mut Desk<'_, S, W>,
) {
    let out = pipeline.writer(desk.buffers);
    let stat = |name: &[u8], value: &[u8]| protocol::write_stat(out, spelling, name, value);
    match (answer, totals.more) {
        (Answer::Ok, _) => return protocol::write_ok(out, spelling),
        (Answer::Reset, _) => return protocol::write_reset(out, spelling),
        (Answer::Detail, More::Prefixes(prefixes)) => {
            let mut text = Vec::new();
            for (prefix, counters) in prefixes.iter() {
                text.extend_from_slice(b"PREFIX ");
                text.extend_from_slice(prefix);
                let shard::PrefixCounters {
                    gets,
                    hits,
                    sets,
                    deletes,
                } = counters;
                text.extend_from_slice(
                    format!(" get {gets} hit {hits} set {sets} del {deletes}\r\n").as_bytes(),
                );
            }
            text.extend_from_slice(b"END\r\n");
            protocol::write_stat_text(out, spelling, b"detailed", &text);
            // The text ends itself; only binary packets need another end.
            if !matches!(spelling, Spelling::Binary { .. }) {
                return;
            }
        }
        (Answer::Items, More::Bands(all)) => bands::items(&all, stat),
        (Answer::Slabs, More::Bands(all)) => bands::slabs(&all, desk.facts.page_size, stat),
        (Answer::Connections, More::Connections(mut lines)) => {
            lines.sort();
            lines.iter().for_each(|(_, lines)| out.extend_from_slice(lines));
        }
        (Answer::GeneralStatistics, _) => statistics::general(
            &Totals {
                more: More::Nothing,
                ..totals
            },
            desk.facts,
            desk.now,
            stat,
        ),
        (answer, more) => unreachable!("{more:?} reported for {answer:?}"),
    }
    protocol::write_stats_end(out, spelling);
}

/// What is to be done about a control word.
fn course<S: Shards, W: Wire>(control: Control<'_>, desk: &mut Desk<'_, S, W>) -> Course {
    let (rules, facts) = (desk.rules, desk.facts);
    match control {
        Control::FlushAll { delay } => {
            // Refused ones count, too.
            desk.counters.cmd_flush += 1;
            match rules.flush_refused {
                true => Course::Say(Word::FlushNotAllowed),
                false => Course::Order(Order::Flush(delay), Answer::Ok),
            }
        }
        Control::Stats { what } => statistics_course(what, desk),
        Control::Version => Course::Version,
        Control::Verbosity(level) => {
            facts.switches.set_verbosity(level);
            (facts.log_at)(level);
            Course::Say(Word::Ok)
        }
        Control::CacheMemlimit { megabytes } => {
            let bytes = megabytes << 20;
            facts.switches.set_memory_limit(bytes);
            Course::Order(Order::MemoryLimit(bytes), Answer::Ok)
        }
        Control::Shutdown { mode } => match mode {
            _ if !rules.shutdown_enabled => Course::Say(Word::ShutdownNotEnabled),
            ShutdownMode::Unknown => Course::Say(Word::InvalidShutdownMode),
            mode => {
                (facts.shut_down)(mode == ShutdownMode::Graceful);
                Course::Close
            }
        },
        Control::RefreshCerts => match facts.certificates.as_deref().map(Certificates::refresh) {
            None => Course::Say(Word::TlsNotEnabled),
            Some(Ok(())) => Course::Say(Word::Ok),
            Some(Err(why)) => Course::Complain(why),
        },
        Control::Slabs(slabs) => Course::Say(match slabs {
            Slabs::Reassign { .. } | Slabs::ReassignUnreadable if !facts.groups.slab_reassign => {
                Word::SlabReassignDisabled
            }
            Slabs::ReassignUnreadable => Word::BadLine,
            Slabs::Reassign { source, target } if source == target => Word::SlabsSame,
            Slabs::Reassign { source, target }
                if !(-1..64).contains(&source) || !(0..64).contains(&target) =>
            {
                Word::SlabsBadClass
            }
            // Pages move by themselves, and never because somebody says so.
            Slabs::Reassign { .. } => Word::SlabsNoSpare,
            _ => Word::Ok,
        }),
        Control::Lru(Lru::ModeFlat | Lru::ModeSegmented | Lru::TempTtl(_))
            if !facts.groups.lru_maintainer =>
        {
            Course::Say(Word::Error)
        }
        Control::Lru(_) => Course::Say(Word::Ok),
        Control::LruCrawler(crawler) => match crawler {
            LruCrawler::Metadump(_) if rules.dump_refused => Course::Say(Word::MetadumpNotAllowed),
            LruCrawler::Mgdump(_) if rules.dump_refused => Course::Say(Word::MgdumpNotAllowed),
            LruCrawler::Metadump(classes) => Course::Walk(Walk::Metadump(classes), Some(Word::Ok), 0),
            LruCrawler::Mgdump(classes) => Course::Walk(Walk::Mgdump(classes), Some(Word::Ok), 0),
            LruCrawler::Enable if !facts.switches.set_crawler(true) => Course::Say(Word::CrawlerStart),
            LruCrawler::Disable => {
                facts.switches.set_crawler(false);
                Course::Say(Word::Ok)
            }
            LruCrawler::Crawl(_) if !facts.switches.crawler() => Course::Say(Word::CrawlerDisabled),
            // The search for expired items never rests: there is nothing to start or to tune.
            _ => Course::Say(Word::Ok),
        },
        Control::Watch { streams } => Course::Order(Order::Watch(streams), Answer::Ok),
        Control::DebugTime(change) if rules.clock_may_be_moved => {
            Course::Order(Order::Clock(change), Answer::Ok)
        }
        _ => Course::Say(Word::Error),
    }
}

fn statistics_course<S: Shards, W: Wire>(what: Stats, desk: &Desk<'_, S, W>) -> Course {
    let rules = desk.rules;
    match what {
        Stats::General => Course::Order(Order::Statistics, Answer::GeneralStatistics),
        Stats::Settings => Course::Settings,
        Stats::Cluster => Course::Fleet,
        Stats::Memory => Course::Memory,
        Stats::Items => Course::Order(Order::Bands, Answer::Items),
        Stats::Slabs => Course::Order(Order::Bands, Answer::Slabs),
        Stats::Sizes if rules.sizes_tracked => Course::Walk(Walk::Sizes, None, 0),
        Stats::Sizes => Course::Line(b"sizes_status", b"disabled"),
        Stats::Conns => Course::Order(Order::Connections, Answer::Connections),
        Stats::Extstore => Course::Say(Word::NoSuchStats),
        Stats::Reset => Course::Order(Order::ResetStatistics, Answer::Reset),
        Stats::DetailOn | Stats::DetailOff | Stats::DetailDump if rules.dump_refused => {
            Course::Say(Word::DetailNotAllowed)
        }
        Stats::DetailOn | Stats::DetailOff => {
            let on = what == Stats::DetailOn;
            desk.facts.switches.set_detail(on);
            Course::Order(Order::Detail(on), Answer::Ok)
        }
        Stats::DetailDump => Course::Order(Order::Prefixes, Answer::Detail),
        Stats::Cachedump { .. } if rules.dump_refused => Course::Say(Word::CachedumpNotAllowed),
        Stats::Cachedump { class, limit } => Course::Walk(Walk::Cachedump { class }, None, limit),
    }
}
