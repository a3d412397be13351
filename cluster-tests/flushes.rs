//! What is flushed before something else counts on it, in the order in which the system is asked for it.
//!
//! Power cuts show less: ext4 makes a new name durable with the next flush of any file, and so it does with what sled has
//! written. No other file system promises that.

use std::path::Path;
use std::time::Duration;

use crate::support::strace::{Injection, Strace};
use crate::support::wait::eventually_within;
use crate::support::{Cluster, Hotel};

/// A node looks at its log for ten seconds before it says something.
const TOLD_WITHIN: Duration = Duration::from_secs(40);

/// Snapshots: with the third the first goes.
const SNAPSHOTS: u64 = 3;

/// A call of the system.
struct Call {
    thread: String,
    name: String,
    /// What is flushed or removed; or the old name and the new one.
    paths: Vec<String>,
}

impl Call {
    /// `None` where the line tells of the end of a call, or of a thread.
    fn of(line: &str) -> Option<Call> {
        let (thread, call) = line.split_once(' ')?;
        let (name, arguments) = call.trim_start().split_once('(')?;
        let paths = match name {
            "fsync" | "fdatasync" => vec![arguments.split_once('<')?.1.split_once('>')?.0.to_owned()],
            _ => arguments.split('"').skip(1).step_by(2).map(str::to_owned).collect(),
        };
        Some(Call { thread: thread.to_owned(), name: name.to_owned(), paths })
    }

    /// Whether it makes this file or folder durable, with all that the system knows of it.
    fn flushes(&self, path: &Path) -> bool {
        self.name == "fsync" && Path::new(&self.paths[0]).file_name() == path.file_name()
    }
}

#[tokio::test]
async fn nothing_is_counted_on_that_was_not_flushed() {
    let mut cluster = Cluster::start(1).await;
    let hotel = Hotel::open(&cluster, "grand", 3).await;
    let trace = cluster.dir().join("trace");
    // What it wrote last lies in memory, where the next start finds it.
    cluster.kill9(1);
    cluster.node(1).record(&trace);
    cluster.restart(1).await;
    for n in 0..SNAPSHOTS {
        hotel.reserve(&cluster.api(1), "n1", n, n + 1, &format!("booking-{n}")).expect(201).await;
        cluster.snapshot(1).await;
    }
    cluster.stop(1).await;

    let trace = std::fs::read_to_string(&trace).expect("strace writes what it sees");
    let calls: Vec<Call> = trace.lines().filter_map(Call::of).collect();
    the_log_is_flushed_before_it_is_told_how_far(&calls);
    each_file_is_flushed_before_it_has_its_name_and_its_folder_right_behind(&calls);
    the_history_is_flushed_before_a_snapshot_for_which_the_log_goes(&calls);
}

/// A disk that hangs gives no error: whoever looks for the cause finds it in the node's log.
#[tokio::test]
async fn a_log_that_hangs_is_told_of_and_the_others_go_on() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 3).await;
    let (leader, hung) = (cluster.leader().await, cluster.followers().await[0]);
    let seen = cluster.node(hung).log().len();
    let strace = Strace::attach(cluster.node(hung).pid(), Injection::Hanging).await;
    hotel.reserve(&cluster.api(leader), "n1", 0, 1, "meanwhile").expect(201).await;
    let told = async |what: &str| {
        eventually_within(TOLD_WITHIN, &format!("node {hung} tells: {what}"), async || {
            let log = cluster.nodes[hung as usize - 1].log();
            if log[seen..].contains(what) { Ok(()) } else { Err(log[seen..].to_owned()) }
        })
        .await;
    };
    told("the log's disk does not return from a write or a flush").await;
    strace.detach();
    told("the log's disk takes writes again").await;
    cluster.agree().await;
}

fn the_log_is_flushed_before_it_is_told_how_far(calls: &[Call]) {
    let told = calls.iter().position(|call| call.flushes(Path::new("log.flushed")));
    let told = told.expect("each start tells how far the log is flushed");
    // Its file is flushed where what lies behind its records is cut off, and again behind what is written over itself.
    let folder = calls[..told].iter().rposition(|call| call.flushes(Path::new("log")));
    let folder = folder.expect("the folder of the log is flushed");
    let is_of_log = |path: &str| Path::new(path).parent().is_some_and(|folder| folder.ends_with("log"));
    let flushes = calls[..folder].iter().filter(|call| call.name == "fsync" && is_of_log(&call.paths[0]));
    assert!(flushes.count() > 1, "a start takes for durable what it only found");
}

fn each_file_is_flushed_before_it_has_its_name_and_its_folder_right_behind(calls: &[Call]) {
    let mut snapshots = 0;
    for (at, call) in calls.iter().enumerate() {
        let [old, new] = call.paths.as_slice() else { continue };
        let (old, new) = (Path::new(old), Path::new(new));
        // Others are sled's own.
        if old.extension().is_none_or(|extension| extension != "tmp") {
            continue;
        }
        let of_thread = |other: &&Call| other.thread == call.thread;
        let before = calls[..at].iter().rev().find(of_thread);
        assert!(before.is_some_and(|before| before.flushes(old)), "{} got its name too early", new.display());
        let folder = new.parent().expect("a file lies in a folder");
        let behind = calls[at + 1..].iter().find(of_thread);
        assert!(
            behind.is_some_and(|behind| behind.flushes(folder)),
            "the name of {} was not flushed",
            new.display()
        );
        snapshots += u64::from(new.extension().is_some_and(|extension| extension == "snapshot"));
    }
    assert!(snapshots >= SNAPSHOTS, "{snapshots} snapshots were named");
}

fn the_history_is_flushed_before_a_snapshot_for_which_the_log_goes(calls: &[Call]) {
    let mut since = 0;
    let mut last: Option<&String> = None;
    for (at, call) in calls.iter().enumerate() {
        let Some(new) = call.paths.get(1).filter(|new| new.ends_with(".snapshot")) else { continue };
        let flushes = |call: &Call| call.name == "fdatasync" && call.paths[0].ends_with("/history/db");
        // One of the same position tells of no more.
        assert!(last == Some(new) || calls[since..at].iter().any(flushes), "before {new}");
        (since, last) = (at, Some(new));
    }
}
