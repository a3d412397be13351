//! The first command that anybody runs: a cluster on this machine, a booking, a leader killed, a booking after.

use std::time::Duration;

use crate::support::cluster::place;
use crate::support::node::run;

const DONE_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test]
async fn the_demonstration_runs_to_its_end_and_again_on_the_same_data() {
    let _place = place().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data_dir = dir.path().join("data");
    let data_dir = data_dir.to_str().expect("a name in UTF-8");

    // A data directory keeps the ports that it was made with.
    let base = free_base().to_string();
    for time in ["first", "second"] {
        let said = run(
            &["dev", "--data-dir", data_dir, "--base-port", &base, "--demo-failover", "--exit-after-demo"],
            DONE_WITHIN,
        )
        .await;
        assert_eq!(said.code, Some(0), "{time}: {}", said.in_words());
        assert!(said.stdout.contains(data_dir), "it prints where the data is: {}", said.in_words());
    }
}

/// A base port whose ports for clients and peers, base+1… and base+101…, nobody has. Above those that other stories
/// take, and still below those of outgoing connections: a node of the demonstration must find its own again.
fn free_base() -> u16 {
    let first = 30_000 + (std::process::id() % 10) as u16 * 200;
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    (first..32_400)
        .step_by(10)
        .find(|base| (1..=3).all(|n| free(base + n) && free(base + 100 + n)))
        .expect("six free ports from 30000 on")
}
