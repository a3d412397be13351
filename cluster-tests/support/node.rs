//! One `innkeeper serve` process, its data directory and its log; and the command line run to its end.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::strace::recorder;
use super::wait::{SETTLED_WITHIN, eventually_within};

/// A leader that is asked to stop hands over, ends what is in flight and syncs its log.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// Where Debian's package puts the library that lies about the time.
const FAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

pub struct Node {
    pub id: u64,
    pub client_addr: String,
    pub peer_addr: String,
    pub data_dir: PathBuf,
    log: PathBuf,
    /// What goes before the binary, such as the command that enters a network namespace.
    launcher: Vec<String>,
    initial_cluster: String,
    /// Beside what every node is given.
    settings: Vec<String>,
    process: Option<Child>,
}

/// Where a node's ports are.
#[derive(Clone)]
pub struct Addresses {
    pub client: String,
    pub peer: String,
}

impl Node {
    pub fn new(
        id: u64,
        dir: &Path,
        addresses: &Addresses,
        initial_cluster: &str,
        launcher: Vec<String>,
    ) -> Node {
        Node {
            id,
            client_addr: addresses.client.clone(),
            peer_addr: addresses.peer.clone(),
            data_dir: dir.join(format!("node-{id}")),
            log: dir.join(format!("node-{id}.log")),
            launcher,
            initial_cluster: initial_cluster.to_owned(),
            settings: Vec::new(),
            process: None,
        }
    }

    /// What its next starts are given too.
    pub fn set(&mut self, option: &str, value: &str) {
        self.settings.extend([option, value].map(str::to_owned));
    }

    /// What the node serves with, for a story that gives one of these another value.
    pub fn arguments(&self) -> Vec<String> {
        let id = self.id.to_string();
        let data_dir = self.data_dir.to_str().expect("a temporary directory's name in UTF-8");
        let own = [
            "serve",
            "--node-id",
            &id,
            "--data-dir",
            data_dir,
            "--client-addr",
            &self.client_addr,
            "--peer-addr",
            &self.peer_addr,
            "--initial-cluster",
            &self.initial_cluster,
        ];
        own.map(str::to_owned).into_iter().chain(self.settings.iter().cloned()).collect()
    }

    pub fn spawn(&mut self) {
        self.spawn_with(self.arguments());
    }

    pub fn spawn_with(&mut self, arguments: Vec<String>) {
        assert!(!self.running(), "node {} runs already", self.id);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("a log file");
        let mut words = self.launcher.clone();
        words.push(binary().to_owned());
        words.extend(arguments);
        let child = command(&words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("node {} did not start: {error}: {words:?}", self.id));
        self.process = Some(child);
    }

    pub fn running(&mut self) -> bool {
        self.exit().is_none() && self.process.is_some()
    }

    /// How it ended; `None` while it runs, and when it was never started.
    pub fn exit(&mut self) -> Option<ExitStatus> {
        self.process.as_mut()?.try_wait().expect("the state of a child")
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().map(Child::id).unwrap_or_else(|| panic!("node {} was never started", self.id))
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a child's id is positive");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("signalling node {}: {error}", self.id));
    }

    /// Waits until every thread of a process that was sent SIGSTOP stands still. The signal is taken by one thread,
    /// which stops the others: on a busy machine they go on until that one is scheduled.
    pub fn wait_stopped(&self) {
        let tasks = format!("/proc/{}/task", self.pid());
        let deadline = Instant::now() + STOPPED_WITHIN;
        while std::fs::read_dir(&tasks)
            .expect("the threads of a child")
            .flatten()
            .any(|task| runs(&task.path()))
        {
            assert!(Instant::now() < deadline, "node {} did not stop within {STOPPED_WITHIN:?}", self.id);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    pub fn kill9(&mut self) {
        if let Some(child) = &mut self.process {
            child.kill().expect("killing a child");
            child.wait().expect("a killed child ends");
        }
    }

    /// SIGTERM, which must end with exit code 0.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.ended(STOPPED_WITHIN).await;
        assert_eq!(status.code(), Some(0), "node {} on SIGTERM: {status}\n{}", self.id, self.log_tail(30));
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(&mut self, bound: Duration) -> ExitStatus {
        let what = format!("node {} ends", self.id);
        eventually_within(bound, &what, async || self.exit().ok_or_else(|| "it runs".to_owned())).await
    }

    /// Waits until it has ended because it could not go on.
    pub async fn fails(&mut self) {
        let status = self.ended(SETTLED_WITHIN).await;
        assert!(!status.success(), "node {} ended as if all were well", self.id);
    }

    /// Its next starts are those of a build that has this bug; `None`: of one that is mended.
    pub fn plant(&mut self, bug: Option<&str>) {
        // A bug that panics is meant to. To name the frames of a build with debug information costs each node a tenth of a
        // second and more, all of them at the same time.
        let (planted, no_backtrace) = ("INNKEEPER_PLANTED=", "RUST_BACKTRACE=0");
        self.launcher.retain(|word| !word.starts_with(planted) && word != no_backtrace);
        if let Some(bug) = bug {
            if self.launcher.is_empty() {
                self.launcher.push("env".to_owned());
            }
            self.launcher.extend([no_backtrace.to_owned(), format!("{planted}{bug}")]);
        }
    }

    /// What it flushes, names and removes from its next start on is written to a file, which begins anew with each start.
    pub fn record(&mut self, file: &Path) {
        self.launcher.extend(recorder(file));
    }

    /// From its next start on it has a wall clock of its own.
    pub fn give_clock(&mut self) {
        let library = FAKETIME.iter().find(|path| Path::new(path).exists()).unwrap_or_else(|| {
            panic!(
                "this story moves clocks by libfaketime, which is not there: apt-get install faketime (scripts/test \
                 does), or leave it out on purpose with `cargo test -- --skip chaos::`"
            )
        });
        self.move_clock(0);
        let file = format!("FAKETIME_TIMESTAMP_FILE={}", self.clock().display());
        let settings = ["env".to_owned(), format!("LD_PRELOAD={library}"), file];
        self.launcher.extend(settings);
        self.launcher.extend(["FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1"].map(str::to_owned));
    }

    /// Moves its wall clock to so many seconds from the true time.
    pub fn move_clock(&self, seconds: i64) {
        let file = self.clock();
        let new = file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}")).expect("a file for the clock");
        // Replaced whole: the process reads it at any moment.
        std::fs::rename(&new, &file).expect("the file of the clock");
    }

    fn clock(&self) -> PathBuf {
        self.log.with_extension("clock")
    }

    /// Everything that it logged, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// The wiped disk.
    pub fn wipe(&mut self) {
        assert!(!self.running(), "only a stopped node loses its disk here");
        std::fs::remove_dir_all(&self.data_dir).expect("a data directory that can be removed");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.process {
            // It may have ended long ago; then there is nothing left to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_innkeeper")
}

/// A command without this shell's own `INNKEEPER_*` settings.
fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("INNKEEPER_")) {
        command.env_remove(name);
    }
    command
}

/// What a command line said.
pub struct Said {
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn in_words(&self) -> String {
        format!("exit {:?}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr)
    }
}

/// Runs `innkeeper` with these arguments to its end, which must come within `bound`.
pub async fn run(arguments: &[&str], bound: Duration) -> Said {
    run_until(arguments, None, bound).await
}

/// Runs `innkeeper` with these arguments to its end, which must come within `bound`, and sends it a signal once it has
/// printed a text.
pub async fn run_until(arguments: &[&str], mut told: Option<(&str, Signal)>, bound: Duration) -> Said {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (out, err) = (dir.path().join("stdout"), dir.path().join("stderr"));
    let words: Vec<String> =
        std::iter::once(binary()).chain(arguments.iter().copied()).map(str::to_owned).collect();
    // Files, not pipes: what a grandchild holds open must not keep this waiting.
    let mut child = command(&words)
        .stdin(Stdio::null())
        .stdout(File::create(&out).expect("a file for its output"))
        .stderr(File::create(&err).expect("a file for its errors"))
        .spawn()
        .unwrap_or_else(|error| panic!("{words:?}: {error}"));
    let pid = Pid::from_raw(child.id() as i32).expect("a child's id is positive");
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).expect("its output")).into_owned();
    let began = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the state of a child") {
            break status;
        }
        if let Some((_, signal)) = told.take_if(|(text, _)| read(&out).contains(*text)) {
            let _ = kill_process(pid, signal);
        }
        if began.elapsed() > bound {
            // TERM first, so that a command with children of its own ends these too.
            let _ = kill_process(pid, Signal::TERM);
            tokio::time::sleep(Duration::from_secs(2)).await;
            let _ = child.kill();
            let _ = child.wait();
            panic!("{words:?} ran longer than {bound:?}\nstdout: {}\nstderr: {}", read(&out), read(&err));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    Said { code: status.code(), stdout: read(&out), stderr: read(&err) }
}

/// Whether a thread, by its directory under `/proc`, is neither stopped nor gone.
fn runs(task: &Path) -> bool {
    let Ok(stat) = std::fs::read_to_string(task.join("stat")) else { return false };
    // The state follows the name, which stands in parentheses and may hold some itself.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('T' | 't' | 'Z' | 'X') | None)
}
