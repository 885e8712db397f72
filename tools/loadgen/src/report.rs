//! The figures of one measurement, as JSON and as a table.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::process::CpuTime;
use crate::tally::Tally;

/// Latency of one kind of request in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) p99_99: f64,
    pub(crate) max: f64,
}

impl Latency {
    /// Nothing when nothing was recorded.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Latency> {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
        (!histogram.is_empty()).then(|| Latency {
            count: histogram.len(),
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: histogram.max() as f64 / 1e3,
        })
    }
}

/// CPU time of a process over the measured time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cpu {
    pub(crate) seconds: f64,
    /// CPU seconds per second: 1 is one CPU kept busy.
    pub(crate) cores: f64,
    /// Seconds per second that its threads were ready to run and something else had their CPUs: their own fellow
    /// threads, or foreign load. Much above 0 with one thread per CPU means a disturbed measurement.
    pub(crate) waited: f64,
    pub(crate) us_per_request: f64,
    pub(crate) us_per_key: f64,
}

impl Cpu {
    pub(crate) fn new(start: CpuTime, end: CpuTime, wall: Duration, requests: f64, tally: &Tally) -> Cpu {
        let nanoseconds = end.run.saturating_sub(start.run);
        let waited = end.waited.saturating_sub(start.waited) as f64 / 1e9;
        let keys_per_request = tally.keys() as f64 / tally.requests().max(1) as f64;
        let us_per_request = nanoseconds as f64 / 1e3 / requests.max(1.0);
        let seconds = nanoseconds as f64 / 1e9;
        Cpu {
            seconds,
            cores: seconds / wall.as_secs_f64().max(1e-9),
            waited: waited / wall.as_secs_f64().max(1e-9),
            us_per_request,
            us_per_key: us_per_request / keys_per_request.max(1.0),
        }
    }
}

/// See the head of this file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) seconds: f64,
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) keys_per_second: f64,
    pub(crate) gets: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) sets: u64,
    pub(crate) errors: u64,
    /// Connections opened again after they had ended.
    pub(crate) reconnects: u64,
    pub(crate) mismatches: u64,
    pub(crate) megabytes_received_per_second: f64,
    /// Of all requests, gets and sets together.
    pub(crate) latency_us: Option<Latency>,
    pub(crate) get_latency_us: Option<Latency>,
    pub(crate) set_latency_us: Option<Latency>,
    pub(crate) server_cpu: Option<Cpu>,
    pub(crate) client_cpu: Cpu,
    /// Requests that one `io_uring_enter` of the client carried on average.
    pub(crate) requests_per_turn: f64,
    /// Sends that the socket did not take whole at once.
    pub(crate) partial_sends: u64,
    /// Open loop: requests that were due before the end and had not been sent. Their latency is in no histogram.
    pub(crate) overdue: u64,
    /// The first wrong values and error replies, word for word.
    pub(crate) complaints: Vec<String>,
}

impl Report {
    #[expect(
        clippy::too_many_arguments,
        reason = "a record of unrelated figures, made in one place"
    )]
    pub(crate) fn new(
        mut tally: Tally,
        measured: Duration,
        requests_per_second: f64,
        server_cpu: Option<Cpu>,
        client_cpu: Cpu,
        turns: u64,
        partial_sends: u64,
        overdue: u64,
    ) -> Report {
        let seconds = measured.as_secs_f64();
        let keys_per_request = tally.keys() as f64 / tally.requests().max(1) as f64;
        let mut all = tally.get_latencies.histogram().clone();
        all.add(tally.set_latencies.histogram())
            .expect("both have the same bounds");
        Report {
            seconds,
            requests: tally.requests(),
            requests_per_second,
            keys_per_second: requests_per_second * keys_per_request,
            gets: tally.gets,
            hits: tally.hits,
            misses: tally.misses,
            sets: tally.sets,
            errors: tally.errors,
            reconnects: tally.reconnects,
            mismatches: tally.mismatches,
            megabytes_received_per_second: tally.bytes_received as f64 / 1e6 / seconds.max(1e-9),
            latency_us: Latency::of(&all),
            get_latency_us: Latency::of(tally.get_latencies.histogram()),
            set_latency_us: Latency::of(tally.set_latencies.histogram()),
            server_cpu,
            client_cpu,
            requests_per_turn: tally.requests() as f64 / turns.max(1) as f64,
            partial_sends,
            overdue,
            complaints: tally.complaints,
        }
    }

    /// Whether the server has answered everything but so many requests, and rightly.
    pub(crate) fn is_clean(&self, errors_allowed: u64) -> bool {
        self.errors <= errors_allowed && self.mismatches == 0
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<22} {value}");
        };
        line(
            "requests/s",
            format!(
                "{:.0}  ({} in {:.2} s)",
                self.requests_per_second, self.requests, self.seconds
            ),
        );
        if self.keys_per_second > self.requests_per_second * 1.001 {
            line("keys/s", format!("{:.0}", self.keys_per_second));
        }
        line(
            "gets",
            format!("{}  ({} hits, {} misses)", self.gets, self.hits, self.misses),
        );
        line("sets", self.sets.to_string());
        line(
            "errors, mismatches",
            format!("{}, {}", self.errors, self.mismatches),
        );
        if self.reconnects > 0 {
            line("reconnects", self.reconnects.to_string());
        }
        line(
            "received",
            format!("{:.1} MB/s", self.megabytes_received_per_second),
        );
        match &self.server_cpu {
            Some(cpu) => line("server CPU", describe_cpu(cpu)),
            None => line("server CPU", "unknown (no --pid, and none found)".into()),
        }
        line("client CPU", describe_cpu(&self.client_cpu));
        line("requests per turn", format!("{:.1}", self.requests_per_turn));
        if self.partial_sends > 0 {
            line("partial sends", self.partial_sends.to_string());
        }
        if self.overdue > 0 {
            line(
                "overdue",
                format!(
                    "{} requests were due and never sent: the rate was not reached",
                    self.overdue
                ),
            );
        }
        let _ = writeln!(
            text,
            "\n{:<10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "latency us", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"
        );
        for (name, latency) in [("get", &self.get_latency_us), ("set", &self.set_latency_us)] {
            if let Some(l) = latency {
                let _ = writeln!(
                    text,
                    "{name:<10} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>10.1}",
                    l.mean, l.p50, l.p90, l.p99, l.p99_9, l.p99_99, l.max
                );
            }
        }
        for complaint in &self.complaints {
            let _ = writeln!(text, "! {complaint}");
        }
        text
    }
}

fn describe_cpu(cpu: &Cpu) -> String {
    let mut text = format!(
        "{:.3} us/request, {:.0} % of a core ({:.0} % waiting for one)",
        cpu.us_per_request,
        cpu.cores * 100.0,
        cpu.waited * 100.0
    );
    if cpu.us_per_key < cpu.us_per_request * 0.999 {
        let _ = write!(text, ", {:.3} us/key", cpu.us_per_key);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_carries_the_percentiles_in_microseconds() {
        let mut tally = Tally::new();
        for latency in 1..=10_000u64 {
            tally.get_latencies.record(latency * 1000);
            tally.gets += 1;
            tally.hits += 1;
        }
        let (start, end) = (
            CpuTime { run: 5, waited: 0 },
            CpuTime {
                run: 2_000_000_005,
                waited: 1_000_000_000,
            },
        );
        let cpu = Cpu::new(start, end, Duration::from_secs(4), 10_000.0, &tally);
        assert_eq!(
            (cpu.seconds, cpu.cores, cpu.waited, cpu.us_per_request),
            (2.0, 0.5, 0.25, 200.0)
        );
        let report = Report::new(tally, Duration::from_secs(4), 2500.0, None, cpu, 100, 0, 0);
        let json = serde_json::to_value(&report).expect("a report is JSON");
        let latency = &json["get_latency_us"];
        for (name, want) in [
            ("p50", 5e3),
            ("p90", 9e3),
            ("p99", 9.9e3),
            ("p99_9", 9.99e3),
            ("max", 1e4),
        ] {
            let found = latency[name].as_f64().expect("a number");
            assert!((found / want - 1.0).abs() < 0.002, "{name}: {found}");
        }
        assert_eq!(json["set_latency_us"], serde_json::Value::Null);
        assert_eq!(json["requests_per_turn"].as_f64(), Some(100.0));
        assert!(report.table().contains("p99.99"));
    }

    #[test]
    fn equal_latencies_are_entered_as_runs() {
        let mut tally = Tally::new();
        for latency in [5, 5, 5, 7, 7, 5, 9] {
            tally.set_latencies.record(latency * 1_000_000);
        }
        let latency = Latency::of(tally.set_latencies.histogram()).expect("not empty");
        assert_eq!(latency.count, 7);
        assert!((latency.p50 / 5e3 - 1.0).abs() < 0.002 && (latency.max / 9e3 - 1.0).abs() < 0.002);
    }
}
