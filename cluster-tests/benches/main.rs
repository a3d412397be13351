//! What one node's own work costs, in this process: applying commands, encoding, the log, snapshots; and how that stays
//! as the ledger grows.
//!
//! `cargo bench` measures all of it, `cargo bench -- ledger/` what has a name that begins so; `scripts/bench-compare` holds a
//! run against `baseline.json`. What a cluster does under load is measured by `innkeeper bench`.

mod growth;
mod house;
mod ledger;
mod report;
mod storage;

use std::process::ExitCode;

use report::Report;

/// The binary's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let mut report = match Report::from_args(std::env::args().skip(1)) {
        Ok(report) => report,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(2);
        }
    };
    growth::memory(&mut report);
    ledger::measure(&mut report);
    storage::measure(&mut report);
    growth::measure(&mut report);
    match report.finish() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
