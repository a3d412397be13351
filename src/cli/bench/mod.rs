//! `bench`: puts a load on a cluster and says how it bore it.
//!
//! Every answer is counted, a refusal too: it went through the log like any other. In an open loop (`--rate`) latency is
//! counted from when a request was due, not from when it was sent, so that a cluster that stalls can't hide it by
//! slowing its clients down (Tene's "coordinated omission").

mod house;
mod limit;
mod load;
mod machine;
mod report;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::Target;
use super::failure::Failure;
use super::output;
use super::settings::Sources;
use crate::client::Client;
use crate::ledger::PropertyId;
use house::House;

/// Connections, at most: each keeps a socket open here and at a node.
const CONNECTIONS_MAX: u32 = 4_096;
/// Reservations of one batch, at most.
const BATCH_MAX: u32 = 10_000;

/// Puts a load on a cluster; don't use it on one that is in use
#[derive(Args, Debug)]
pub(super) struct Bench {
    /// Requests that are under way at the same time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    connections: u32,
    /// Reservations and cancellations that travel in one request
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=BATCH_MAX as i64))]
    batch: u32,
    /// Seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    duration: u32,
    /// What is asked for, by weight
    #[arg(long, value_name = "KIND=WEIGHT,…", default_value = "reserve=70,read=20,cancel=10")]
    mix: Mix,
    /// Requests a second, sent when they are due whether or not others were answered; as many as go when absent
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// Where the rooms are; defined when it is not there
    #[arg(long, default_value = "bench")]
    property: PropertyId,
    #[command(flatten)]
    target: Target,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "expected a number of requests a second".to_owned())?;
    if (0.1..=10_000_000.0).contains(&rate) { Ok(rate) } else { Err("expected 0.1 to 10000000".to_owned()) }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Reserve,
    Read,
    Cancel,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Reserve, Kind::Read, Kind::Cancel];

    fn name(self) -> &'static str {
        match self {
            Kind::Reserve => "reserve",
            Kind::Read => "read",
            Kind::Cancel => "cancel",
        }
    }
}

/// How often each kind is asked for, relative to the others, in the order of [`Kind::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mix([u32; 3]);

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Mix, String> {
        let mut weights = [None; 3];
        for word in text.split(',') {
            let wrong = || {
                format!("`{word}`: expected reserve, read or cancel, with a weight, as in reserve=70,read=30")
            };
            let (name, weight) = word.trim().split_once('=').ok_or_else(wrong)?;
            let kind = Kind::ALL.iter().position(|kind| kind.name() == name).ok_or_else(wrong)?;
            let weight: u16 = weight.parse().map_err(|_| wrong())?;
            if weights[kind].replace(u32::from(weight)).is_some() {
                return Err(format!("`{name}` is there twice"));
            }
        }
        let weights = weights.map(|weight| weight.unwrap_or(0));
        // What is read or canceled has to be made first.
        if weights[0] == 0 { Err("reserve needs a weight above 0".to_owned()) } else { Ok(Mix(weights)) }
    }
}

impl Mix {
    /// The kind of the `n`th request: each kind as evenly spread as its weight allows.
    fn kind(self, n: u64) -> Kind {
        let Mix(weights) = self;
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        // A step that shares no factor with the total visits every place once a round.
        let mut place = (n % total) * step(total) % total;
        for (kind, weight) in Kind::ALL.into_iter().zip(weights) {
            match place.checked_sub(u64::from(weight)) {
                Some(rest) => place = rest,
                None => return kind,
            }
        }
        unreachable!("a place is below the sum of the weights")
    }
}

/// The first number from the golden section of `total` on that shares no factor with it.
fn step(total: u64) -> u64 {
    let coprime = |step: &u64| {
        let (mut a, mut b) = (*step, total);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    let golden = (total * 618 / 1_000).max(1);
    (golden..).find(coprime).expect("a prime above the total shares no factor with it")
}

impl Bench {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let format = self.target.format(sources)?;
        let house = Arc::new(House::open(&client, &self.property, self.connections).await?);
        if !house.has_rooms() {
            return Err(Failure::Failed(format!("property {} has no rooms; name another", self.property)));
        }
        let plan = load::Plan {
            connections: self.connections,
            batch: self.batch,
            duration: Duration::from_secs(self.duration.into()),
            mix: self.mix,
            rate: self.rate,
        };
        let round_trip = round_trip(&client).await;
        let before = machine::Use::now();
        let measured = load::run(&client, &house, &plan).await?;
        let busy = machine::Use::now().zip(before).map(|(after, before)| after.since(before));
        let evidence = limit::Evidence {
            round_trip,
            busy,
            is_local: client.endpoints().iter().all(machine::is_here),
            median: measured.median(),
            read_median: measured.median_of(Kind::Read),
            lag: measured.lag(self.rate, plan.duration),
        };
        let report = report::Report::new(&plan, &measured, limit::judge(&evidence));
        output::show(format, &report, report::text)?;
        if report.answered() { Ok(()) } else { Err(Failure::Failed("no request was answered".to_owned())) }
    }
}

/// The time that the network and a node's HTTP take by themselves: the best of some questions that need nothing else.
async fn round_trip(client: &Client) -> Option<Duration> {
    let mut best = None;
    for _ in 0..20 {
        let began = std::time::Instant::now();
        if client.livez().await {
            let took = began.elapsed();
            best = Some(best.map_or(took, |best: Duration| best.min(took)));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_spread_by_its_weights() {
        let mix: Mix = "reserve=7,read=2,cancel=1".parse().unwrap();
        let kinds: Vec<Kind> = (0..100).map(|n| mix.kind(n)).collect();
        let count = |kind| kinds.iter().filter(|it| **it == kind).count();
        assert_eq!((count(Kind::Reserve), count(Kind::Read), count(Kind::Cancel)), (70, 20, 10));
        // No round is all of one kind first.
        assert!(
            kinds[..10].windows(8).all(|run| run.iter().any(|kind| *kind != run[0])),
            "{:?}",
            &kinds[..10]
        );
        for (text, why) in [
            ("", "expected"),
            ("reserve", "expected"),
            ("reserve=-1", "expected"),
            ("write=1", "`write=1`"),
            ("read=1", "above 0"),
            ("reserve=1,reserve=2", "twice"),
        ] {
            assert!(text.parse::<Mix>().unwrap_err().contains(why), "{text}");
        }
    }
}
