//! What this node's history lacks, fetched from a peer, and checked by the hash chain at both ends.

use std::sync::Weak;
use std::time::Duration;

use super::Node;
use crate::history::Gap;
use crate::ledger::Mark;
use crate::planted::{Bug, planted};
use crate::replication::{
    HistoryPiece, HistoryRequest, NodeId, PeerError, PeerRefusal, Reply, Request, blocking,
};

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs until the node is gone.
pub async fn run(node: Weak<Node>) {
    // What could not be fetched is said once, not at every look.
    let (mut lacks, mut lacks_room): (Option<Gap>, bool) = (None, false);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(node) = node.upgrade() else { return };
        let Some(gap) = node.history.gap() else { continue };
        let history = node.history.clone();
        if let Ok(Err(error)) = blocking(&*node.disk, move || history.has_room_for_gap()).await {
            if !lacks_room {
                tracing::error!(%error, "what is missing of the history is not fetched: make room, and it goes on by itself");
            }
            lacks_room = true;
            continue;
        }
        lacks_room = false;
        if lacks != Some(gap) {
            tracing::info!(
                after = gap.after.lsn.0,
                upto = gap.upto.lsn.0,
                "fetching the history from a peer"
            );
        }
        node.fetch_gap(gap).await;
        lacks = node.history.gap();
    }
}

enum Progress {
    Some,
    None,
    /// The peer lacks it too. What it has begins here.
    Lacks(Mark),
}

impl Node {
    /// Fetches what is missing from whoever has it. What every member has lost is given up.
    async fn fetch_gap(&self, gap: Gap) {
        let mut begins = Vec::new();
        let members = self.members();
        // Who the others are is not known yet.
        if !members.contains_key(&self.id()) {
            return;
        }
        let peers: Vec<NodeId> = members.into_keys().filter(|id| *id != self.id()).collect();
        for id in &peers {
            loop {
                match self.fetch_from(*id).await {
                    Progress::Some => continue,
                    Progress::None => {}
                    Progress::Lacks(mark) => begins.push(mark),
                }
                break;
            }
            if self.history.gap().is_none() {
                tracing::info!(peer = id, "what was missing of the history is there again");
                return;
            }
        }
        // Who did not answer may have it. What came in this round changes what was asked for.
        let is_lost = begins.len() == peers.len() || planted(Bug::GivenUpTooSoon);
        if is_lost && self.history.gap() == Some(gap) {
            self.history.give_up(gap, begins.into_iter().min_by_key(|mark| mark.lsn));
        }
    }

    /// Fetches the next piece of what is missing.
    async fn fetch_from(&self, peer: NodeId) -> Progress {
        let (Some(gap), Some(member)) = (self.history.gap(), self.member(peer)) else {
            return Progress::None;
        };
        let request = Request::History(HistoryRequest { after: gap.filled_upto(), upto: gap.upto.lsn });
        let wait = self.config.timings.snapshot_piece;
        let frame = match self.peers.call_member(peer, &member, request, wait).await {
            Ok(Reply::History(piece)) => piece.frame,
            Ok(_) => return Progress::None,
            Err(error) => {
                tracing::debug!(peer, %error, "a peer gave no history");
                return match error {
                    PeerError::Refused {
                        refusal: PeerRefusal::NoHistory { begins: Some(begins), .. },
                        ..
                    } => Progress::Lacks(begins),
                    _ => Progress::None,
                };
            }
        };
        let history = self.history.clone();
        match blocking(&*self.disk, move || history.fill(&frame)).await {
            Ok(Ok(true)) => Progress::Some,
            Ok(Ok(false)) => Progress::None,
            Ok(Err(error)) => {
                tracing::warn!(peer, %error, "a peer's history does not fit");
                Progress::None
            }
            Err(error) => {
                tracing::error!(peer, %error, "a peer's history could not be kept");
                Progress::None
            }
        }
    }

    /// A piece of this node's history for a peer that lacks it.
    pub(super) async fn history_for_peer(&self, request: HistoryRequest) -> Result<Reply, PeerRefusal> {
        let HistoryRequest { after, upto } = request;
        let piece = self.ask_history(move |history| history.piece(after, upto)).await;
        piece.map(|frame| Reply::History(HistoryPiece { frame: frame.into() })).map_err(|reason| {
            // Where it is there, it is only not told now.
            let begins = self.history.lacks(after.lsn);
            PeerRefusal::NoHistory { reason: reason.to_string(), begins }
        })
    }
}
