//! A desk's day on the command line: what each subcommand did is what the API then shows, and a refusal is exit 1.

use std::time::Duration;

use serde_json::Value;

use crate::support::Cluster;
use crate::support::hotel::{Hotel, date};
use crate::support::node::{Said, run};

const DONE_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_stay_lives_its_life_on_the_command_line() {
    let cluster = Cluster::start(3).await;
    Hotel::open(&cluster, "grand", 2).await;
    let desk = Desk { endpoint: format!("http://{}", cluster.nodes[1].client_addr) };
    let (first, third, fourth) = (date(0), date(2), date(3));
    let stay =
        ["--property", "grand", "--arrival", &first, "--departure", &third, "--guest", "g", "--room-type"];

    let made = desk.does(&[&["reserve"], &stay[..], &["counted"]].concat()).await;
    let id = made["id"].as_str().expect("an id").to_owned();
    assert_eq!((&made["room_pinned"], &made["room_type"]), (&Value::Bool(false), &Value::from("counted")));

    let amended = desk.does(&["amend", &id, "--departure", &fourth, "--occupancy", "2"]).await;
    assert_eq!(
        (&amended["departure"], &amended["occupancy"]),
        (&Value::from(fourth.as_str()), &Value::from(2))
    );
    let pinned = desk.does(&["amend", &id, "--room", "c2"]).await;
    assert_eq!((&pinned["room"], &pinned["room_pinned"]), (&Value::from("c2"), &Value::Bool(true)));
    let unpinned = desk.does(&["amend", &id, "--unpin"]).await;
    assert_eq!(unpinned["room_pinned"], false);
    let assigned = desk.does(&["assign", &id, "--room", "c1", "--if-match", "4"]).await;
    assert_eq!((&assigned["room"], &assigned["revision"]), (&Value::from("c1"), &Value::from(5)));
    let stale = desk.says(&["assign", &id, "--room", "c2", "--if-match", "4"]).await;
    assert_eq!(stale.code, Some(1), "{}", stale.in_words());
    assert!(stale.stderr.contains("version_mismatch"), "{}", stale.in_words());

    for (change, status) in [("check-in", "in_house"), ("check-out", "checked_out")] {
        assert_eq!(desk.does(&[change, &id]).await["status"], status, "{change}");
    }
    // Under one key a change is made once, and told again.
    let held = desk.does(&[&["reserve"], &stay[..], &["counted", "--hold-seconds", "600"]].concat()).await;
    let id = held["id"].as_str().expect("an id").to_owned();
    for _ in 0..2 {
        let confirmed = desk.does(&["confirm", &id, "--idempotency-key", "confirm-1"]).await;
        assert_eq!(
            (&confirmed["status"], &confirmed["revision"]),
            (&Value::from("confirmed"), &Value::from(2))
        );
    }
    assert_eq!(desk.does(&["no-show", &id]).await["status"], "no_show");
    let late = desk.says(&["cancel", &id]).await;
    assert_eq!(late.code, Some(1), "{}", late.in_words());
    assert!(late.stderr.contains("invalid_state"), "{}", late.in_words());
    assert_eq!(desk.does(&["show", &id]).await["status"], "no_show");
    cluster.agree().await;
}

struct Desk {
    endpoint: String,
}

impl Desk {
    async fn says(&self, words: &[&str]) -> Said {
        run(&[words, &["--endpoint", &self.endpoint, "--output", "json"]].concat(), DONE_WITHIN).await
    }

    /// What it prints, as JSON.
    async fn does(&self, words: &[&str]) -> Value {
        let said = self.says(words).await;
        assert_eq!(said.code, Some(0), "{words:?}: {}", said.in_words());
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.in_words()))
    }
}
