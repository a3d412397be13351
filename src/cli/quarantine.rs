//! `quarantine`: commands that applying set aside, and what is to become of them.

use clap::{Args, Subcommand};
use serde_json::json;

use super::failure::Failure;
use super::settings::Sources;
use super::{Target, Writing, output};
use crate::ledger::Lsn;
use crate::wire;

/// Shows commands that the ledger set aside because applying them failed, and deals with them
#[derive(Args, Debug)]
pub(super) struct Quarantine {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Lists those that nobody has dealt with, the oldest first
    List(Target),
    /// Applies one again, on every node, and prints what it answers now
    Retry(Settle),
    /// Forgets one for good
    Discard(Settle),
}

#[derive(Args, Debug)]
struct Settle {
    /// The LSN of the command, as `list` shows it
    #[arg(value_name = "LSN")]
    lsn: u64,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    target: Target,
}

impl Quarantine {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        match self.what {
            What::List(target) => {
                let (client, format) = (target.client(sources)?, target.format(sources)?);
                output::show(format, &client.quarantine().await?.value, table)
            }
            What::Retry(Settle { lsn, writing, target }) => {
                let (client, format) = (target.client(sources)?, target.format(sources)?);
                let answer = writing.send(|key| client.retry(Lsn(lsn), key)).await?;
                output::show_done(format, &answer.meta, &answer.value, |answer| match answer.is_null() {
                    true => format!("Command {lsn} was applied."),
                    false => format!("Command {lsn} was applied: {answer}"),
                })
            }
            What::Discard(Settle { lsn, writing, target }) => {
                let (client, format) = (target.client(sources)?, target.format(sources)?);
                let done = writing.send(|key| client.discard(Lsn(lsn), key)).await?;
                output::show_done(format, &done, &json!({}), |_| format!("Command {lsn} is forgotten."))
            }
        }
    }
}

fn table(quarantine: &wire::Quarantine) -> String {
    let rows = quarantine.commands.iter().map(|it| {
        // A command is an object with one field, by its kind.
        let fields = it.command.as_object().into_iter().flatten().next();
        let (kind, fields) = fields.map_or_else(
            || ("-".to_owned(), it.command.to_string()),
            |(kind, fields)| (kind.clone(), fields.to_string()),
        );
        [it.lsn.to_string(), it.code.clone(), kind, fields]
    });
    output::table(["lsn", "failure", "command", "fields"], rows)
}
