//! Bugs that are put in on purpose, one at a time, to see whether the tests find them.
//!
//! A checker is trusted after it has caught what was planted for it. Builds for tests alone know them (the feature
//! `planted-bugs`, which nothing but this package's own dev-dependency turns on); in any other build [`planted`] is the
//! constant `false` and the bugs are not compiled. The same goes for a disk that is [full](fill_disk), and for [small](set_log_file_bytes)
//! files of the log.

/// What `innkeeper --version` says, so that nobody takes a build for tests for one to use.
#[cfg(feature = "planted-bugs")]
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (for tests: bugs can be planted)");
#[cfg(not(feature = "planted-bugs"))]
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Declares the bugs with their names.
macro_rules! bugs {
    ($($(#[$words:meta])* $bug:ident = $name:literal,)*) => {
        /// What can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[$words])* $bug,)*
        }

        #[cfg(feature = "planted-bugs")]
        impl Bug {
            pub const ALL: &[Bug] = &[$(Bug::$bug,)*];

            pub fn name(self) -> &'static str {
                match self {
                    $(Bug::$bug => $name,)*
                }
            }
        }
    };
}

bugs! {
    // The log.
    /// Entries are reported as durable before their flush.
    AcknowledgedBeforeFlush = "acknowledged-before-flush",
    /// A vote is answered before its flush.
    VoteNotFlushed = "vote-not-flushed",
    /// Entries that another leader replaced stay on disk.
    TruncationForgotten = "truncation-forgotten",
    /// A flush that failed is reported as done.
    FailedFlushIgnored = "failed-flush-ignored",
    /// What a power cut left of an unfinished write is not cut off.
    TornTailKept = "torn-tail-kept",
    /// A file of the log is begun before the one before it is flushed.
    BegunBeforeFlushed = "begun-before-flushed",
    /// A record that was damaged on the disk is cut off as an unfinished write would be, with all behind it.
    DamageTakenForTorn = "damage-taken-for-torn",
    /// The log is purged up to what is applied, snapshot or not.
    PurgedBeforeSnapshot = "purged-before-snapshot",
    /// A leader that crashed leads on in its term.
    LeaderRestored = "leader-restored",
    // Apply and snapshots.
    /// A snapshot from the leader moves the position and leaves the state.
    InstalledHalf = "installed-half",
    /// Idempotency keys don't survive a snapshot.
    KeysLostInSnapshot = "keys-lost-in-snapshot",
    /// Holds that went through a snapshot never end.
    HoldsLostInSnapshot = "holds-lost-in-snapshot",
    /// Commands that were batched get each other's answers.
    AnswersSwapped = "answers-swapped",
    // The node.
    /// A leader answers reads without asking whether it still leads.
    StaleLeaderReads = "stale-leader-reads",
    /// A follower answers linearizable reads from what it has.
    FollowerReadsItself = "follower-reads-itself",
    /// A read does not wait until its index is applied.
    ReadNotAwaited = "read-not-awaited",
    /// A read does not wait for holds that are due.
    DueNotAwaited = "due-not-awaited",
    /// The log is purged although only the newest snapshot could do without it.
    PurgedPastOlder = "purged-past-older",
    /// Holds end only when the next command comes.
    HoldsNotEnded = "holds-not-ended",
    /// A leader believes its own wall clock, whatever the others' say.
    StampedByOwnClock = "stamped-by-own-clock",
    /// Commands whose forwarding was not answered are forwarded once more.
    ForwardedTwice = "forwarded-twice",
    /// Commands whose forwarding was not answered are said not to have happened.
    LostForwardDenied = "lost-forward-denied",
    /// A proposal whose fate is not known is said not to have happened.
    UnknownDenied = "unknown-denied",
    // The ledger.
    /// Only the first night of a stay is checked.
    NightSkipped = "night-skipped",
    /// The departure day counts as taken.
    DepartureTaken = "departure-taken",
    /// One stay more than there are rooms.
    TypeOversold = "type-oversold",
    /// A canceled stay keeps its first night.
    CanceledKeepsNight = "canceled-keeps-night",
    /// A hold can be confirmed after its end.
    ConfirmedAfterEnd = "confirmed-after-end",
    /// A hold lasts a tenth less than was asked.
    HoldCutShort = "hold-cut-short",
    /// What a key created is not found under it.
    KeyForgotten = "key-forgotten",
    /// Changes and refusals are not kept under their keys.
    OutcomeForgotten = "outcome-forgotten",
    /// A retry shows what was created as it is now.
    ReplayShowsNow = "replay-shows-now",
    /// A refused command gives its LSN back.
    RefusedTakesNoLsn = "refused-takes-no-lsn",
    /// A refused change leaves behind what it had begun.
    RefusalNotRolledBack = "refusal-not-rolled-back",
    /// A stay's own nights stand in the way of its change.
    OwnNightsInTheWay = "own-nights-in-the-way",
    /// Canceling panics. What every node does alike no node can find in another: the stories about poison do.
    CancelPanics = "cancel-panics",
    /// What is due for two guests or a block of two rooms panics, and so does giving two guests a room that came free; alike
    /// on every node too.
    DuePanics = "due-panics",
    /// Which room a stay by type gets is not the same on every node.
    RoomByChance = "room-by-chance",
    // The history.
    /// What a node missed while it took a snapshot is not known to be missing, nor found to be.
    GapNotNoticed = "gap-not-noticed",
    /// What one peer does not tell is given up, though another may have it.
    GivenUpTooSoon = "given-up-too-soon",
    /// A page that ends within a command ends the command.
    PageEndsCommand = "page-ends-command",
    /// Nothing of it is kept. No test looks for this one: it is there to measure what the history costs.
    HistoryNotKept = "history-not-kept",
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::cell::Cell;
    use std::io;

    use super::Bug;

    /// The variable that plants a bug in a whole process, as a broken build would have it.
    const VARIABLE: &str = "INNKEEPER_PLANTED";

    fn asked_for() -> Option<Bug> {
        let name = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())?;
        let bug = Bug::ALL.iter().copied().find(|bug| bug.name() == name);
        Some(bug.unwrap_or_else(|| panic!("{VARIABLE} names no bug: `{name}`")))
    }

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = Cell::new(asked_for());
        static DRAWN: Cell<u64> = const { Cell::new(0) };
        static DISK_TAKES: Cell<Option<u64>> = const { Cell::new(None) };
        static LOG_FILE_BYTES: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Plants a bug in everything that this thread runs from now on, in place of the one before.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
        DRAWN.set(0);
    }

    /// Whether the bug is planted on this thread.
    pub fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// New files that this thread writes take so many more bytes, and then no more; `None` for as many as there are.
    /// Returns how many were left until now.
    pub fn fill_disk(takes: Option<u64>) -> Option<u64> {
        DISK_TAKES.replace(takes)
    }

    /// How many of so many bytes a new file takes.
    pub fn disk_takes(bytes: usize) -> io::Result<usize> {
        let Some(takes) = DISK_TAKES.get() else { return Ok(bytes) };
        let taken = bytes.min(usize::try_from(takes).unwrap_or(bytes));
        DISK_TAKES.set(Some(takes - taken as u64));
        if taken == 0 && bytes > 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }

    /// Logs that this thread opens have files of so many bytes, so that tests come to their ends; `None` for as many as in
    /// the product.
    pub fn set_log_file_bytes(bytes: Option<u64>) {
        LOG_FILE_BYTES.set(bytes);
    }

    /// How many bytes a file of the log has, of which the product's have so many.
    pub fn log_file_bytes(of_product: u64) -> u64 {
        LOG_FILE_BYTES.get().unwrap_or(of_product)
    }

    /// Another number at every call, whoever calls.
    pub fn drawn() -> u64 {
        DRAWN.set(DRAWN.get() + 1);
        DRAWN.get()
    }
}

#[cfg(feature = "planted-bugs")]
pub use switch::{disk_takes, drawn, fill_disk, log_file_bytes, plant, planted, set_log_file_bytes};

/// Nothing is planted in this build.
#[cfg(not(feature = "planted-bugs"))]
pub const fn planted(_: Bug) -> bool {
    false
}

#[cfg(not(feature = "planted-bugs"))]
pub const fn drawn() -> u64 {
    0
}

#[cfg(not(feature = "planted-bugs"))]
pub const fn log_file_bytes(of_product: u64) -> u64 {
    of_product
}

/// The disk itself says when it is full.
#[cfg(not(feature = "planted-bugs"))]
pub fn disk_takes(bytes: usize) -> std::io::Result<usize> {
    Ok(bytes)
}
