//! The command line: one file a subcommand, or a few that belong together.
//!
//! It parses at the edge and speaks to a cluster through [`crate::client`] only; `serve` and `verify` are the two that
//! touch a data directory. Data goes to stdout, progress and logs to stderr. It must never turn an unknown outcome into
//! a failure that invites a retry under another key.

mod availability;
mod bench;
mod block;
mod book;
mod change;
mod dev;
mod events;
mod exchange;
mod export;
mod failure;
mod free_rooms;
mod import;
mod inventory;
mod list;
mod log;
mod manual;
mod money;
mod output;
mod progress;
mod put;
mod quarantine;
mod reserve;
mod resume;
mod serve;
mod settings;
mod show;
mod status;
mod verify;
mod waitlist;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::time::timeout;

pub use failure::Failure;
use output::Format;
use settings::{Endpoints, LogFilter, Sources};

use crate::client::{Client, ClientError, Key, StatusChange};
use crate::ledger::{Currency, Date};
use crate::planted;

/// A fault-tolerant ledger of hotel bookings.
///
/// A setting with [env: INNKEEPER_…] may come from its flag, from that variable, or from the file that --config names; the
/// first of these wins. Exit codes: 0 done, 1 refused or failed, 2 usage, 78 bad configuration.
#[derive(Debug, Parser)]
#[command(name = "innkeeper", version = planted::VERSION, propagate_version = true)]
pub struct Cli {
    /// A TOML file with settings: the flags' names in snake_case [env: INNKEEPER_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is logged to stderr, as in `info` or `innkeeper=debug,openraft=warn` [env: INNKEEPER_LOG]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<LogFilter>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Dev),
    Serve(serve::Serve),
    Status(status::Status),
    Reserve(reserve::Reserve),
    Show(show::Show),
    Events(events::Events),
    List(list::List),
    Book(book::Book),
    Booking(book::Booking),
    /// Confirms a held reservation
    Confirm(change::Change),
    /// Cancels a reservation; its nights are free
    Cancel(change::Change),
    /// The guest arrives: the room is theirs
    CheckIn(change::Change),
    /// The guest leaves; nights that are left are free
    CheckOut(change::Change),
    /// The guest did not come; nights that are left are free
    NoShow(change::Change),
    Amend(change::Amend),
    Assign(change::Assign),
    FreeRooms(free_rooms::FreeRooms),
    Availability(availability::Availability),
    Search(list::Search),
    Properties(list::Properties),
    Inventory(inventory::Inventory),
    Put(put::Put),
    RetireRoom(put::RetireRoom),
    Block(block::Block),
    Waitlist(waitlist::Waitlist),
    NightAudit(put::NightAudit),
    Quarantine(quarantine::Quarantine),
    Resume(resume::Resume),
    Import(import::Import),
    Export(export::Export),
    Verify(verify::Verify),
    Bench(bench::Bench),
    Completions(manual::Completions),
    #[command(name = "man")]
    Manual(manual::Manual),
}

impl Cli {
    /// Runs the subcommand to its end.
    ///
    /// # Errors
    /// [`Failure`], which knows its exit code.
    pub async fn run(self) -> Result<(), Failure> {
        let sources = Sources::of_process(self.config)?;
        let log = sources.pick(self.log, "INNKEEPER_LOG", |file| file.log.clone())?;
        log::start(&self.command, log.as_ref());
        match self.command {
            Command::Dev(dev) => dev.run(&sources, log).await,
            Command::Serve(serve) => serve.run(&sources).await,
            Command::Status(status) => status.run(&sources).await,
            Command::Reserve(reserve) => reserve.run(&sources).await,
            Command::Show(show) => show.run(&sources).await,
            Command::Events(events) => events.run(&sources).await,
            Command::List(list) => list.run(&sources).await,
            Command::Book(book) => book.run(&sources).await,
            Command::Booking(booking) => booking.run(&sources).await,
            Command::Confirm(change) => change.run(StatusChange::Confirm, &sources).await,
            Command::Cancel(change) => change.run(StatusChange::Cancel, &sources).await,
            Command::CheckIn(change) => change.run(StatusChange::CheckIn, &sources).await,
            Command::CheckOut(change) => change.run(StatusChange::CheckOut, &sources).await,
            Command::NoShow(change) => change.run(StatusChange::NoShow, &sources).await,
            Command::Amend(amend) => amend.run(&sources).await,
            Command::Assign(assign) => assign.run(&sources).await,
            Command::FreeRooms(free_rooms) => free_rooms.run(&sources).await,
            Command::Availability(availability) => availability.run(&sources).await,
            Command::Search(search) => search.run(&sources).await,
            Command::Properties(properties) => properties.run(&sources).await,
            Command::Inventory(inventory) => inventory.run(&sources).await,
            Command::Put(put) => put.run(&sources).await,
            Command::RetireRoom(retire) => retire.run(&sources).await,
            Command::Block(block) => block.run(&sources).await,
            Command::Waitlist(waitlist) => waitlist.run(&sources).await,
            Command::NightAudit(audit) => audit.run(&sources).await,
            Command::Quarantine(quarantine) => quarantine.run(&sources).await,
            Command::Resume(resume) => resume.run(&sources).await,
            Command::Import(import) => import.run(&sources).await,
            Command::Export(export) => export.run(&sources).await,
            Command::Verify(verify) => verify.run(&sources).await,
            Command::Bench(bench) => bench.run(&sources).await,
            Command::Completions(completions) => completions.run(),
            Command::Manual(manual) => manual.run(),
        }
    }
}

/// What every subcommand takes that prints data.
#[derive(Args, Debug)]
struct Shown {
    /// How data is printed [default: table] [env: INNKEEPER_OUTPUT]
    #[arg(long, value_name = "FORMAT")]
    output: Option<Format>,
}

impl Shown {
    fn format(&self, sources: &Sources) -> Result<Format, Failure> {
        Ok(sources.pick(self.output, "INNKEEPER_OUTPUT", |file| file.output)?.unwrap_or(Format::Table))
    }
}

/// The cluster that a subcommand speaks to.
#[derive(Args, Debug)]
struct Nodes {
    /// A node's client address; repeatable or comma-separated, the next is asked when one fails
    /// [default: http://127.0.0.1:7101] [env: INNKEEPER_ENDPOINT, comma-separated]
    #[arg(long, value_name = "URL")]
    endpoint: Vec<Endpoints>,
}

impl Nodes {
    fn client(&self, sources: &Sources) -> Result<Client, Failure> {
        if !self.endpoint.is_empty() {
            let endpoints = self.endpoint.iter().flat_map(|Endpoints(some)| some.clone());
            return Client::new(endpoints.collect()).map_err(|error| Failure::Usage(error.to_string()));
        }
        let endpoints =
            sources.pick(None::<Endpoints>, "INNKEEPER_ENDPOINT", |file| file.endpoint.clone())?;
        let endpoints =
            endpoints.map_or_else(|| vec!["http://127.0.0.1:7101".to_owned()], |Endpoints(all)| all);
        Client::new(endpoints).map_err(|error| Failure::Configuration(error.to_string()))
    }
}

/// What every subcommand takes that speaks to a cluster and prints what it says.
#[derive(Args, Debug)]
struct Target {
    #[command(flatten)]
    nodes: Nodes,
    #[command(flatten)]
    shown: Shown,
}

impl Target {
    /// What is wrong with the format is told before anything is written, not behind it.
    fn client(&self, sources: &Sources) -> Result<Client, Failure> {
        self.format(sources)?;
        self.nodes.client(sources)
    }

    fn format(&self, sources: &Sources) -> Result<Format, Failure> {
        self.shown.format(sources)
    }
}

/// What every subcommand takes that writes.
#[derive(Args, Debug)]
struct Writing {
    /// Identifies this write: sent again with the same key it is done once. Made when absent
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    idempotency_key: Option<String>,
}

/// Within which a write is answered, an election included: who waits for longer may soon give up.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

impl Writing {
    /// Makes the write. Who waits for its answer is told the key: under another one, the same command might do it twice.
    async fn send<T>(self, write: impl AsyncFnOnce(Key) -> Result<T, ClientError>) -> Result<T, Failure> {
        let key = self.idempotency_key.unwrap_or_else(Key::fresh_text);
        let mut written = pin!(write(Key::Given(key.clone())));
        if let Ok(written) = timeout(ANSWERED_WITHIN, &mut written).await {
            return Ok(written?);
        }
        output::tell!(
            "No answer yet. If this is broken off, the same command with --idempotency-key {key} goes on, and can't do it \
             twice."
        );
        Ok(written.await?)
    }
}

/// The stay that is asked for.
#[derive(Args, Debug)]
struct StayWanted {
    /// The first night
    #[arg(long, value_name = "DATE")]
    arrival: Date,
    /// The day after the last night
    #[arg(long, value_name = "DATE")]
    departure: Date,
    /// Persons
    #[arg(long, value_name = "N", default_value_t = 1)]
    occupancy: u32,
    /// The property's own when absent
    #[arg(long, value_name = "CODE", value_parser = currency)]
    currency: Option<Currency>,
}

fn idempotency_key(text: &str) -> Result<String, String> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    match text.len() {
        1..=255 if visible => Ok(text.to_owned()),
        _ => Err("expected 1 to 255 visible ASCII characters".to_owned()),
    }
}

fn currency(text: &str) -> Result<Currency, String> {
    Currency::new(text).ok_or_else(|| "expected an ISO 4217 code of three upper-case letters".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// By this scripts/planted-bugs tells a build for tests from one for use.
    #[test]
    fn a_build_in_which_bugs_can_be_planted_says_so() {
        assert!(Cli::command().get_version().is_some_and(|version| version.contains("planted")));
    }

    #[test]
    fn usage_errors_end_with_2_and_help_with_0() {
        let stay =
            ["--property", "p", "--arrival", "2027-03-01", "--departure", "2027-03-02", "--guest", "g"];
        let reserve = |more: &[&'static str]| [&["innkeeper", "reserve"], &stay[..], more].concat();
        let id = "01890000-0000-7000-8000-000000000001";
        let wrong = [
            vec!["innkeeper"],
            vec!["innkeeper", "nonsense"],
            vec!["innkeeper", "status", "--output", "xml"],
            vec!["innkeeper", "show", "not-a-uuid"],
            vec!["innkeeper", "show", id, "--history", "--as-of", "7"],
            vec!["innkeeper", "show", id, "--as-of", "yesterday"],
            vec!["innkeeper", "events", "--property", "-"],
            vec!["innkeeper", "cancel", id, "--idempotency-key", "with space"],
            vec!["innkeeper", "amend", id],
            vec!["innkeeper", "amend", id, "--room", "1", "--unpin"],
            vec!["innkeeper", "amend", id, "--room", "1", "--room-type", "double"],
            vec!["innkeeper", "assign", id],
            vec!["innkeeper", "serve", "--node-id", "one"],
            vec!["innkeeper", "serve", "--client-addr", "nowhere"],
            vec!["innkeeper", "serve", "--initial-cluster", "1=a:1,1=b:1"],
            vec!["innkeeper", "quarantine", "retry"],
            vec!["innkeeper", "quarantine", "discard", "last"],
            vec!["innkeeper", "resume", "17"],
            vec!["innkeeper", "resume", "17", "0123456789abcdef"],
            vec!["innkeeper", "import", "file.json"],
            vec!["innkeeper", "import", "--format", "kata"],
            vec!["innkeeper", "import", "--format", "csv", "file"],
            vec!["innkeeper", "status", "--log", "=/="],
            reserve(&[]),
            reserve(&["--room", "1", "--room-type", "double"]),
            reserve(&["--room", "no room"]),
            reserve(&["--room", "1", "--currency", "eur"]),
            reserve(&["--room", "1", "--occupancy", "-1"]),
        ];
        for args in wrong {
            let error = Cli::try_parse_from(&args).expect_err(&args.join(" "));
            assert_eq!(error.exit_code(), 2, "{args:?}");
        }
        assert!(Cli::try_parse_from(reserve(&["--room", "1"])).is_ok());
        for change in ["confirm", "cancel", "check-in", "check-out", "no-show"] {
            assert!(Cli::try_parse_from(["innkeeper", change, id, "--if-match", "2"]).is_ok(), "{change}");
        }
        assert!(Cli::try_parse_from(["innkeeper", "amend", id, "--unpin", "--occupancy", "1"]).is_ok());
        assert!(Cli::try_parse_from(["innkeeper", "amend", id, "--unpin", "--room-type", "double"]).is_ok());
        for (flag, kind) in [("--help", ErrorKind::DisplayHelp), ("--version", ErrorKind::DisplayVersion)] {
            let error = Cli::try_parse_from(["innkeeper", flag]).expect_err(flag);
            assert_eq!((error.kind(), error.exit_code()), (kind, 0));
        }
    }
}
