//! Reads: linearizable at any node by default, local where a client says so, and as fresh as it asks.

use serde_json::json;

use crate::support::load::Load;
use crate::support::{Cluster, Hotel, checker};

/// A client that writes at one node and reads at another sees what it wrote, while others write too.
#[tokio::test]
async fn a_read_sees_every_write_that_was_acknowledged_before_it() {
    let cluster = Cluster::start(3).await;
    let busy = Hotel::open(&cluster, "grand", 10).await;
    let hotel = Hotel::open(&cluster, "annex", 1).await;
    let load = Load::start(&cluster, &busy, 4);
    let mut chance = cluster.chance();
    let mut pick = |from: u64| cluster.api(1 + chance.below(from));

    for n in 0..60 {
        let key = format!("written-{n}");
        let mut stay = hotel.stay("c1", n, n + 1, &key);
        stay["hold_seconds"] = json!(3_600);
        let made = hotel.post(&pick(3), &stay).key(&key).expect(201).await;
        let path = format!("/v1/reservations/{}", made["id"].as_str().expect("an id"));
        // So is what was there then, at a node that has not come so far.
        for node in 1..=3 {
            let then = format!("{path}?consistency=local&as_of={}", made["lsn"]);
            assert_eq!(cluster.api(node).get(&then).expect(200).await, made);
        }
        assert_eq!(pick(3).get(&path).expect(200).await, made);
        let free = hotel.free_rooms(&pick(3), n, n + 1).await;
        assert!(!free.contains(&"c1".to_owned()), "a sold room is listed as free");

        // `local` with the position of the write is read-your-writes as well.
        let confirmed = pick(3).post(&format!("{path}/confirm"), &json!({})).answer().await;
        assert_eq!(confirmed.status, 200, "{}", confirmed.in_words());
        let local = format!("{path}?consistency=local&min_lsn={}", confirmed.lsn());
        let read = pick(3).get(&local).answer().await;
        assert_eq!(read.json(), confirmed.json());
        assert!(read.lsn() >= confirmed.lsn(), "the answer reflects what was asked for");
    }
    assert_eq!(hotel.reservations(&cluster.api(1)).await.len(), 60);
    let history = load.stop().await;
    checker::holds(&cluster, &busy, &history).await;
}

#[tokio::test]
async fn a_local_read_says_how_old_it_is_and_never_waits_for_ever() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 1).await;
    let follower = cluster.api(cluster.followers().await[0]);
    let (lsn, _) = cluster.agree().await;
    let path = hotel.path("/rooms");

    for options in
        ["consistency=local", "consistency=local&max_staleness_ms=5000", "consistency=linearizable", ""]
    {
        let read = follower.get(&format!("{path}?{options}")).answer().await;
        assert_eq!(read.status, 200, "{}", read.in_words());
        assert_eq!(read.lsn(), lsn, "nothing is written meanwhile: {options}");
    }
    // What is always of the node itself may be asked for as that, and as nothing else.
    for own in ["/v1/cluster", "/v1/cluster/state-hash", "/v1/quarantine", "/v1/events"] {
        follower.get(&format!("{own}?consistency=local")).expect(200).await;
        let problem =
            follower.get(&format!("{own}?consistency=linearizable")).refused(400, "malformed").await;
        assert!(
            problem["detail"].as_str().is_some_and(|detail| detail.contains("consistency")),
            "{problem:?}"
        );
    }
    // A position that nobody has reached is refused in bounded time.
    let ahead = follower.get(&format!("{path}?consistency=local&min_lsn={}", lsn + 1_000_000)).answer().await;
    assert!(matches!(ahead.status, 422 | 503), "{}", ahead.in_words());
    assert!(matches!(ahead.code().as_str(), "position_in_future" | "too_stale"), "{}", ahead.in_words());
    ahead.problem();
    for (wrong, field) in [
        ("consistency=eventual", "consistency"),
        ("consistency=local&max_staleness_ms=-1", "max_staleness_ms"),
        ("consistency=local&max_staleness_ms=soon", "max_staleness_ms"),
        ("consistency=local&min_lsn=1.5", "min_lsn"),
    ] {
        let problem = follower.get(&format!("{path}?{wrong}")).refused(400, "malformed").await;
        assert!(
            problem["detail"].as_str().is_some_and(|detail| detail.contains(field)),
            "{wrong}: {problem:?}"
        );
    }
}
