//! The binary: it reads the command line, runs the subcommand, and turns how it went into an exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use innkeeper::cli::Cli;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // A usage error ends here with code 2, help and version with 0.
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("the threads of the runtime can't be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(cli.run());
    // Whatever mattered was awaited: a task that is still around must not keep the process alive.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure.to_string());
            failure.exit_code().into()
        }
    }
}

/// A stderr that is full or gone must not change the exit code.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "innkeeper: {what}");
}
