//! A desk's day on the command line: what each subcommand did is what the API then shows, and a refusal is exit 1.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::Cluster;
use crate::support::hotel::{Hotel, date};
use crate::support::node::{Said, binary, run};

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
    tells_what_was(&desk, &held).await;
}

/// The versions of a stay that was held, confirmed and missed, how it began, and its events.
async fn tells_what_was(desk: &Desk, held: &Value) {
    let id = held["id"].as_str().expect("an id");
    let history = desk.does(&["show", id, "--history"]).await;
    let types: Vec<&str> =
        history["versions"].as_array().into_iter().flatten().filter_map(|it| it["type"].as_str()).collect();
    assert_eq!(types, ["reservation.held", "reservation.confirmed", "reservation.no_show"]);
    assert_eq!(desk.does(&["show", id, "--as-of", &held["lsn"].to_string()]).await, *held);
    let said = desk.says(&["events", "--property", "grand"]).await;
    assert_eq!(said.code, Some(0), "{}", said.in_words());
    let events = said.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("a JSON object"));
    let of_stay =
        events.filter(|event| event["after"]["id"] == held["id"]).map(|event| event["type"].clone());
    assert_eq!(of_stay.collect::<Vec<_>>(), types);
}

#[tokio::test]
async fn what_was_done_is_told_though_nothing_can_be_shown() {
    let cluster = Cluster::start(1).await;
    Hotel::open(&cluster, "grand", 2).await;
    let endpoint = format!("http://{}", cluster.nodes[0].client_addr);
    let desk = Desk { endpoint: endpoint.clone() };
    let reserve = |more: &[&str]| -> Vec<String> {
        let (first, second) = (date(0), date(1));
        let stay = ["reserve", "--property", "grand", "--arrival", &first, "--departure", &second];
        let words = [&stay[..], &["--guest", "g", "--room-type", "counted", "--endpoint", &endpoint], more];
        words.concat().into_iter().map(str::to_owned).collect()
    };
    let full = || File::options().write(true).open("/dev/full").expect("the device that takes nothing");
    let mut command = Command::new(binary());
    let said = command.args(reserve(&[])).stdout(full()).output().expect("the binary starts");
    let stderr = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("It was done."), "{stderr}");
    let key = stderr.split("--idempotency-key ").nth(1).and_then(|rest| rest.split(' ').next());
    let again = reserve(&["--idempotency-key", key.expect("the key of what was done")]);
    let again: Vec<&str> = again.iter().map(String::as_str).collect();
    let made = desk.does(&again).await;
    let all = desk.does(&["list", "--property", "grand"]).await;
    assert_eq!(all["reservations"], serde_json::json!([made]));

    // Nobody hears of it where stderr takes nothing either: the exit code is left.
    let mut command = Command::new(binary());
    let status = command.args(&again).stdout(full()).stderr(full()).status().expect("the binary starts");
    assert_eq!(status.code(), Some(1));
}

/// Whoever waits no longer has to know under which key it may have happened.
#[test]
fn a_write_that_is_not_answered_tells_its_key_before_anybody_gives_up() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port that is free");
    let endpoint = format!("http://{}", silent.local_addr().expect("an address"));
    let mut child = Command::new(binary())
        .args(["cancel", "01890000-0000-7000-8000-000000000001", "--endpoint", &endpoint])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let (connection, _) = silent.accept().expect("it asks");
    let mut asked = BufReader::new(&connection).lines().map(|line| line.expect("a request"));
    let key = asked.find_map(|line| line.strip_prefix("idempotency-key: ").map(str::to_owned));
    let mut said = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let told = said.next().expect("it tells").expect("a line");
    assert!(told.contains(&format!("--idempotency-key {} ", key.expect("a write has a key"))), "{told}");
    assert!(child.try_wait().expect("its state").is_none(), "it still waits");
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
}

/// A house from its first definition to its first night audit, and every refusal in one line.
#[tokio::test]
async fn a_house_is_defined_and_run_on_the_command_line() {
    let cluster = Cluster::start(3).await;
    let desk = Desk { endpoint: format!("http://{}", cluster.nodes[2].client_addr) };
    let house = ["--property", "house"];
    let does = async |words: &[&str]| desk.does(&[words, &house[..]].concat()).await;
    let put = [
        "put",
        "property",
        "--name",
        "House",
        "--location",
        "Győr",
        "--currency",
        "EUR",
        "--business-date",
        &date(0),
    ];
    assert_eq!(does(&put).await["business_date_mode"], "manual");
    // The time zone that was given once stays where none is given.
    let in_budapest = [&put[..], &["--time-zone", "Europe/Budapest"]].concat();
    for again in [&in_budapest[..], &put] {
        assert_eq!(does(again).await["time_zone"], "Europe/Budapest");
    }
    does(&["put", "room-type", "--room-type", "double", "--name", "Double", "--max-occupancy", "2"]).await;
    for room in ["1", "2", "3"] {
        does(&["put", "room", "--room", room, "--room-type", "double"]).await;
    }
    let priced = does(&[
        "put",
        "rate",
        "--room-type",
        "double",
        "--from",
        &date(0),
        "--to",
        &date(90),
        "--price",
        "EUR:1=8000",
        "--price",
        "EUR:2=10000",
    ])
    .await;
    assert_eq!(priced["prices"]["EUR"]["2"], 10_000);
    let ruled = does(&[
        "put",
        "restriction",
        "--room-type",
        "double",
        "--from",
        &date(50),
        "--to",
        &date(60),
        "--min-stay",
        "3",
    ])
    .await;
    assert_eq!((&ruled["min_stay"], &ruled["closed"]), (&Value::from(3), &Value::Bool(false)));
    does(&["put", "out-of-order", "--room", "3", "--from", &date(9), "--to", &date(20), "--reason", "paint"])
        .await;
    does(&["put", "out-of-order", "--room", "3", "--from", &date(12), "--to", &date(20), "--end"]).await;
    let (from, to) = (date(9), date(60));
    let range = ["--from", &from, "--to", &to];
    for (list, plural, part) in [
        (&["inventory", "room-types"][..], "room_types", r#""room_type":"double""#),
        (&["inventory", "rooms"], "rooms", r#""room":"3""#),
        (&["inventory", "rates", range[0], range[1], range[2], range[3]], "rates", r#""prices":{"#),
        (
            &["inventory", "restrictions", range[0], range[1], range[2], range[3]],
            "restrictions",
            r#""min_stay":3"#,
        ),
        (
            &["inventory", "out-of-order", range[0], range[1], range[2], range[3]],
            "out_of_order",
            r#""reason":"paint""#,
        ),
    ] {
        let listed = does(list).await[plural].to_string();
        assert!(listed.contains(part), "{list:?}: {listed}");
    }

    // Three together, then one that finds no room: all or none.
    let group = ["book", "--guest", "group", "--arrival", &date(10), "--departure", &date(12), "--stay"];
    let full = desk.says(&[&group[..], &["type=double,rooms=3"], &house[..]].concat()).await;
    assert_eq!(full.code, Some(1), "{}", full.in_words());
    assert!(full.stderr.contains("no_availability"), "{}", full.in_words());
    // A machine that is busy may have it wait, and be told.
    let refused = full.stderr.trim().lines().filter(|line| !line.starts_with("No answer yet"));
    assert_eq!(refused.count(), 1, "{}", full.in_words());
    let booked = does(
        &[&group[..], &["type=double,occupancy=2", "--stay", "room=1", "--hold-seconds", "600"]].concat(),
    )
    .await;
    let id = booked["id"].as_str().expect("an id").to_owned();
    assert_eq!(booked["reservations"].as_array().map(Vec::len), Some(2), "{booked}");
    assert_eq!(booked["reservations"][1]["room"], "1");
    for (verb, status) in [("show", "held"), ("confirm", "confirmed"), ("cancel", "canceled")] {
        let shown = desk.does(&["booking", verb, &id]).await;
        assert_eq!(shown["reservations"][0]["status"], status, "{verb}");
    }

    let stay =
        ["reserve", "--room-type", "double", "--guest", "g", "--arrival", &date(0), "--departure", &date(2)];
    does(&stay).await;
    let canceled = does(&["list", "--status", "canceled", "--limit", "1"]).await;
    assert_eq!(canceled["reservations"][0]["guest"], "group");
    let cursor = canceled["next_cursor"].as_str().expect("there is more").to_owned();
    let next = does(&["list", "--status", "canceled", "--cursor", &cursor]).await;
    assert_eq!(next["reservations"].as_array().map(Vec::len), Some(1));
    let found =
        ["search", "--location", "győr", "--arrival", &date(9), "--departure", &date(11), "--occupancy", "2"];
    let found = desk.does(&found).await;
    assert_eq!(found["properties"][0]["rooms"].as_array().map(Vec::len), Some(2), "{found}");
    assert_eq!(does(&["night-audit", "--business-date", &date(1)]).await["business_date"], date(1));
    assert_eq!(does(&["list", "--guest", "g"]).await["reservations"][0]["status"], "no_show");
    let back = desk.says(&["night-audit", "--business-date", &date(0), "--property", "house"]).await;
    assert!(back.stderr.contains("invalid_state"), "{}", back.in_words());
    assert_eq!(desk.does(&["properties"]).await["properties"][0]["property"], "house");

    // What people read has the same in it.
    let endpoint = ["--endpoint", &desk.endpoint];
    for (words, part) in [
        (vec!["list", "--property", "house"], "no_show"),
        (vec!["booking", "show", &id], "booking  "),
        (vec!["properties"], "manual"),
        (vec!["inventory", "rooms", "--property", "house"], "ROOM TYPE"),
        (
            vec!["inventory", "rates", "--property", "house", range[0], range[1], range[2], range[3]],
            "OCCUPANCY",
        ),
    ] {
        let said = run(&[&words[..], &endpoint[..]].concat(), DONE_WITHIN).await;
        assert!(said.code == Some(0) && said.stdout.contains(part), "{words:?}: {}", said.in_words());
    }
    cluster.agree().await;
}

/// A group's block, who waits for what it keeps, and a room that is given up.
#[tokio::test]
async fn blocks_and_the_waitlist_are_kept_on_the_command_line() {
    let cluster = Cluster::start(1).await;
    Hotel::open(&cluster, "grand", 2).await;
    let desk = Desk { endpoint: format!("http://{}", cluster.nodes[0].client_addr) };
    let house = ["--property", "grand"];
    let does = async |words: &[&str]| desk.does(&[words, &house[..]].concat()).await;
    let dates = [date(10), date(12)];
    let range = ["--from", &dates[0], "--to", &dates[1]];
    let put = ["put", "block", "--block", "fair", "--room-type", "named", "--rooms", "2", "--status"];
    let block = does(&[&put[..], &["definite"], &range].concat()).await;
    assert_eq!((&block["rooms"], &block["status"]), (&Value::from(2), &Value::from("definite")));

    let stay = ["--room-type", "named", "--arrival", &dates[0], "--departure", &dates[1]];
    does(&[&["reserve", "--guest", "fair-1", "--block", "fair"], &stay[..]].concat()).await;
    let waiting = does(&[&["waitlist", "join", "--guest", "w-1"], &stay[..]].concat()).await;
    let also = does(&[&["waitlist", "join", "--guest", "w-2"], &stay[..]].concat()).await;
    let (first, second) = (waiting["id"].as_str().expect("an id"), also["id"].as_str().expect("an id"));
    assert_eq!(does(&["waitlist", "show", first]).await["status"], "waiting");
    let listed = does(&["block", "list"]).await;
    assert_eq!(listed["blocks"][0]["picked_up"][0]["rooms"], 1, "{listed}");

    // What the block gives back goes to the first who waits.
    let release = ["block", "release", "--block", "fair", "--idempotency-key", "release-fair"];
    let released = does(&release).await;
    assert_eq!(released["release_date"], date(0), "{released}");
    // Whoever did not hear of it asks again, be it a day later.
    does(&["night-audit", "--business-date", &date(1)]).await;
    for again in [&release[..], &release[..4]] {
        let same = does(again).await;
        assert_eq!(same["release_date"], date(0), "{same}");
    }
    let offered = does(&["waitlist", "show", first]).await;
    assert_eq!(offered["status"], "offered", "{offered}");
    assert_eq!(does(&["waitlist", "leave", first]).await["status"], "withdrawn");
    let next = does(&["waitlist", "show", second]).await;
    let hold = next["reservation"].as_str().expect("the offered hold");
    assert_eq!(desk.does(&["confirm", hold]).await["status"], "confirmed");
    let list = does(&["waitlist", "list", "--limit", "1"]).await;
    let cursor = list["next_cursor"].as_str().expect("there is more");
    let rest = does(&["waitlist", "list", "--cursor", cursor]).await;
    assert_eq!(rest["waitlist"][0]["status"], "booked", "{rest}");

    let unknown = desk.says(&["block", "release", "--block", "none", "--property", "grand"]).await;
    assert!(unknown.code == Some(1) && unknown.stderr.contains("no block none"), "{}", unknown.in_words());
    // Both rooms are sold on these nights: neither can be given up, until a guest does.
    let sold = desk.says(&["retire-room", "--room", "n1", "--property", "grand"]).await;
    assert!(sold.stderr.contains("capacity_below_sold"), "{}", sold.in_words());
    desk.does(&["cancel", hold]).await;
    assert_eq!(does(&["retire-room", "--room", "n1"]).await["room"], "n1");
    for (words, part) in [(["block", "list"], "PICKED UP"), (["waitlist", "list"], "withdrawn")] {
        let said = run(&[&words[..], &house, &["--endpoint", &desk.endpoint]].concat(), DONE_WITHIN).await;
        assert!(said.code == Some(0) && said.stdout.contains(part), "{words:?}: {}", said.in_words());
    }
}

#[tokio::test]
async fn completions_and_manual_pages_know_the_command_line() {
    for shell in ["bash", "zsh", "fish"] {
        let said = run(&["completions", shell], DONE_WITHIN).await;
        assert!(said.code == Some(0) && said.stdout.contains("free-rooms"), "{shell}: {}", said.in_words());
    }
    let said = run(&["man"], DONE_WITHIN).await;
    assert!(said.code == Some(0) && said.stdout.contains(".TH innkeeper 1"), "{}", said.in_words());
    assert_eq!(run(&["completions", "ed"], DONE_WITHIN).await.code, Some(2));
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
