//! How long the log's thread has been at one thing: a disk that hangs gives no error, and whoever waits for it says nothing.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Since when the thread has been writing or flushing what it took last.
#[derive(Clone, Debug, Default)]
pub struct LogBusy(Arc<Mutex<Option<Instant>>>);

impl LogBusy {
    pub fn begin(&self) {
        self.set(Some(Instant::now()));
    }

    pub fn end(&self) {
        self.set(None);
    }

    /// None where it waits for something to do.
    pub fn lasts(&self) -> Option<Duration> {
        self.0.lock().expect("no panic while it is locked").map(|since| since.elapsed())
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().expect("no panic while it is locked") = since;
    }
}
