//! The command line against a whole cluster, and what it exports.

use std::time::Duration;

use serde_json::Value;

use super::cluster::Cluster;
use super::node::{Said, run};

/// Longer than any subcommand takes on a busy machine.
const DONE_WITHIN: Duration = Duration::from_secs(240);

impl Cluster {
    /// Runs `innkeeper` with all nodes as its endpoints, any of which takes writes.
    pub async fn innkeeper(&self, words: &[&str]) -> Said {
        let endpoints: Vec<String> =
            self.nodes.iter().map(|node| format!("http://{}", node.client_addr)).collect();
        let mut words = words.to_vec();
        endpoints.iter().for_each(|endpoint| words.extend(["--endpoint", endpoint]));
        run(&words, DONE_WITHIN).await
    }

    /// What `export` writes.
    pub async fn export(&self) -> String {
        let said = self.innkeeper(&["export"]).await;
        assert_eq!(said.code, Some(0), "{}", said.in_words());
        said.stdout
    }
}

/// The records of an export without what a cluster made itself.
pub fn without_ids(export: &str) -> Vec<Value> {
    let records = export.lines().map(|line| {
        let mut record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if let Some(booking) = record["booking"].as_object_mut() {
            booking.remove("booking");
        }
        if let Some(entry) = record["waitlist_entry"].as_object_mut() {
            entry.remove("entry");
        }
        record
    });
    records.collect()
}

/// Record by record, so that a failure shows the first that differs.
pub fn assert_same(one: &str, other: &str) {
    for (one, other) in without_ids(one).iter().zip(without_ids(other)) {
        assert_eq!(*one, other);
    }
    assert_eq!(one.lines().count(), other.lines().count());
}
