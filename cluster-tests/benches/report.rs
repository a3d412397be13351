//! Takes measurements, prints them, writes them down and compares them with those of another run.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const USAGE: &str = "usage: cargo bench [-- [FILTER] [--compare FILE] [--output FILE]]";

/// A run, as it is written down.
#[derive(Serialize, Deserialize)]
struct Run {
    /// What it ran on.
    machine: String,
    results: BTreeMap<String, Measured>,
}

/// Less is better, whatever the unit.
#[derive(Clone, Serialize, Deserialize)]
struct Measured {
    unit: String,
    /// The median of the rounds.
    value: f64,
    /// The best and the worst round.
    best: f64,
    worst: f64,
}

pub struct Report {
    filter: String,
    compare: Option<Run>,
    output: Option<PathBuf>,
    results: BTreeMap<String, Measured>,
}

impl Report {
    /// Reads the arguments behind the program's name; fails with what there is to say.
    pub fn from_args(mut args: impl Iterator<Item = String>) -> Result<Report, String> {
        let mut report =
            Report { filter: String::new(), compare: None, output: None, results: BTreeMap::new() };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                // cargo's own.
                "--bench" => {}
                "--compare" => {
                    let file = args.next().ok_or(USAGE)?;
                    let read = fs::read(&file).map_err(|error| format!("{file}: {error}"))?;
                    report.compare =
                        Some(serde_json::from_slice(&read).map_err(|error| format!("{file}: {error}"))?);
                }
                "--output" => report.output = Some(args.next().ok_or(USAGE)?.into()),
                option if option.starts_with('-') => return Err(USAGE.into()),
                filter => report.filter = filter.into(),
            }
        }
        println!("on {}", machine());
        if let Some(other) = &report.compare {
            println!("compared with {}", other.machine);
        }
        Ok(report)
    }

    /// Whether anything whose name begins so is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.filter.starts_with(name) || name.starts_with(&self.filter)
    }

    /// Takes rounds of a number of operations in a time each.
    pub fn rounds(&mut self, name: &str, rounds: usize, mut round: impl FnMut() -> (Duration, usize)) {
        if !self.wants(name) {
            return;
        }
        // The first warms up.
        round();
        let timed = (0..rounds).map(|_| round());
        let values = timed.map(|(took, count)| took.as_nanos() as f64 / count as f64).collect();
        self.values(name, "ns", values);
    }

    /// Takes the values of several rounds.
    pub fn values(&mut self, name: &str, unit: &str, mut values: Vec<f64>) {
        if !self.wants(name) || values.is_empty() {
            return;
        }
        values.sort_by(f64::total_cmp);
        let measured = Measured {
            unit: unit.into(),
            value: values[values.len() / 2],
            best: values[0],
            worst: values[values.len() - 1],
        };
        let rate = if unit == "ns" { format!("{:>12.0}/s", 1e9 / measured.value) } else { String::new() };
        let change = self.compare.as_ref().and_then(|run| run.results.get(name));
        let change = change.map_or(String::new(), |then| {
            format!("  {:+.1} % of {:.1}", (measured.value / then.value - 1.0) * 100.0, then.value)
        });
        println!(
            "{name:<44} {:>12.1} {unit:<5} ({:.1} to {:.1}){rate}{change}",
            measured.value, measured.best, measured.worst
        );
        self.results.insert(name.into(), measured);
    }

    /// Writes the run down where that was asked for. A run that has measured nothing has failed.
    pub fn finish(self) -> io::Result<()> {
        if self.results.is_empty() {
            return Err(io::Error::other(format!("nothing has a name that begins with `{}`", self.filter)));
        }
        let Some(output) = self.output else { return Ok(()) };
        let run = Run { machine: machine(), results: self.results };
        let mut text = serde_json::to_string_pretty(&run)?;
        text.push('\n');
        fs::write(output, text)
    }
}

/// The processor by the name that it gives itself, with the system.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let names = cpuinfo.lines().filter_map(|line| line.strip_prefix("model name"));
    let name = names.map(|line| line.trim_start_matches([' ', '\t', ':'])).next().unwrap_or("a processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let release = read("/proc/sys/kernel/osrelease");
    // Of what the release is called behind its number, a machine may be told.
    let number = release.trim().split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
    format!("{cores} cores of {name}, {} {number}", std::env::consts::OS)
}
