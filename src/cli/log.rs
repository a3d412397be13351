//! Logs: to stderr, filtered by `--log`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::Command;
use super::settings::LogFilter;

/// What a node logs by default: what it does, without the steps inside the libraries under it. Some of openraft's modules warn
/// of each message that a dead node does not answer, many times a second, where the node itself says once that another does
/// not answer; one of each message to a core that has stopped, as in every orderly end.
const OF_A_NODE: &str = "info,openraft=warn,openraft::core=error,openraft::core::heartbeat=off,\
    openraft::engine::handler::replication_handler=error,openraft::replication=error,openraft::raft::raft_inner=off,raft_log=warn";
/// What the other subcommands log by default: what went wrong.
const OF_A_COMMAND: &str = "warn";

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
        .init();
}
