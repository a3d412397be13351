//! Which nodes answer, and which of the answers count, for the log of this one: a line when a node has been silent for a
//! while, or has refused this one, and a line when that is over.
//!
//! A node that is asked for what it can't do now refuses that, and all is well between the two. It is told only where nothing
//! that they say to one another counts: where another answers in a member's place, or one of them is not on the disk, or not of
//! the cluster, that the other knows. Whoever was refused says so too: it may be the one that was started wrongly.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::message::PeerRefusal;
use super::network::PeerError;
use super::types::NodeId;

/// How long no message is answered, or no answer counts, before that is told.
const TOLD_AFTER: Duration = Duration::from_secs(3);
/// How long what became of a message says how things are: longer than waits for answers, and pauses between messages.
const KNOWN_FOR: Duration = Duration::from_secs(10);
/// Of what another said, in a line of the log.
const QUOTED_CHARS_MAX: usize = 200;

/// Why nothing that the member `node` and this one say to one another counts, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Estrangement {
    #[error(
        "node {other} answers in the place of node {node}: check where that one's peer address leads, or \
         --initial-cluster where no cluster is formed yet"
    )]
    AnotherNode { node: NodeId, other: NodeId },
    #[error(
        "node {node} belongs to another cluster, or this node does: check where its peer address leads, and \
         --data-dir there and here"
    )]
    AnotherCluster { node: NodeId },
    // Its end is GO_ON_WITHOUT in short, which speaks of the node that says it.
    #[error(
        "node {node} is not on the disk that the cluster knows it by: check where its peer address leads, and give it \
         its own --data-dir; if that is lost, stop it: the others go on without it"
    )]
    AnotherDisk { node: NodeId },
    #[error("node {node} does not know this node by its disk: give this node its own --data-dir")]
    NotKnown { node: NodeId },
    #[error("one of node {node} and this node can't read what the other says: run the same build on both")]
    NotRead { node: NodeId },
}

impl Estrangement {
    /// `None` where no answer came, and where the member itself has said what it makes of the message.
    pub fn of(error: &PeerError) -> Option<Estrangement> {
        match *error {
            PeerError::Stranger { node, other } | PeerError::Refused { node, by: other, .. }
                if other != node =>
            {
                Some(Estrangement::AnotherNode { node, other })
            }
            PeerError::Stranger { node, .. } => Some(Estrangement::AnotherDisk { node }),
            PeerError::Refused { node, ref refusal, .. } => Estrangement::of_refusal(node, refusal),
            PeerError::Codec { node, .. } => Some(Estrangement::NotRead { node }),
            PeerError::Lost(_) | PeerError::Unexpected { .. } => None,
        }
    }

    fn of_refusal(node: NodeId, refusal: &PeerRefusal) -> Option<Estrangement> {
        match refusal {
            PeerRefusal::OtherCluster => Some(Estrangement::AnotherCluster { node }),
            PeerRefusal::NotAddressee => Some(Estrangement::AnotherDisk { node }),
            PeerRefusal::UnknownSender => Some(Estrangement::NotKnown { node }),
            // No build knows another group.
            PeerRefusal::Unreadable { .. } | PeerRefusal::OtherGroup => Some(Estrangement::NotRead { node }),
            _ => None,
        }
    }
}

/// What is amiss with nodes that messages were sent to, by node; nothing with those that are not here.
#[derive(Default)]
pub struct Hearing(Mutex<BTreeMap<NodeId, Trouble>>);

#[derive(Default)]
struct Trouble {
    /// No answer comes.
    silence: Option<Lasting>,
    /// What comes does not count. It is told anew where it is of another kind than before.
    estrangement: Option<(Estrangement, Lasting)>,
    /// When lines were last given up that may lead to where the address led before.
    lines_given_up: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Lasting {
    since: Instant,
    latest: Instant,
    is_told: bool,
}

impl Lasting {
    /// It is so once more. Where nothing was said for long it begins anew: nobody knows what was meanwhile.
    fn going_on(before: Option<Lasting>) -> Lasting {
        let now = Instant::now();
        let begun = Lasting { since: now, latest: now, is_told: false };
        Lasting { latest: now, ..before.filter(Lasting::is_known_still).unwrap_or(begun) }
    }

    fn is_known_still(&self) -> bool {
        self.latest.elapsed() <= KNOWN_FOR
    }

    /// True once, when it has lasted.
    fn is_to_be_told(&mut self) -> bool {
        let is_now = !self.is_told && self.since.elapsed() >= TOLD_AFTER;
        self.is_told |= is_now;
        is_now
    }
}

impl Hearing {
    /// What became of a message to the node, which was sent to `address`. True where lines to that are to be given up:
    /// what came over one does not count, and it may lead where that led before. At once, then each [`TOLD_AFTER`].
    pub fn heard<T>(&self, node: NodeId, address: &str, answer: &Result<T, PeerError>) -> bool {
        let error = answer.as_ref().err();
        let why = error.and_then(Estrangement::of);
        let mut troubles = self.0.lock().expect("no panic while it is locked");
        match (error, why) {
            (Some(error), Some(why)) => {
                let trouble = troubles.entry(node).or_default();
                trouble.note_estrangement(node, address, error, why);
                return trouble.gives_up_lines();
            }
            (Some(lost @ PeerError::Lost(_)), None) => {
                troubles.entry(node).or_default().note_silence(node, lost)
            }
            _ => {
                if let Some(trouble) = troubles.remove(&node) {
                    trouble.end(node);
                }
            }
        }
        false
    }

    /// The nodes whose answers have not counted for a while, and don't now.
    pub fn estranged(&self) -> Vec<Estrangement> {
        let troubles = self.0.lock().expect("no panic while it is locked");
        let estranged = troubles.values().filter_map(|trouble| trouble.estrangement);
        let lasting = estranged.filter(|(_, lasting)| lasting.is_told && lasting.is_known_still());
        lasting.map(|(why, _)| why).collect()
    }
}

impl Trouble {
    fn note_silence(&mut self, node: NodeId, error: &PeerError) {
        let mut silence = Lasting::going_on(self.silence);
        if silence.is_to_be_told() {
            tracing::warn!(node, %error, "a node does not answer");
            // Who will answer there is not known any more.
            self.estrangement = None;
        }
        self.silence = Some(silence);
    }

    fn note_estrangement(&mut self, node: NodeId, address: &str, error: &PeerError, why: Estrangement) {
        let before = self.estrangement.filter(|(before, _)| discriminant(before) == discriminant(&why));
        let mut lasting = Lasting::going_on(before.map(|(_, lasting)| lasting));
        if let Some(Lasting { since, is_told: true, .. }) = self.silence.take() {
            let (silent, said) = (since.elapsed(), quoted(error));
            tracing::warn!(node, address, ?silent, reason = %why, %said, "a node answers again, but refuses this one");
            lasting.is_told = true;
        } else if lasting.is_to_be_told() {
            tracing::warn!(node, address, reason = %why, said = %quoted(error), "a node refuses this one");
        }
        self.estrangement = Some((why, lasting));
    }

    fn gives_up_lines(&mut self) -> bool {
        let is_due = self.lines_given_up.is_none_or(|at| at.elapsed() >= TOLD_AFTER);
        if is_due {
            self.lines_given_up = Some(Instant::now());
        }
        is_due
    }

    fn end(self, node: NodeId) {
        if let Some(Lasting { since, is_told: true, .. }) = self.silence {
            tracing::info!(node, silent = ?since.elapsed(), "a node answers again");
        }
        if let Some((_, Lasting { since, is_told: true, .. })) = self.estrangement {
            tracing::info!(node, estranged = ?since.elapsed(), "a node refuses this one no more");
        }
    }
}

/// What another says may be long and hold anything: cut, and on one line.
fn quoted(error: &PeerError) -> String {
    let text: String = error.to_string().chars().take(QUOTED_CHARS_MAX).collect();
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::ledger::{EventChain, Lsn, Mark};
    use crate::replication::codec::CodecError;
    use crate::replication::transport::Lost;

    type Answer = Result<(), PeerError>;

    fn lost() -> Answer {
        Err(Lost::NoAnswer { address: "3".to_owned(), reason: "timed out".to_owned() }.into())
    }

    fn refused(refusal: PeerRefusal) -> Answer {
        Err(PeerError::Refused { node: 3, by: 3, refusal })
    }

    fn misrouted(other: NodeId) -> Answer {
        Err(PeerError::Refused { node: 3, by: other, refusal: PeerRefusal::NotAddressee })
    }

    fn hears(hearing: &Hearing, node: NodeId, answer: &Answer) {
        hearing.heard(node, "10.0.0.3:7201", answer);
    }

    /// Whether the silence of a node is told, and whether its estrangement is; `None` where there is none.
    fn told(hearing: &Hearing, node: NodeId) -> (Option<bool>, Option<bool>) {
        let troubles = hearing.0.lock().unwrap();
        let Some(trouble) = troubles.get(&node) else { return (None, None) };
        let is_told = |lasting: &Lasting| lasting.is_told;
        let estrangement = trouble.estrangement.as_ref().map(|(_, lasting)| lasting);
        (trouble.silence.as_ref().map(is_told), estrangement.map(is_told))
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_silence_that_lasts_is_told() {
        let hearing = Hearing::default();
        hears(&hearing, 3, &lost());
        assert_eq!(told(&hearing, 3), (Some(false), None));
        advance(TOLD_AFTER / 2).await;
        hears(&hearing, 3, &Ok(()));
        assert_eq!(told(&hearing, 3), (None, None));
        hears(&hearing, 3, &lost());
        advance(TOLD_AFTER).await;
        hears(&hearing, 2, &lost());
        hears(&hearing, 3, &lost());
        assert_eq!((told(&hearing, 2), told(&hearing, 3)), ((Some(false), None), (Some(true), None)));
        hears(&hearing, 3, &Ok(()));
        assert_eq!((told(&hearing, 2), told(&hearing, 3)), ((Some(false), None), (None, None)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_estrangement_that_lasts_is_told() {
        let hearing = Hearing::default();
        hears(&hearing, 3, &misrouted(2));
        advance(TOLD_AFTER / 2).await;
        hears(&hearing, 3, &Ok(()));
        hears(&hearing, 3, &misrouted(2));
        advance(TOLD_AFTER / 2).await;
        hears(&hearing, 3, &misrouted(2));
        assert_eq!(told(&hearing, 3), (None, Some(false)), "it began anew");
        assert!(hearing.estranged().is_empty());
        advance(TOLD_AFTER / 2).await;
        hears(&hearing, 3, &misrouted(4));
        assert_eq!(told(&hearing, 3), (None, Some(true)), "whoever stands in its place");
        assert_eq!(hearing.estranged(), [Estrangement::AnotherNode { node: 3, other: 4 }]);
        // What else is wrong once that is mended is told by itself.
        hears(&hearing, 3, &refused(PeerRefusal::OtherCluster));
        assert_eq!((told(&hearing, 3), hearing.estranged()), ((None, Some(false)), vec![]));
        advance(TOLD_AFTER).await;
        hears(&hearing, 3, &refused(PeerRefusal::OtherCluster));
        assert_eq!(hearing.estranged(), [Estrangement::AnotherCluster { node: 3 }]);
        // It refuses what it can't do now, and so has looked at it.
        hears(&hearing, 3, &refused(PeerRefusal::NotLeader));
        assert_eq!((told(&hearing, 3), hearing.estranged()), ((None, None), vec![]));
    }

    /// On a bad way both come in turns.
    #[tokio::test(start_paused = true)]
    async fn a_node_that_refuses_is_not_silent_and_one_that_is_silent_refuses_no_more() {
        let hearing = Hearing::default();
        let step = TOLD_AFTER / 3;
        for _ in 0..3 {
            hears(&hearing, 3, &misrouted(2));
            advance(step).await;
            hears(&hearing, 3, &lost());
        }
        hears(&hearing, 3, &misrouted(2));
        assert_eq!(told(&hearing, 3), (None, Some(true)), "messages that are lost don't end it");
        hears(&hearing, 3, &lost());
        advance(TOLD_AFTER - step).await;
        hears(&hearing, 3, &lost());
        assert_eq!(told(&hearing, 3), (Some(false), Some(true)));
        advance(step).await;
        hears(&hearing, 3, &lost());
        assert_eq!((told(&hearing, 3), hearing.estranged()), ((Some(true), None), vec![]));
        hears(&hearing, 3, &misrouted(2));
        assert_eq!(told(&hearing, 3), (None, Some(true)), "who answers is told at once");
        assert_eq!(hearing.estranged(), [Estrangement::AnotherNode { node: 3, other: 2 }]);
    }

    /// As a follower sees it that asks others once in a while.
    #[tokio::test(start_paused = true)]
    async fn what_was_long_ago_neither_lasts_nor_goes_on() {
        let hearing = Hearing::default();
        let hour = Duration::from_secs(3_600);
        for (node, answer) in [(2, lost()), (3, misrouted(2))] {
            hears(&hearing, node, &answer);
            advance(TOLD_AFTER).await;
            hears(&hearing, node, &answer);
        }
        assert_eq!((told(&hearing, 2), told(&hearing, 3)), ((Some(true), None), (None, Some(true))));
        assert_eq!(hearing.estranged().len(), 1);
        advance(hour).await;
        assert!(hearing.estranged().is_empty());
        hears(&hearing, 2, &lost());
        hears(&hearing, 3, &misrouted(2));
        assert_eq!((told(&hearing, 2), told(&hearing, 3)), ((Some(false), None), (None, Some(false))));
    }

    #[test]
    fn what_another_says_is_cut_and_stays_on_its_line() {
        let reason = format!("\n\x1b[2J{}", "x".repeat(1 << 20));
        let said = quoted(&refused(PeerRefusal::Unreadable { reason }).unwrap_err());
        assert!(said.contains(r"\n\u{1b}[2Jxxx"), "{said}");
        assert!(!said.chars().any(char::is_control), "{said}");
        assert!(said.len() < 2 * QUOTED_CHARS_MAX, "{}", said.len());
    }

    #[test]
    fn only_who_has_not_looked_at_the_message_is_estranged() {
        let node = 3;
        let reason = || "why".to_owned();
        let begins = Some(Mark { lsn: Lsn(1), chain: EventChain(2) });
        let refusals = [
            (PeerRefusal::Unreadable { reason: reason() }, Some(Estrangement::NotRead { node })),
            (PeerRefusal::OtherCluster, Some(Estrangement::AnotherCluster { node })),
            (PeerRefusal::OtherGroup, Some(Estrangement::NotRead { node })),
            (PeerRefusal::NotAddressee, Some(Estrangement::AnotherDisk { node })),
            (PeerRefusal::UnknownSender, Some(Estrangement::NotKnown { node })),
            (PeerRefusal::NoHistory { reason: reason(), begins }, None),
            (PeerRefusal::AlreadyClaimed, None),
            (PeerRefusal::NotLeader, None),
            (PeerRefusal::NoQuorum, None),
            (PeerRefusal::NoSnapshot, None),
            (PeerRefusal::SnapshotRefused { reason: reason() }, None),
            (PeerRefusal::Stopping, None),
        ];
        for (refusal, expected) in refusals {
            assert_eq!(refusal.is_of_the_envelope(), expected.is_some(), "{refusal}");
            let error = PeerError::Refused { node, by: node, refusal };
            assert_eq!(Estrangement::of(&error), expected, "{error}");
        }
        let another = Some(Estrangement::AnotherNode { node, other: 2 });
        assert_eq!(Estrangement::of(&misrouted(2).unwrap_err()), another);
        assert_eq!(Estrangement::of(&PeerError::Stranger { node, other: 2 }), another);
        let of_another_disk = PeerError::Stranger { node, other: node };
        assert_eq!(Estrangement::of(&of_another_disk), Some(Estrangement::AnotherDisk { node }));
        let garbled = PeerError::Codec { node, source: CodecError::Trailing { extra: 1 } };
        assert_eq!(Estrangement::of(&garbled), Some(Estrangement::NotRead { node }));
        assert_eq!(Estrangement::of(&PeerError::Unexpected { node }), None);
        assert_eq!(Estrangement::of(&lost().unwrap_err()), None);
    }
}
