//! The load generator counts what the cluster did, and says what held it back.

use serde_json::{Value, json};

use crate::support::Cluster;

#[tokio::test]
async fn a_trial_counts_what_the_cluster_did_and_says_what_held_it_back() {
    let cluster = Cluster::start(3).await;
    let trial = async |more: &[&str]| -> Value {
        let words = [&["bench", "--duration", "2", "--connections", "4", "--output", "json"], more].concat();
        let said = cluster.innkeeper(&words).await;
        assert_eq!(said.code, Some(0), "{}", said.in_words());
        assert!(said.stderr.contains("1 s: "), "no progress: {}", said.in_words());
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.in_words()))
    };

    // As many as go: each reservation that was answered and not refused is there.
    let closed = trial(&["--mix", "reserve=3,read=1,cancel=1"]).await;
    let count = |report: &Value, kind: &str, of: &str| report["kinds"][kind][of].as_u64().expect("a count");
    let made = count(&closed, "reserve", "answered") - count(&closed, "reserve", "refused");
    assert_eq!(in_the_list(&cluster, "").await, made, "{closed}");
    assert_eq!(
        in_the_list(&cluster, "&status=canceled").await,
        count(&closed, "cancel", "answered"),
        "{closed}"
    );
    assert!(count(&closed, "read", "answered") > 0, "{closed}");
    assert_eq!((&closed["all"]["errors"], &closed["error"]), (&Value::from(0), &Value::Null));
    let all = &closed["all"];
    let quantiles =
        ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"].map(|name| all[name].as_u64().expect(name));
    assert!(quantiles.is_sorted() && quantiles[0] > 0, "{closed}");
    let by = closed["limit"]["by"].as_str().expect("a verdict");
    assert!(["processor", "network", "disk"].contains(&by), "{closed}");

    // At a rate: no more than were due.
    let open = trial(&["--mix", "reserve=1", "--rate", "50"]).await;
    let answered = count(&open, "reserve", "answered");
    assert!((50..=100).contains(&answered), "{open}");

    // At one that nothing keeps: what was due and not sent is told, and how long it had waited.
    let hopeless = trial(&["--mix", "reserve=1", "--rate", "100000"]).await;
    let [answered, errors, unsent] =
        ["answered", "errors", "unsent"].map(|of| count(&hopeless, "reserve", of));
    assert!(unsent > 100_000 && answered + errors + unsent == 200_000, "{hopeless}");
    assert!(hopeless["all"]["p50_us"].as_u64() > Some(500_000), "{hopeless}");

    let words = ["bench", "--duration", "1", "--connections", "2"];
    let said = cluster.innkeeper(&words).await;
    for part in ["P99.9", "limit: ", " because ", "█"] {
        assert!(said.stdout.contains(part), "no `{part}`: {}", said.in_words());
    }
    for wrong in [["--mix", "write=1"], ["--connections", "0"], ["--rate", "0"], ["--batch", "10001"]] {
        assert_eq!(cluster.innkeeper(&[&["bench"], &wrong[..]].concat()).await.code, Some(2), "{wrong:?}");
    }
    cluster.agree().await;
}

#[tokio::test]
async fn a_house_of_its_own_without_prices_is_finished_from_its_business_date_on() {
    let cluster = Cluster::start(1).await;
    let node = cluster.api(1);
    let property = json!({"name": "Bench", "location": "Nowhere", "time_zone": "UTC", "currency": "EUR",
        "business_date": "2030-05-01"});
    let trial = async || {
        let said = cluster.innkeeper(&["bench", "--duration", "1", "--mix", "reserve=1"]).await;
        assert_eq!(said.code, Some(0), "{}", said.in_words());
        said.stderr.contains("Defining the property")
    };
    // As a start leaves it that was broken off; and once its business date has moved on. Each with the last night that is sold.
    node.put("/v1/properties/bench", &property).expect(201).await;
    let cases = [
        ("2030-05-01", "2033-01-24", "2033-01-25"),
        ("2030-06-10", "2033-03-05", "2033-03-06"),
        ("2034-01-01", "2036-09-26", "2036-09-27"),
    ];
    for (business_date, last, end) in cases {
        if business_date != "2030-05-01" {
            let path = "/v1/properties/bench/night-audit";
            node.post(path, &json!({"business_date": business_date})).expect(200).await;
        }
        assert!(trial().await, "{business_date}: not defined");
        assert!(!trial().await, "{business_date}: defined again");
        let rates = node.get(&format!("/v1/properties/bench/rates?from={last}&to={end}")).expect(200).await;
        assert_eq!(rates["rates"].as_array().map(Vec::len), Some(1), "{business_date}: {rates}");
    }
    let sold = in_the_list(&cluster, "&arrival_from=2034-01-01").await;
    assert!(sold > 0, "nothing is sold from the business date on");
}

async fn in_the_list(cluster: &Cluster, more: &str) -> u64 {
    let (mut count, mut cursor) = (0, String::new());
    loop {
        let path = format!("/v1/properties/bench/reservations?limit=1000{more}{cursor}");
        let page = cluster.api(1).get(&path).expect(200).await;
        count += page["reservations"].as_array().expect("a list").len() as u64;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return count,
        }
    }
}
