//! A process's flushes, made slow or made to fail by `strace`, which tampers with its system calls; or written down.
//!
//! Needs strace and the right to trace. A story that can't have them fails and says so.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::wait::eventually;

#[derive(Clone, Copy)]
pub enum Injection {
    /// Every flush takes a third of a second longer.
    Slow,
    /// Every flush takes a minute longer: as long as no story waits.
    Hanging,
    /// Every flush fails.
    Failing,
}

pub struct Strace(Child);

impl Strace {
    /// From when this returns every flush that begins is tampered with.
    pub async fn attach(pid: u32, injection: Injection) -> Strace {
        let what = match injection {
            Injection::Slow => "inject=fsync,fdatasync:delay_enter=300000",
            Injection::Hanging => "inject=fsync,fdatasync:delay_enter=60000000",
            Injection::Failing => "inject=fsync,fdatasync:error=EIO",
        };
        let child = Command::new("strace")
            .args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=fsync,fdatasync",
                "-e",
                what,
                "-p",
                &pid.to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let strace = Strace(child.unwrap_or_else(|error| {
            panic!(
                "strace: {error}\nThis story slows down and breaks disks with strace: install it (scripts/test does), \
                 or leave the story out on purpose with `cargo test -- --skip chaos:: --skip flushes::`."
            )
        }));
        eventually(&format!("strace traces all threads of {pid}"), async || {
            let untraced = untraced(pid).map_err(|error| error.to_string())?;
            if untraced == 0 { Ok(()) } else { Err(format!("{untraced} are not traced")) }
        })
        .await;
        strace
    }

    /// The process goes on undisturbed.
    pub fn detach(self) {
        drop(self);
    }
}

/// Threads of the process that nobody traces yet. Those that have ended by what was done to them were traced.
fn untraced(pid: u32) -> std::io::Result<usize> {
    let mut untraced = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // It may have ended since.
        let Ok(status) = std::fs::read_to_string(thread?.path().join("status")) else { continue };
        let has_ended = status.contains("\nState:\tZ") || status.contains("\nState:\tX");
        untraced += usize::from(!has_ended && status.contains("\nTracerPid:\t0\n"));
    }
    Ok(untraced)
}

/// The words before a command by which its flushes, and the names that it gives and takes away, are written to a file as
/// they begin. The process that is started is the command's own.
pub fn recorder(file: &Path) -> Vec<String> {
    let version = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    assert!(
        version.is_ok_and(|status| status.success()),
        "This story sees by strace what is flushed: install it (scripts/test does), or leave the story out on purpose with \
         `cargo test -- --skip flushes::`."
    );
    // Those with a question mark are not known on every machine.
    let calls = "trace=fsync,fdatasync,?rename,?renameat,?renameat2,?unlink,?unlinkat";
    let file = file.to_str().expect("a name in UTF-8");
    ["strace", "-D", "-f", "-q", "-y", "--seccomp-bpf", "-e", "signal=none", "-e", calls, "-o", file]
        .map(str::to_owned)
        .to_vec()
}

impl Drop for Strace {
    fn drop(&mut self) {
        // It may have ended with the process.
        if let Some(pid) = Pid::from_raw(self.0.id() as i32) {
            let _ = kill_process(pid, Signal::INT);
        }
        let _ = self.0.wait();
    }
}
