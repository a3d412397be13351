//! What held the cluster back: a verdict with its reason, from what a client can see. Pure.

use std::time::Duration;

use serde::Serialize;

use super::machine::Busy;

/// A machine that is busier than this has nothing left to give: the rest goes into switching.
const BUSY_MIN: f64 = 0.85;
/// One on which the nodes are too, and which is busier than this while it hardly waits for a disk, is itself what is short:
/// a node's threads wait for one another.
const BUSY_WITHOUT_DISK_MIN: f64 = 0.7;
const HARDLY_WAITS_MAX: f64 = 0.05;
/// The part of a request's time from which on what it is spent on is called the limit.
const PART_MIN: f64 = 0.5;
/// An open loop that answers all but this part kept up.
const LAG_MAX: f64 = 0.02;

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// The best time of a question that needs nothing but a node's attention.
    pub round_trip: Option<Duration>,
    /// How busy this machine was; `None` where that is not known.
    pub busy: Option<Busy>,
    /// All nodes are on this machine.
    pub is_local: bool,
    /// Of a request that writes.
    pub median: Duration,
    pub read_median: Option<Duration>,
    /// The part of an open loop's requests that was not answered in time.
    pub lag: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Limit {
    pub by: By,
    pub because: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum By {
    /// The cluster did all that it was asked.
    Nothing,
    Processor,
    Network,
    Disk,
}

impl By {
    pub fn name(self) -> &'static str {
        match self {
            By::Nothing => "nothing",
            By::Processor => "processor",
            By::Network => "network",
            By::Disk => "disk",
        }
    }
}

pub(super) fn judge(evidence: &Evidence) -> Limit {
    let limit = |by, because| Limit { by, because };
    let Evidence { round_trip, busy, is_local, median, read_median, lag } = *evidence;
    let machine = if is_local { "this machine, which the nodes share," } else { "this machine, the client," };
    if lag.is_some_and(|lag| lag <= LAG_MAX) {
        let because = format!("the rate that was asked for was kept, at a median of {} a write", ms(median));
        return limit(By::Nothing, because);
    }
    let is_short = |busy: &Busy| {
        let without_disk =
            busy.processor >= BUSY_WITHOUT_DISK_MIN && busy.waiting_for_disk <= HARDLY_WAITS_MAX;
        busy.processor >= BUSY_MIN || is_local && without_disk
    };
    if let Some(busy) = busy.filter(is_short) {
        return limit(By::Processor, format!("{machine} was {:.0} % busy", busy.processor * 100.0));
    }
    let part = |of: Duration| of.as_secs_f64() / median.as_secs_f64().max(f64::MIN_POSITIVE);
    if let Some(round_trip) = round_trip
        && part(round_trip) >= PART_MIN
    {
        let because =
            format!("{} of the {} of a write are the way to a node and back", ms(round_trip), ms(median));
        return limit(By::Network, because);
    }
    // A read asks a majority too, and no disk: what a write takes beyond it is the disks' part.
    if let Some(read) = read_median
        && part(read) >= PART_MIN
    {
        let because = format!(
            "a read, which waits for no disk, takes {} where a write takes {}: the way between the nodes, or their processors",
            ms(read),
            ms(median)
        );
        return limit(By::Network, because);
    }
    let waited = busy.filter(|_| is_local).map_or_else(String::new, |busy| {
        format!(
            "; {machine} was {:.0} % busy and waited for disks {:.0} % of the time",
            busy.processor * 100.0,
            busy.waiting_for_disk * 100.0
        )
    });
    limit(
        By::Disk,
        format!(
            "of the {} of a write little is network or processor: it waits for a majority's disks{waited}",
            ms(median)
        ),
    )
}

fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_follows_from_what_was_seen() {
        let us = Duration::from_micros;
        let seen = Evidence {
            round_trip: Some(us(100)),
            busy: Some(Busy { processor: 0.4, waiting_for_disk: 0.3 }),
            is_local: true,
            median: us(3_000),
            read_median: Some(us(300)),
            lag: None,
        };
        let busy = |processor| Some(Busy { processor, waiting_for_disk: 0.0 });
        for (evidence, by, because) in [
            (seen, By::Disk, "waited for disks 30 %"),
            (Evidence { is_local: false, busy: None, ..seen }, By::Disk, "3.00 ms"),
            (Evidence { busy: busy(0.97), ..seen }, By::Processor, "97 % busy"),
            (Evidence { busy: busy(0.8), ..seen }, By::Processor, "80 % busy"),
            (Evidence { busy: busy(0.8), is_local: false, ..seen }, By::Disk, "disks"),
            (Evidence { busy: busy(0.97), is_local: false, ..seen }, By::Processor, "the client"),
            (Evidence { round_trip: Some(us(2_000)), ..seen }, By::Network, "2.00 ms of the 3.00 ms"),
            (Evidence { read_median: Some(us(2_500)), ..seen }, By::Network, "2.50 ms"),
            (Evidence { lag: Some(0.0), busy: busy(0.97), ..seen }, By::Nothing, "rate"),
            (Evidence { lag: Some(0.4), ..seen }, By::Disk, "disks"),
            (Evidence { round_trip: None, busy: None, read_median: None, ..seen }, By::Disk, "disks"),
        ] {
            let limit = judge(&evidence);
            assert_eq!(limit.by, by, "{evidence:?}: {}", limit.because);
            assert!(limit.because.contains(because), "{}", limit.because);
        }
    }
}
