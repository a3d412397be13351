//! Logs: to stderr, filtered by `--log`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;

use super::Command;
use super::settings::LogFilter;

/// What a node logs by default: what it does, without the steps inside the libraries under it. Some of openraft's modules warn
/// of each message that a dead node does not answer, many times a second, where the node itself says once that another does
/// not answer; one of each message to a core that has stopped, as in every orderly end.
const OF_A_NODE: &str = "info,openraft=warn,openraft::core=error,openraft::core::heartbeat=off,\
    openraft::engine::handler::replication_handler=error,openraft::replication=error,openraft::raft::raft_inner=off";
/// What the other subcommands log by default: what went wrong.
const OF_A_COMMAND: &str = "warn";

/// Panics of one place that are printed a second. Where a defect lies in the way of each command, there are thousands.
const PANICS_MAX: u32 = 5;

/// Starts logging for this process.
pub(super) fn start(command: &Command, filter: Option<&LogFilter>) {
    let default = if matches!(command, Command::Serve(_)) { OF_A_NODE } else { OF_A_COMMAND };
    let directives = filter.map_or(default, |LogFilter(text)| text);
    // A filter was parsed once when it was read, so that nothing is lost here.
    let filter = EnvFilter::builder().parse_lossy(directives);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // A disk that is full, or a terminal that is gone, takes no line: to complain of that on stderr would be a panic in
        // whatever task had something to say.
        .log_internal_errors(false)
        .init();
    print_some_panics();
}

/// Leaves out panics behind the first of their place in a second. Each is answered where it happens, too.
fn print_some_panics() {
    let print = std::panic::take_hook();
    let printed = Mutex::new((Instant::now(), BTreeMap::<(String, u32), u32>::new()));
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(|it| (it.file().to_owned(), it.line())).unwrap_or_default();
        // A poisoned lock would be a panic within a panic, which ends the process.
        let mut printed = printed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if printed.0.elapsed() >= Duration::from_secs(1) {
            *printed = (Instant::now(), BTreeMap::new());
        }
        let nth = printed.1.entry(place).or_default();
        *nth += 1;
        let is_among_the_first = *nth <= PANICS_MAX;
        drop(printed);
        if is_among_the_first {
            print(panic);
        }
    }));
}
