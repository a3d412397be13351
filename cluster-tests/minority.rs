//! A node without a majority sells nothing and doesn't pretend to know: it refuses in bounded time, and says what it
//! can still say.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::node::{Said, run};
use crate::support::{Api, Cluster, Hotel, eventually};

/// Longest that a refusal may take: a client must be able to go elsewhere.
const REFUSED_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_leader_without_a_majority_refuses_and_recovers() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let alone = cluster.leader().await;
    story(&mut cluster, &hotel, alone).await;
}

#[tokio::test]
async fn a_follower_without_a_majority_refuses_and_recovers() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let alone = cluster.followers().await[0];
    story(&mut cluster, &hotel, alone).await;
}

async fn story(cluster: &mut Cluster, hotel: &Hotel, alone: u64) {
    let api = cluster.api(alone);
    let made = hotel.reserve(&api, "n1", 0, 2, "before").expect(201).await;
    let path = format!("/v1/reservations/{}", made["id"].as_str().expect("an id"));
    cluster.agree().await;
    let others: Vec<u64> = cluster.ids().into_iter().filter(|&id| id != alone).collect();

    // The others are killed.
    for &other in &others {
        cluster.kill9(other);
    }

    refuses_to_sell(hotel, &api).await;
    // A linearizable read would need the others.
    for read in [
        path.clone(),
        hotel.path("/rooms"),
        hotel.path("/free-rooms?arrival=2027-01-01&departure=2027-01-02&occupancy=1"),
    ] {
        let began = Instant::now();
        let answer = api.get(&read).answer().await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "no_leader"), "{}", answer.in_words());
        assert!(began.elapsed() < REFUSED_WITHIN, "{read} took {:?}", began.elapsed());
        assert!(answer.header("retry-after").is_some(), "{}", answer.in_words());
        assert_eq!(answer.header("innkeeper-leader"), None, "it knows of none: {}", answer.in_words());
        answer.problem();
    }
    // A local read needs nobody, unless it is told how old it may be.
    let local = api.get(&format!("{path}?consistency=local")).answer().await;
    assert_eq!((local.status, local.json()), (200, made.clone()));
    assert_eq!(local.header("innkeeper-node"), Some(alone.to_string().as_str()));
    eventually("100 ms without a leader are too stale", async || {
        let answer = api.get(&format!("{path}?consistency=local&max_staleness_ms=100")).send().await?;
        if answer.status == 503 && answer.problem()["code"] == "too_stale" {
            Ok(())
        } else {
            Err(answer.in_words())
        }
    })
    .await;
    api.get(&format!("{path}?consistency=local&max_staleness_ms=3600000")).expect(200).await;
    // It lives and isn't ready, and says which check failed.
    assert_eq!(api.get("/livez").answer().await.status, 200);
    eventually("the lonely node is not ready", async || {
        let answer = api.get("/readyz").send().await?;
        if answer.status == 503 { Ok(()) } else { Err(answer.in_words()) }
    })
    .await;
    let not_ready = api.get("/readyz").answer().await;
    assert!(String::from_utf8_lossy(&not_ready.body).contains("leader"), "{}", not_ready.in_words());
    let said = asked_whether_ready(cluster, alone).await;
    assert!(said.code == Some(1) && said.stderr.contains("leader"), "{}", said.in_words());
    assert_eq!(api.get("/v1/cluster").expect(200).await["leader"], Value::Null);

    // One of the others makes a majority again.
    cluster.restart(others[0]).await;
    cluster.wait_ready_of(&[alone]).await;
    let said = asked_whether_ready(cluster, alone).await;
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "ready\n"), "{}", said.in_words());
    assert_eq!(api.get(&path).expect(200).await, made);
    hotel.reserve(&api, "n2", 0, 2, "after").expect(201).await;
    // What was refused with `outcome_unknown` may stand, once; asked again under its key it is known.
    hotel.reserve(&api, "n1", 10, 12, "alone").expect(201).await;
    cluster.restart(others[1]).await;
    cluster.agree().await;
    for api in cluster.apis() {
        let all = hotel.reservations(&api).await;
        let mut keys: Vec<&str> =
            all.iter().map(|found| found["external_ref"].as_str().expect("a key")).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["after", "alone", "before"]);
    }
}

/// As a health check asks it.
async fn asked_whether_ready(cluster: &Cluster, id: u64) -> Said {
    let endpoint = format!("http://{}", cluster.nodes[id as usize - 1].client_addr);
    run(&["status", "--ready", "--endpoint", &endpoint], REFUSED_WITHIN).await
}

/// A write is refused in bounded time, by one of the two codes that tell a client what it may believe.
async fn refuses_to_sell(hotel: &Hotel, api: &Api) {
    let mut codes = Vec::new();
    // The first may have been appended where nobody else has it; once the node knows, it takes none in.
    eventually("writes are refused with `no_leader`", async || {
        let began = Instant::now();
        let answer = hotel.reserve(api, "n1", 10, 12, "alone").send().await?;
        assert!(began.elapsed() < REFUSED_WITHIN, "a refusal took {:?}", began.elapsed());
        let code = answer.code();
        assert_eq!(answer.status, 503, "{}", answer.in_words());
        answer.problem();
        codes.push(code.clone());
        match code.as_str() {
            "no_leader" => {
                assert!(answer.header("retry-after").is_some(), "{}", answer.in_words());
                Ok(())
            }
            "outcome_unknown" => Err(format!("{codes:?}")),
            _ => panic!("{}", answer.in_words()),
        }
    })
    .await;
}
