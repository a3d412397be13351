//! Logs: to stderr, filtered by `--log`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::Command;
use super::settings::LogFilter;

/// Starts logging for this process. A node tells what it does; the other subcommands only what went wrong.
pub(super) fn start(command: &Command, filter: Option<&LogFilter>) {
    let default = if matches!(command, Command::Serve(_)) { "info,openraft=warn" } else { "warn" };
    let directives = filter.map_or(default, |LogFilter(text)| text);
    // A filter was parsed once when it was read, so that nothing is lost here.
    let filter = EnvFilter::builder().parse_lossy(directives);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
