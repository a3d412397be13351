//! The first command that anybody runs: a cluster on this machine, a booking, a leader killed, a booking after.

use std::time::Duration;

use crate::support::cluster::place;
use crate::support::node::run;
use crate::support::ports;

const DONE_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test]
async fn the_demonstration_runs_to_its_end_and_again_on_the_same_data() {
    let _place = place().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data_dir = dir.path().join("data");
    let data_dir = data_dir.to_str().expect("a name in UTF-8");

    for time in ["first", "second"] {
        let base = free_base().to_string();
        let said = run(
            &["dev", "--data-dir", data_dir, "--base-port", &base, "--demo-failover", "--exit-after-demo"],
            DONE_WITHIN,
        )
        .await;
        assert_eq!(said.code, Some(0), "{time}: {}", said.in_words());
        assert!(said.stdout.contains(data_dir), "it prints where the data is: {}", said.in_words());
    }
}

/// A base port whose ports for clients and peers, base+1… and base+101…, nobody has.
fn free_base() -> u16 {
    loop {
        let base = ports::free();
        let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (1..=3).all(|n| free(base + n) && free(base + 100 + n)) {
            return base;
        }
    }
}
