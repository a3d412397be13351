//! `innkeeper verify` replays a stopped node's data, finds it right, and finds damage.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::node::{Said, run};
use crate::support::{Cluster, Hotel};

const DONE_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_stopped_node_is_verified_and_a_running_one_is_not() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 3).await;
    for n in 0..30 {
        hotel.reserve(&cluster.api(1 + n % 3), "n1", n, n + 1, &format!("booking-{n}")).expect(201).await;
    }
    let (lsn, _) = cluster.agree().await;

    let said = verify(&cluster.node(1).data_dir).await;
    assert_eq!(said.code, Some(1), "a running node's data isn't opened: {}", said.in_words());
    assert!(said.stderr.contains("running") || said.stderr.contains("in use"), "{}", said.in_words());

    // Stopped in the usual way, and killed.
    cluster.stop(1).await;
    cluster.kill9(2);
    for id in [1, 2] {
        let said = verify(&cluster.node(id).data_dir).await;
        assert_eq!(said.code, Some(0), "node {id}: {}", said.in_words());
        let report: Value =
            serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{}", said.in_words()));
        assert!(report["last_lsn"].as_u64().is_some_and(|last| last >= lsn), "node {id}, {lsn}: {report}");
    }
    // Looking changed nothing.
    cluster.restart(1).await;
    cluster.restart(2).await;
    assert_eq!(cluster.agree().await.0, lsn);
}

/// A byte in the middle of the log, durable long ago.
#[tokio::test]
async fn damage_is_found_by_verify_and_stops_the_node() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 3).await;
    for n in 0..30 {
        hotel.reserve(&cluster.api(1), "n1", n, n + 1, &format!("booking-{n}")).expect(201).await;
    }
    cluster.agree().await;
    cluster.stop(2).await;
    let log = largest_file(&cluster.node(2).data_dir);
    let whole = std::fs::read(&log).expect("the log's file");
    let used = whole.iter().rposition(|byte| *byte != 0).expect("a log that isn't empty");
    let mut damaged = whole.clone();
    damaged[used / 2] ^= 0x10;
    std::fs::write(&log, &damaged).expect("writing the damage");

    let said = verify(&cluster.node(2).data_dir).await;
    assert_eq!(said.code, Some(1), "{}: {}", log.display(), said.in_words());
    assert!(said.stderr.contains("wrong at LSN "), "{}", said.in_words());
    cluster.node(2).spawn();
    let status = cluster.node(2).ended(DONE_WITHIN).await;
    assert!(matches!(status.code(), Some(1 | 78)), "it serves from a damaged log: {status}");
    let name = log.file_name().and_then(|name| name.to_str()).expect("a file's name").to_owned();
    assert!(
        cluster.node(2).log_tail(10).contains(&name),
        "it names the file: {}",
        cluster.node(2).log_tail(10)
    );

    // The others go on; and with the byte as it was, so does this one.
    hotel.reserve(&cluster.api(1), "n2", 0, 1, "meanwhile").expect(201).await;
    std::fs::write(&log, &whole).expect("writing what was");
    cluster.restart(2).await;
    cluster.agree().await;
}

#[tokio::test]
async fn what_is_no_data_directory_is_said_to_be_none() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for path in [dir.path().join("nowhere"), dir.path().to_path_buf()] {
        let said = verify(&path).await;
        assert_eq!(said.code, Some(1), "{}", said.in_words());
        assert!(said.stderr.contains(path.to_str().expect("a name in UTF-8")), "{}", said.in_words());
    }
    assert!(!dir.path().join("nowhere").exists(), "looking makes nothing");
}

async fn verify(data_dir: &Path) -> Said {
    let data_dir = data_dir.to_str().expect("a name in UTF-8");
    run(&["verify", "--data-dir", data_dir, "--output", "json"], DONE_WITHIN).await
}

fn largest_file(dir: &Path) -> PathBuf {
    let mut folders = vec![dir.to_path_buf()];
    let mut largest = (0, PathBuf::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder that can be read") {
            let path = entry.expect("an entry").path();
            let size = path.metadata().expect("a file's size").len();
            if path.is_dir() {
                folders.push(path);
            } else if size > largest.0 {
                largest = (size, path);
            }
        }
    }
    largest.1
}
