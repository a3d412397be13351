//! What can't be applied here pauses this node, at the same entry after every restart.

use openraft::EntryPayload;
use tempfile::TempDir;

use super::support::{Group, batch, blank, cancel, check_of, entry_of, house, log_id, membership, reserve};
use crate::ledger::{Ledger, Lsn, StateHash};
use crate::replication::codec::{self, HEADER_BYTES, Kind};
use crate::replication::{Check, Decided, Decision, Entry, Payload};

/// A group with a house and a reservation, applied.
async fn group() -> (TempDir, Group) {
    let dir = tempfile::tempdir().unwrap();
    let mut group = Group::new(dir.path());
    group.submit(&house(3)).await;
    group.submit(&[reserve(1, 1, 5)]).await;
    (dir, group)
}

fn with_checksum(mut frame: Vec<u8>) -> Payload {
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&frame[..11]), &frame[HEADER_BYTES..]);
    frame[11..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    Payload(frame.into())
}

#[tokio::test]
async fn an_unreadable_entry_pauses_now_and_after_a_restart() {
    let (_dir, group) = group().await;
    let sound = batch(9_000, group.check(), &[reserve(2, 2, 5)]).encode().unwrap().0.to_vec();
    group.close().await;
    let mut later_version = sound.clone();
    later_version[5] = 2;
    let mut another_kind = sound.clone();
    another_kind[4] = Kind::Peer as u8;
    let mut bad_checksum = sound.clone();
    bad_checksum[20] ^= 1;
    let not_a_submission = serde_json::json!({
        "stamp": 9_000, "check": {"lsn": 0, "state_hash": 0}, "submissions": [],
    });
    let cases: [(&str, Payload); 9] = [
        ("empty", Payload::from_static(b"")),
        ("no frame", Payload::from_static(b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")),
        ("cut short", Payload(sound[..sound.len() - 1].to_vec().into())),
        ("later version", with_checksum(later_version)),
        ("another kind", with_checksum(another_kind)),
        ("bad checksum", Payload(bad_checksum.into())),
        ("no batch", Payload(codec::encode(Kind::Batch, &17).unwrap().into())),
        ("no decision", Payload(codec::encode(Kind::Decision, &17).unwrap().into())),
        ("half a batch", Payload(codec::encode(Kind::Batch, &not_a_submission).unwrap().into())),
    ];
    for (case, payload) in cases {
        let (_dir, mut group) = self::group().await;
        let before = group.state().position();
        assert_eq!(group.state().paused(), None);
        let at = group.next;
        group.commit(vec![entry_of(1, at, payload)]).await.unwrap();
        for restarts in 0..3 {
            let reason = group.state().paused().unwrap_or_else(|| panic!("{case} was applied"));
            assert!(reason.contains(&format!("index {at}")), "{case}: {reason}");
            assert!(reason.contains(&format!("LSN {}", before.lsn)), "{case}: {reason}");
            // Later entries, sound ones too, are swallowed.
            let next = group.next;
            let sound = batch(10_000, group.check(), &[reserve(3 + restarts, 3, 5)]).encode().unwrap();
            group.commit(vec![entry_of(1, next, sound), blank(1, next + 1)]).await.unwrap();
            assert_eq!(group.state().position(), before, "{case}");
            group = group.restart().await;
        }
    }
}

#[tokio::test]
async fn an_unreadable_command_keeps_the_whole_batch_from_being_applied() {
    let (_dir, mut group) = group().await;
    let before = group.state().position();
    let mut both = batch(9_000, group.check(), &[reserve(2, 2, 5), reserve(3, 3, 5)]);
    let unknown = codec::to_message_pack(&serde_json::json!({"command": {"teleport": {}}})).unwrap();
    both.submissions[1] = codec::from_message_pack(&codec::to_message_pack(&Bin(unknown)).unwrap()).unwrap();
    group.commit(vec![entry_of(1, group.next, both.encode().unwrap())]).await.unwrap();
    assert!(group.state().paused().unwrap().contains("teleport"));
    assert_eq!(group.state().position(), before);
    assert_eq!(group.state().with_ledger(check_of), group.check());
}

/// Serialised as a byte string.
struct Bin(Vec<u8>);

impl serde::Serialize for Bin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

#[tokio::test]
async fn a_state_that_this_node_never_had_pauses() {
    let (_dir, template) = group().await;
    let own = template.check();
    template.close().await;
    let cases = [
        ("same state", own, None),
        ("empty ledger", check_of(&Ledger::new()), None),
        ("other hash", Check { state_hash: StateHash(own.state_hash.0 ^ 1), ..own }, Some("state hash")),
        (
            "other hash at the empty ledger",
            Check { lsn: Lsn(0), state_hash: StateHash(1) },
            Some("state hash"),
        ),
        ("ahead", Check { lsn: own.lsn.next(), ..own }, Some("never stood")),
        ("inside a batch", Check { lsn: Lsn(2), ..own }, Some("never stood")),
    ];
    for (case, check, pauses) in cases {
        let (_dir, mut group) = group().await;
        group
            .commit(vec![entry_of(1, group.next, batch(9_000, check, &[cancel(1)]).encode().unwrap())])
            .await
            .unwrap();
        for restarted in [false, true] {
            let paused = group.state().paused();
            assert_eq!(paused.is_some(), pauses.is_some(), "{case}, restarted {restarted}: {paused:?}");
            assert!(paused.unwrap_or_default().contains(pauses.unwrap_or_default()), "{case}");
            group = group.restart().await;
        }
    }
}

#[tokio::test]
async fn a_paused_node_takes_no_snapshot_of_its_own_accord_and_a_peers_ends_the_pause() {
    use openraft::storage::RaftStateMachine;

    let (_dir, mut sound) = group().await;
    let (_other_dir, mut paused) = group().await;
    let bad = Payload::from_static(b"bad");
    paused.commit(vec![entry_of(1, 2, bad)]).await.unwrap();
    assert!(paused.storage.state_machine.try_create_snapshot_builder(false).await.is_none());

    sound.submit(&[reserve(2, 2, 5)]).await;
    sound.submit(&[reserve(3, 3, 5)]).await;
    sound.snapshot().await;
    let snapshot = sound.storage.state_machine.get_current_snapshot().await.unwrap().unwrap();
    paused.storage.state_machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
    assert_eq!(paused.state().paused(), None);
    assert_eq!(paused.state().position(), sound.state().position());

    // Both go on from there alike.
    let next = entry_of(1, 4, batch(9_000, sound.check(), &[cancel(2)]).encode().unwrap());
    sound.commit(vec![next.clone()]).await.unwrap();
    paused.apply(vec![next]).await.unwrap();
    assert_eq!(paused.state().position(), sound.state().position());
    assert_eq!(paused.state().position().log_id, Some(log_id(1, 4)));
}

#[tokio::test]
async fn a_paused_node_goes_on_from_a_peers_snapshot_with_what_its_own_log_has_behind_it() {
    use openraft::storage::RaftStateMachine;

    // What a peer applied, and its snapshot after each entry.
    let (_dir, mut sound) = group().await;
    let mut entries = Vec::new();
    let mut snapshots = Vec::new();
    let mut positions = Vec::new();
    for index in 1..=6 {
        let payload = match index {
            3 => EntryPayload::Membership(membership(&[1, 2])),
            5 => EntryPayload::Blank,
            _ => {
                let night = reserve(index.into(), 2, index);
                EntryPayload::Normal(batch(9_000, sound.check(), &[night]).encode().unwrap())
            }
        };
        if index > 1 {
            entries.push(Entry { log_id: log_id(1, index.into()), payload });
            sound.commit(entries.last().cloned().into_iter().collect()).await.unwrap();
        }
        sound.snapshot().await;
        snapshots.push(sound.storage.state_machine.snapshots().newest().unwrap());
        positions.push(sound.state().position());
    }

    // Where the snapshot lies, the term of this node's log there, and whether it helps.
    let rows = [
        ("before what was not applied", 1, 1, false),
        ("just past it", 2, 1, true),
        ("at a membership", 3, 1, true),
        ("at the last entry", 5, 1, true),
        ("past what was handed over", 6, 1, false),
        ("of another log", 5, 2, false),
    ];
    for (case, at, term, helps) in rows {
        let (_dir, mut paused) = group().await;
        let before = paused.state().position();
        let mut own = entries[..4].to_vec();
        own[0].payload = EntryPayload::Normal(Payload::from_static(b"bad"));
        own[3].log_id = log_id(term, 5);
        paused.commit(own).await.unwrap();
        let snapshot = &snapshots[at - 1];
        let ledger = snapshot.load().unwrap();
        let taken = paused.storage.state_machine.take_over(snapshot.clone(), ledger).await.unwrap();
        assert_eq!(taken, helps, "{case}");
        assert_eq!(paused.state().position(), if helps { positions[4] } else { before }, "{case}");
        assert_eq!(paused.state().paused().is_some(), !helps, "{case}");
        if helps {
            paused.commit(vec![entries[4].clone()]).await.unwrap();
            paused = paused.restart().await;
            assert_eq!(paused.state().position(), positions[5], "{case}");
            let (_, members) = paused.storage.state_machine.applied_state().await.unwrap();
            assert_eq!(*members.membership(), membership(&[1, 2]), "{case}");
            paused.state().with_ledger(Ledger::audit).unwrap();
        }
    }
}

#[tokio::test]
async fn a_decision_made_for_a_pause_ends_it_now_and_at_every_replay() {
    use openraft::storage::RaftStateMachine;

    let (_dir, mut group) = group().await;
    let own = group.check();
    // What nodes recorded of states that this one never had.
    let foreign = Check { state_hash: StateHash(own.state_hash.0 ^ 1), ..own };
    let later = Check { lsn: own.lsn.next(), state_hash: StateHash(7) };
    let recorded = |at: u32, check| {
        entry_of(1, at.into(), batch(9_000, check, &[reserve(at.into(), 2, at)]).encode().unwrap())
    };
    let members = Entry { log_id: log_id(1, 3), payload: EntryPayload::Membership(membership(&[1, 2])) };
    group.commit(vec![recorded(2, foreign), members, recorded(4, later)]).await.unwrap();
    let before = group.state().position();

    let decision = Decision { index: 2, check: own };
    let rows = [
        ("another entry", Decision { index: 4, ..decision }, false),
        ("another state", Decision { check: foreign, ..decision }, false),
        ("this pause", decision, true),
        ("this pause, once more", decision, true),
    ];
    for (case, decision, ends) in rows {
        group.commit(vec![entry_of(1, group.next, decision.encode().unwrap())]).await.unwrap();
        assert_eq!(group.state().paused().is_none(), ends, "{case}");
        assert_eq!(group.state().position() == before, !ends, "{case}");
    }
    assert_eq!(group.state().position().lsn.0, own.lsn.0 + 2);
    let lsn = group.state().position().lsn;
    assert_eq!(group.state().decided(), Some(Decided { at: 7, decision, lsn }));

    group.submit(&[reserve(9, 3, 9)]).await;
    let position = group.state().position();
    for snapshot in [false, true] {
        if snapshot {
            group.snapshot().await;
        }
        group = group.restart().await;
        assert_eq!(group.state().position(), position, "with a snapshot: {snapshot}");
        let (_, members) = group.storage.state_machine.applied_state().await.unwrap();
        assert_eq!(*members.membership(), membership(&[1, 2]));
        group.state().with_ledger(Ledger::audit).unwrap();
    }
    // What is recorded behind a decision counts again.
    let next = u32::try_from(group.next).unwrap();
    let check = Check { state_hash: StateHash(7), ..group.check() };
    group.commit(vec![recorded(next, check)]).await.unwrap();
    assert!(group.state().paused().is_some());
}

#[tokio::test]
async fn a_decision_pauses_who_has_another_past_and_lets_nobody_pass_what_cannot_be_read() {
    let (_dir, mut group) = group().await;
    let own = group.check();
    let decide = |index, check| Decision { index, check }.encode().unwrap();
    group.commit(vec![entry_of(1, 2, decide(2, own))]).await.unwrap();
    assert_eq!(group.state().paused(), None);
    let other = Check { state_hash: StateHash(own.state_hash.0 ^ 1), ..own };
    group.commit(vec![entry_of(1, 3, decide(2, other))]).await.unwrap();
    assert!(group.state().paused().unwrap().contains("state hash"));

    let (_dir, mut group) = self::group().await;
    let bad = Payload::from_static(b"bad");
    group.commit(vec![entry_of(1, 2, bad), entry_of(1, 3, decide(2, own))]).await.unwrap();
    let pause = group.state().pause().unwrap();
    assert_eq!((pause.index, pause.is_readable), (2, false));
    assert_eq!(group.state().decided(), None);
}

#[tokio::test]
async fn a_replay_gives_the_first_applications_state_and_keeps_what_was_set_aside() {
    let (_dir, mut group) = group().await;
    // An id that is taken is a failure of the command, not a refusal: it is set aside.
    group.submit(&[reserve(1, 2, 7), reserve(2, 2, 5)]).await;
    group.submit(&[cancel(1), cancel(99)]).await;
    let first = group.state().position();
    let set_aside =
        |group: &Group| group.state().with_ledger(|ledger| ledger.quarantined().cloned().collect::<Vec<_>>());
    let before = set_aside(&group);
    assert_eq!(before.len(), 1);
    for snapshot in [false, true] {
        if snapshot {
            group.snapshot().await;
        }
        group = group.restart().await;
        assert_eq!(group.state().position(), first, "with a snapshot: {snapshot}");
        assert_eq!(set_aside(&group), before, "with a snapshot: {snapshot}");
        group.state().with_ledger(Ledger::audit).unwrap();
    }
}
