//! `events`: what was changed, in order.

use clap::Args;

use super::failure::Failure;
use super::output::{Format, or_dash};
use super::settings::Sources;
use super::{Target, output};
use crate::client::{Client, ClientError, EventsQuery};
use crate::ledger::PropertyId;
use crate::wire;

/// How long a node waits for the next event before it answers that there is none.
const WAIT_MS: u64 = 5_000;

/// Tells what was changed, in order, an event a line
#[derive(Args, Debug)]
pub(super) struct Events {
    /// Only what comes after this event; from the beginning of what is kept when absent
    #[arg(long, value_name = "POSITION")]
    after: Option<String>,
    /// Only what concerns this property
    #[arg(long)]
    property: Option<PropertyId>,
    /// Goes on as more happens, until it is stopped
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    target: Target,
}

impl Events {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let format = self.target.format(sources)?;
        if let Some(property) = &self.property {
            exists(&client, property).await?;
        }
        let wait_ms = if self.follow { WAIT_MS } else { 0 };
        let mut query = EventsQuery { after: self.after, property: self.property, wait_ms };
        let mut begins = query.after.is_none();
        loop {
            let page = match client.events(&query).await {
                // More may be forgotten before what is left is asked for.
                Err(ClientError::Refused(refused)) if begins && refused.problem.code == "history_gone" => {
                    let Some(first) = first_lsn(&refused.problem) else {
                        return Err(ClientError::Refused(refused).into());
                    };
                    output::tell!("What was changed before LSN {first} is kept no longer.");
                    query.after = Some(format!("{}-{}", first.saturating_sub(1), u32::MAX));
                    continue;
                }
                page => page?.value,
            };
            begins = false;
            for event in &page.events {
                if !output::print_while_read(&line(format, event))? {
                    return Ok(());
                }
            }
            if page.events.is_empty() && !self.follow {
                return Ok(());
            }
            query.after = Some(page.next);
        }
    }
}

/// Where the history begins.
fn first_lsn(gone: &wire::Problem) -> Option<u64> {
    gone.facts.get("first_lsn")?.as_u64()
}

/// Nothing happens in a property whose name is mistyped. A cluster that can't tell has events all the same.
async fn exists(client: &Client, property: &PropertyId) -> Result<(), Failure> {
    match client.property(property).await {
        Err(ClientError::Refused(refused)) if refused.problem.code == "property_not_found" => {
            Err(ClientError::Refused(refused).into())
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn line(format: Format, event: &wire::Event) -> String {
    match format {
        Format::Json => serde_json::to_string(event).expect("events are structs with named fields"),
        Format::Table => {
            let shown = event.after.as_ref().or(event.before.as_ref());
            let names = ["id", "block", "room", "room_type", "property"];
            let name = shown.and_then(|it| names.iter().find_map(|name| it.get(name)?.as_str()));
            let property = or_dash(event.property.as_ref());
            format!("{:12}  {}  {:24}  {property}  {}", event.position, event.time, event.kind, or_dash(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ledger::Lsn;

    #[test]
    fn a_line_names_what_was_changed() {
        let event = wire::Event {
            position: "7-0".to_owned(),
            lsn: Lsn(7),
            time: "2027-01-01T00:00:00.000Z".to_owned(),
            kind: "room.defined".to_owned(),
            property: Some(PropertyId::new("grand").unwrap()),
            actor: "anonymous".to_owned(),
            idempotency_key: None,
            before: None,
            after: Some(json!({"room": "101", "room_type": "double"})),
            moved: None,
        };
        let words: Vec<String> = line(Format::Table, &event).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["7-0", "2027-01-01T00:00:00.000Z", "room.defined", "grand", "101"]);
        let read: wire::Event = serde_json::from_str(&line(Format::Json, &event)).unwrap();
        assert_eq!(read, event);
    }
}
