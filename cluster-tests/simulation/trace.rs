//! What happened, as a hash that two runs of one seed must share, and in words when one seed is replayed.

use std::fmt::Display;

/// FNV-1a: small, and the same on every build.
pub struct Trace {
    hash: u64,
    events: u64,
    is_printed: bool,
}

impl Trace {
    pub fn new(is_printed: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0, is_printed }
    }

    /// Counts towards the hash, and is printed in a replay.
    pub fn event(&mut self, now_ms: u64, what: impl Display) {
        let what = what.to_string();
        self.mix(now_ms, what.as_bytes());
        if self.is_printed {
            eprintln!("{:>7}.{:03} {what}", now_ms / 1_000, now_ms % 1_000);
        }
    }

    /// Counts towards the hash only: messages are too many to read.
    pub fn mix(&mut self, now_ms: u64, bytes: &[u8]) {
        self.events += 1;
        for byte in now_ms.to_le_bytes().iter().chain(bytes) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn events(&self) -> u64 {
        self.events
    }
}
