//! Which nodes answer, for the log of this one: a line when one has been silent for a while, and one when it answers again.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::types::NodeId;

/// How long no message is answered before that is told.
const SILENT_AFTER: Duration = Duration::from_secs(3);

#[derive(Default)]
pub struct Hearing(Mutex<BTreeMap<NodeId, Silence>>);

struct Silence {
    since: Instant,
    is_told: bool,
}

impl Hearing {
    /// What became of a message to the node.
    pub fn heard<T>(&self, node: NodeId, answer: &Result<T, impl Display>) {
        let mut silences = self.0.lock().expect("no panic while it is locked");
        match answer {
            Ok(_) => {
                if let Some(Silence { since, is_told: true }) = silences.remove(&node) {
                    tracing::info!(node, silent = ?since.elapsed(), "a node answers again");
                }
            }
            Err(error) => {
                let now = Instant::now();
                let silence = silences.entry(node).or_insert(Silence { since: now, is_told: false });
                if !silence.is_told && silence.since + SILENT_AFTER <= now {
                    silence.is_told = true;
                    tracing::warn!(node, %error, "a node does not answer");
                }
            }
        }
    }
}
