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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_silence_that_lasts_is_told() {
        let hearing = Hearing::default();
        let told = |node| hearing.0.lock().unwrap().get(&node).map(|silence| silence.is_told);
        let (lost, answered) = (Err::<(), _>("no answer"), Ok::<_, &str>(()));
        hearing.heard(3, &lost);
        assert_eq!(told(3), Some(false));
        tokio::time::advance(SILENT_AFTER / 2).await;
        hearing.heard(3, &answered);
        assert_eq!(told(3), None);
        hearing.heard(3, &lost);
        tokio::time::advance(SILENT_AFTER).await;
        hearing.heard(2, &lost);
        hearing.heard(3, &lost);
        assert_eq!((told(2), told(3)), (Some(false), Some(true)));
        hearing.heard(3, &answered);
        assert_eq!((told(2), told(3)), (Some(false), None));
    }
}
