//! The first command that anybody runs: a cluster on this machine, a booking, a leader killed, a booking after.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cluster::place;
use crate::support::node::{run, run_until};

const DONE_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test]
async fn the_demonstration_runs_to_its_end_and_again_on_the_same_data() {
    let _place = place().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data_dir = dir.path().join("data");
    let data_dir = data_dir.to_str().expect("a name in UTF-8");

    // A data directory keeps the ports that it was made with.
    let base = free_base(0).to_string();
    let mut before: Option<Value> = None;
    for time in ["first", "second"] {
        let said = run(
            &["dev", "--data-dir", data_dir, "--base-port", &base, "--demo-failover", "--exit-after-demo"],
            DONE_WITHIN,
        )
        .await;
        assert_eq!(said.code, Some(0), "{time}: {}", said.in_words());
        assert!(said.stdout.contains(data_dir), "it prints where the data is: {}", said.in_words());
        let node = dir.path().join("data/node-1");
        let node = node.to_str().expect("a name in UTF-8");
        let verified = run(&["verify", "--data-dir", node, "--output", "json"], DONE_WITHIN).await;
        assert_eq!(verified.code, Some(0), "{time}: {}", verified.in_words());
        let summary: Value = serde_json::from_str(&verified.stdout).expect("JSON");
        if let Some(before) = &before {
            assert_eq!(summary["cluster_id"], before["cluster_id"], "it is another cluster");
            assert!(summary["last_lsn"].as_u64() > before["last_lsn"].as_u64(), "{before} {summary}");
        }
        before = Some(summary);
    }
}

/// Those of a terminal and of a supervisor: whichever it is, no node is left behind.
#[tokio::test]
async fn a_signal_stops_the_nodes() {
    let _place = place().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data_dir = dir.path().join("data");
    let data_dir = data_dir.to_str().expect("a name in UTF-8");
    let base = free_base(50);
    let arguments = ["dev", "--data-dir", data_dir, "--base-port", &base.to_string()];
    for (signal, name) in [(Signal::QUIT, "SIGQUIT"), (Signal::TERM, "SIGTERM"), (Signal::HUP, "SIGHUP")] {
        let said = run_until(&arguments, Some(("Ctrl-C stops the nodes", signal)), DONE_WITHIN).await;
        assert_eq!(said.code, Some(0), "{name}: {}", said.in_words());
        assert!(said.stderr.contains(&format!("{name}: stopping the nodes")), "{}", said.in_words());
        assert!((1..=3).all(|n| is_free(base + n) && is_free(base + 100 + n)), "a node still listens");
    }
}

/// A base port whose ports for clients and peers, base+1… and base+101…, nobody has. Above those that other stories
/// take, and still below those of outgoing connections: a node of the demonstration must find its own again.
/// Stories that run at one time begin to look at places of their own.
fn free_base(place: u16) -> u16 {
    let first = 30_000 + (std::process::id() % 10) as u16 * 200 + place;
    (first..32_400)
        .step_by(10)
        .find(|base| (1..=3).all(|n| is_free(base + n) && is_free(base + 100 + n)))
        .expect("six free ports from 30000 on")
}

fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
}
