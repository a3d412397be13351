//! A process's flushes, made slow or made to fail by `strace`, which tampers with its system calls; or written down.
//!
//! Needs strace and the right to trace. A story that can't have them fails and says so.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

#[derive(Clone, Copy)]
pub enum Injection {
    /// Every flush takes a third of a second longer.
    Slow,
    /// Every flush fails.
    Failing,
}

pub struct Strace(Child);

impl Strace {
    pub fn attach(pid: u32, injection: Injection) -> Strace {
        let what = match injection {
            Injection::Slow => "inject=fsync,fdatasync:delay_enter=300000",
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
        Strace(child.unwrap_or_else(|error| {
            panic!(
                "strace: {error}\nThis story slows down and breaks disks with strace: install it (scripts/test does), \
                 or leave the story out on purpose with `cargo test -- --skip chaos::`."
            )
        }))
    }

    /// The process goes on undisturbed.
    pub fn detach(self) {
        drop(self);
    }
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
