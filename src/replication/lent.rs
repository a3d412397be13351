//! Which snapshots peers fetch from this node: each is held for who fetches it, however many newer ones are written meanwhile.
//! Over a slow way that takes longer than any is kept.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::disk::{Disk, blocking, blocking_behind, let_go};
use super::message::{FetchedPiece, PeerRefusal, SnapshotRequest};
use super::snapshot::SnapshotFile;
use super::types::NodeId;

/// How long after its last question a peer may go on with what it fetches: it tries one piece for up to a minute, and then asks
/// each of the others before it comes again.
const HELD: Duration = Duration::from_secs(300);

/// One snapshot a peer, at most. Peers are members.
#[derive(Default)]
pub struct LentSnapshots(Mutex<BTreeMap<NodeId, Lent>>);

struct Lent {
    file: SnapshotFile,
    asked: Instant,
    /// Whether its end was given.
    is_given: bool,
}

impl LentSnapshots {
    /// The piece that `peer` asks for, of the snapshot that it fetches or, where it begins, of the newest of those that are
    /// `kept` that helps it; of `bytes_max` bytes at most. None is given of a snapshot that was not read to its end before: what
    /// the peer would find at the end of a long way is found before it.
    pub async fn piece(
        &self,
        peer: NodeId,
        question: SnapshotRequest,
        kept: Vec<SnapshotFile>,
        bytes_max: usize,
        disk: &dyn Disk,
    ) -> Result<FetchedPiece, PeerRefusal> {
        let file = self.find(peer, question, kept, disk).ok_or(PeerRefusal::NoSnapshot)?;
        check(peer, &file, disk).await?;
        let asked_for =
            question.bytes.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let (reading, offset, length) = (file.clone(), question.offset, asked_for.min(bytes_max));
        let read = blocking(disk, move || reading.piece(offset, length)).await;
        let expected = (file.len() - offset).min(length as u64);
        let whole = |bytes: Vec<u8>| {
            if bytes.len() as u64 == expected { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        };
        let bytes = read.and_then(|read| read.and_then(whole)).map_err(|error| {
            // Whether that is damage is found before the next piece.
            file.doubt();
            tracing::warn!(peer, %error, file = %file.path().display(), "a snapshot could not be read for a peer");
            PeerRefusal::NoSnapshot
        })?;
        if offset + expected == file.len() {
            self.has_given_all(peer, &file);
        }
        Ok(FetchedPiece { meta: file.meta().clone(), length: file.len(), bytes: bytes.into() })
    }

    /// Lets go of what nobody has asked for any more for a while. Called now and then.
    pub fn let_go_of_idle(&self, disk: &dyn Disk) {
        let now = Instant::now();
        let mut lent = self.lock();
        let is_idle = lent.iter().filter(|entry| now - entry.1.asked > HELD);
        let peers: Vec<NodeId> = is_idle.map(|(peer, _)| *peer).collect();
        let idle: Vec<Lent> = peers.iter().filter_map(|peer| lent.remove(peer)).collect();
        drop(lent);
        if !idle.is_empty() {
            let_go(disk, idle);
        }
    }

    fn find(
        &self,
        peer: NodeId,
        question: SnapshotRequest,
        kept: Vec<SnapshotFile>,
        disk: &dyn Disk,
    ) -> Option<SnapshotFile> {
        let SnapshotRequest { from, upto, offset, .. } = question;
        let helps = |file: &SnapshotFile| {
            let reaches = file.meta().index().is_some_and(|index| (from..=upto).contains(&index));
            reaches && offset < file.len() && !file.is_damaged()
        };
        let asked = Instant::now();
        let mut all_lent = self.lock();
        if offset > 0
            && let Some(lent) = all_lent.get_mut(&peer).filter(|lent| helps(&lent.file))
        {
            lent.asked = asked;
            return Some(lent.file.clone());
        }
        let file = kept.into_iter().find(helps)?;
        let replaced = all_lent.insert(peer, Lent { file: file.clone(), asked, is_given: false });
        drop(all_lent);
        if let Some(replaced) = replaced {
            if replaced.is_given && replaced.file.is_same(&file) {
                // It has all, and begins anew: what it read may be other than what was checked here.
                file.doubt();
            }
            // Perhaps nobody else holds it any more, and to remove a large file takes time.
            let_go(disk, replaced);
        }
        Some(file)
    }

    fn has_given_all(&self, peer: NodeId, file: &SnapshotFile) {
        let mut all_lent = self.lock();
        if let Some(lent) = all_lent.get_mut(&peer).filter(|lent| lent.file.is_same(file)) {
            lent.is_given = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Lent>> {
        self.0.lock().expect("no panic while the lent snapshots are locked")
    }
}

/// Reads the file to its end where that is not known to be sound. It goes on though the peer waits no longer, and its next
/// question finds what came of it.
async fn check(peer: NodeId, file: &SnapshotFile, disk: &dyn Disk) -> Result<(), PeerRefusal> {
    if file.checked().is_some() {
        return Ok(());
    }
    let checking = file.clone();
    let checked = blocking_behind(disk, move || checking.check_once()).await;
    match checked.and_then(|checked| Ok(checked?)) {
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::error!(
                peer, file = %file.path().display(), %error,
                "a snapshot can't be read to its end and is not given to a peer; one that is damaged is replaced"
            );
            Err(PeerRefusal::NoSnapshot)
        }
    }
}
