//! Who does the work that waits for the disk: threads in production.
//!
//! The async runtime never waits for a disk. A simulation has one thread and a clock of its own: there the same work is
//! done in place, and what the disk would have taken is waited for by that clock.

use std::io;

use tokio::sync::oneshot;

use super::log_worker::LogWorker;

/// How nice a thread is that gives way: next to one that does not it has about a tenth of a processor.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Work that may block.
pub type Work = Box<dyn FnOnce() + Send>;

/// Carries out what waits for the disk. Called inside the async runtime.
pub trait Disk: Send + Sync + 'static {
    /// Serves the log until its last user is gone or it has failed.
    fn run_log(&self, log: LogWorker) -> io::Result<()>;

    /// Does the work, now or soon.
    fn run(&self, work: Work);

    /// Does long work that no request waits for, behind all that one may wait for.
    fn run_behind(&self, work: Work) -> io::Result<()>;
}

/// A thread for the log, and the runtime's threads for everything else.
pub struct DiskThreads;

impl Disk for DiskThreads {
    fn run_log(&self, log: LogWorker) -> io::Result<()> {
        std::thread::Builder::new().name("log".into()).spawn(move || log.run())?;
        Ok(())
    }

    fn run(&self, work: Work) {
        tokio::task::spawn_blocking(work);
    }

    fn run_behind(&self, work: Work) -> io::Result<()> {
        let work = || {
            give_way();
            work();
        };
        // A thread of its own: what has given way once may not be able to take it back.
        std::thread::Builder::new().name("behind".into()).spawn(work)?;
        Ok(())
    }
}

/// This thread gets what others leave of the processor, and a small share where they leave nothing. That is Linux's alone:
/// elsewhere a priority is the whole process's.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "a thread could not give way to others");
    }
}

/// Has `work` done and waits for its result. An error where it panicked.
pub async fn blocking<T: Send + 'static>(
    disk: &dyn Disk,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, is_done) = oneshot::channel();
    // Whoever waited for the result may have gone away.
    disk.run(Box::new(move || drop(done.send(work()))));
    is_done.await.map_err(panicked)
}

/// As [`blocking`], behind all that a request may wait for.
pub async fn blocking_behind<T: Send + 'static>(
    disk: &dyn Disk,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, is_done) = oneshot::channel();
    disk.run_behind(Box::new(move || drop(done.send(work()))))?;
    is_done.await.map_err(panicked)
}

/// Drops what holds a file where that may take its time: to remove a large one does.
pub fn let_go(disk: &dyn Disk, held: impl Send + 'static) {
    disk.run(Box::new(move || drop(held)));
}

fn panicked(_: oneshot::error::RecvError) -> io::Error {
    io::Error::other("the work on the disk has panicked")
}
