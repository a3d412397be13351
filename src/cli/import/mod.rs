//! `import`: brings hotels in from files.
//!
//! All files are read and judged before the first write; writing is repeatable, so that an import that broke off is
//! finished by running it again.

mod demand;
mod exchanged;
mod kata;
mod source;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Target;
use super::failure::Failure;
use super::settings::Sources;
use crate::client::ClientError;

/// Brings hotels in from files
#[derive(Args, Debug)]
pub(super) struct Import {
    /// What the files hold
    #[arg(long, value_name = "FORMAT")]
    format: InputFormat,
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Read and judge the files, write nothing
    #[arg(long)]
    dry_run: bool,
    /// The hotels' time zone, as an IANA name; of a kata [default: UTC]
    #[arg(long, value_name = "NAME", value_parser = time_zone)]
    time_zone: Option<String>,
    /// How many rooms the hotels have, as lines of hotel,room_type,rooms; of a demand data set
    #[arg(long, value_name = "FILE.csv")]
    capacity: Option<PathBuf>,
    /// Rows that find no room wait for one; of a demand data set
    #[arg(long)]
    waitlist: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum InputFormat {
    /// One hotel a file, as the booking kata writes it: rooms and prices by date
    Kata,
    /// What `export` writes: properties and their bookings, a record a line
    Innkeeper,
    /// The rows of "Hotel booking demand datasets", which are replayed day by day
    Demand,
}

fn time_zone(name: &str) -> Result<String, String> {
    jiff::tz::TimeZone::get(name)
        .map(|_| name.to_owned())
        .map_err(|_| "expected an IANA time zone, as in Europe/Budapest".to_owned())
}

impl Import {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        self.has_nothing_foreign()?;
        match self.format {
            InputFormat::Kata => kata::run(self, sources).await,
            InputFormat::Innkeeper => exchanged::run(self, sources).await,
            InputFormat::Demand => demand::run(self, sources).await,
        }
    }

    /// A flag that the format has no use for was meant to do something.
    fn has_nothing_foreign(&self) -> Result<(), Failure> {
        let flags = [
            (self.time_zone.is_some(), "--time-zone", InputFormat::Kata, "kata"),
            (self.capacity.is_some(), "--capacity", InputFormat::Demand, "demand"),
            (self.waitlist, "--waitlist", InputFormat::Demand, "demand"),
        ];
        match flags.into_iter().find(|(is_given, _, format, _)| *is_given && *format != self.format) {
            Some((_, flag, _, format)) => {
                Err(Failure::Usage(format!("{flag} is for --format {format} only")))
            }
            None => Ok(()),
        }
    }
}

/// Why an import ended in its middle, and what completes it. Its writes have keys of their own, so that none is asked for.
fn broken_off(error: ClientError) -> Failure {
    match error {
        ClientError::Refused(refused) if refused.is_final() => Failure::Failed(refused.to_string()),
        ClientError::OutcomeUnknown { .. } => Failure::Failed(format!("{error}{AGAIN}")),
        error => Failure::Failed(format!("{}{AGAIN}", Failure::from(error))),
    }
}

const AGAIN: &str = "\nRunning the same import again completes it.";

/// Says why nothing is imported.
fn nothing_imported(reasons: &[String]) -> Failure {
    Failure::Failed(format!("nothing is imported, because of\n{}", reasons.join("\n")))
}
