//! What is said at the end of a trial.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::limit::Limit;
use super::load::{Measured, OfKind, Plan};
use crate::cli::output;

/// Columns of the longest bar.
const WIDTH: u64 = 40;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    connections: u32,
    batch: u32,
    /// Requests a second that were asked for.
    rate: Option<f64>,
    seconds: f64,
    all: Shown,
    kinds: BTreeMap<&'static str, Shown>,
    limit: Limit,
    /// The first answer that was missing, in words.
    error: Option<String>,
    #[serde(skip)]
    bars: Vec<Bar>,
}

/// What requests of a kind came to. Latencies are those of requests, counts those of what they carried.
#[derive(Debug, Serialize)]
struct Shown {
    answered: u64,
    refused: u64,
    errors: u64,
    /// Requests that were due and not sent.
    unsent: u64,
    per_second: f64,
    mean_us: f64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
}

/// Requests that took up to so long, and more than the bar before.
#[derive(Debug, PartialEq, Eq)]
struct Bar {
    up_to_us: u64,
    count: u64,
}

impl Shown {
    fn new(of_kind: &OfKind, seconds: f64) -> Shown {
        let OfKind { latency, answered, refused, errors, unsent } = of_kind;
        Shown {
            answered: *answered,
            refused: *refused,
            errors: *errors,
            unsent: *unsent,
            per_second: *answered as f64 / seconds,
            mean_us: latency.mean(),
            p50_us: latency.value_at_quantile(0.5),
            p90_us: latency.value_at_quantile(0.9),
            p99_us: latency.value_at_quantile(0.99),
            p999_us: latency.value_at_quantile(0.999),
            max_us: latency.max(),
        }
    }
}

impl Report {
    pub fn new(plan: &Plan, measured: &Measured, limit: Limit) -> Report {
        let seconds = measured.took.as_secs_f64();
        let all = measured.all();
        let kinds = measured.kinds.iter().map(|(kind, of_kind)| (kind.name(), Shown::new(of_kind, seconds)));
        Report {
            connections: plan.connections,
            batch: plan.batch,
            rate: plan.rate,
            seconds,
            all: Shown::new(&all, seconds),
            kinds: kinds.collect(),
            limit,
            error: measured.error.clone(),
            bars: bars(&all.latency),
        }
    }

    pub fn answered(&self) -> bool {
        self.all.answered > 0
    }
}

/// Latencies in steps that double, from the shortest to the longest.
fn bars(latency: &Histogram<u64>) -> Vec<Bar> {
    let mut bars: Vec<Bar> = latency
        .iter_log(1, 2.0)
        .map(|step| Bar { up_to_us: step.value_iterated_to() + 1, count: step.count_since_last_iteration() })
        .collect();
    let first = bars.iter().position(|bar| bar.count > 0).unwrap_or(bars.len());
    bars.drain(..first);
    while bars.last().is_some_and(|bar| bar.count == 0) {
        bars.pop();
    }
    bars
}

pub(super) fn text(report: &Report) -> String {
    let rows = report.kinds.iter().map(|(name, shown)| row(name, shown));
    let rows: Vec<_> = rows.chain([row("all", &report.all)]).collect();
    let head =
        ["", "answered", "refused", "errors", "not sent", "a second", "p50", "p90", "p99", "p99.9", "max"];
    let how = match report.rate {
        Some(rate) => format!("{rate} requests a second were due, latency counts from then"),
        None => "as many requests as were answered".to_owned(),
    };
    let carried = if report.batch > 1 { format!(" of up to {}", report.batch) } else { String::new() };
    let first =
        format!("{} connections, requests{carried}, {:.1} s: {how}", report.connections, report.seconds);
    let limit = format!("limit: {}, because {}", report.limit.by.name(), report.limit.because);
    let error = report.error.as_ref().map(|error| format!("\nthe first error: {error}")).unwrap_or_default();
    let nothing_sold = if report.all.answered > 0 && report.all.answered == report.all.refused {
        "\nall of it was refused: nothing is left to sell there, take another --property"
    } else {
        ""
    };
    let (table, bars) = (output::table(head, rows), histogram(&report.bars));
    format!("{first}\n\n{table}\n\n{bars}\n\n{limit}{nothing_sold}{error}")
}

fn row(name: &str, shown: &Shown) -> [String; 11] {
    [
        name.to_owned(),
        shown.answered.to_string(),
        shown.refused.to_string(),
        shown.errors.to_string(),
        shown.unsent.to_string(),
        format!("{:.0}", shown.per_second),
        ms(shown.p50_us),
        ms(shown.p90_us),
        ms(shown.p99_us),
        ms(shown.p999_us),
        ms(shown.max_us),
    ]
}

fn histogram(bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or(1).max(1);
    let lines = bars.iter().map(|bar| {
        let columns = (bar.count * WIDTH).div_ceil(most) as usize;
        format!("≤ {:>12} {:>10} {}", ms(bar.up_to_us), bar.count, "█".repeat(columns)).trim_end().to_owned()
    });
    lines.collect::<Vec<String>>().join("\n")
}

fn ms(us: u64) -> String {
    format!("{:.2} ms", us as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_doubles_from_the_shortest_to_the_longest() {
        let mut latency = Histogram::<u64>::new(3).unwrap();
        for (us, count) in [(300, 2), (400, 8), (3_000, 1)] {
            latency.record_n(us, count).unwrap();
        }
        let bars = bars(&latency);
        assert_eq!(bars.iter().map(|bar| bar.count).collect::<Vec<u64>>(), [10, 0, 0, 1]);
        assert_eq!((bars[0].up_to_us, bars[3].up_to_us), (512, 4_096));
        let text = histogram(&bars);
        assert_eq!(text.lines().count(), 4);
        assert!(text.lines().next().unwrap().ends_with(&"█".repeat(40)), "{text}");
    }
}
