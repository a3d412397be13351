//! An entry's id (leader and index) names one content, whoever sends it and whenever.

use std::collections::BTreeMap;

use innkeeper::replication::{Entry, LogId};

use super::Violation;

#[derive(Default)]
pub struct LogMatching {
    contents: BTreeMap<LogId, String>,
}

impl LogMatching {
    pub fn sent(&mut self, entries: &[Entry]) -> Result<(), Violation> {
        for entry in entries {
            let content = match &entry.payload {
                openraft::EntryPayload::Normal(payload) => format!("{:08x}", crc32c::crc32c(&payload.0)),
                other => format!("{other:?}"),
            };
            let known = self.contents.entry(entry.log_id).or_insert_with(|| content.clone());
            if *known != content {
                return Err(format!("log matching: entry {} is {content} and was {known}", entry.log_id));
            }
        }
        Ok(())
    }
}
