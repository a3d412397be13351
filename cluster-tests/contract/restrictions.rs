//! Restrictions: set, listed, cleared, and what they forbid.

use serde_json::{Value, json};

use super::{RESERVATIONS, Row, ask, open_grand, path_of, reserve, stay, with};
use crate::support::Cluster;
use crate::support::hotel::date;

const RULES: &str = "/v1/properties/grand/restrictions";

/// Rules of the double on the days 10 and 11.
fn rules(changes: Value) -> Value {
    with(json!({"room_type": "double", "from": date(10), "to": date(12)}), changes)
}

/// What is answered: every rule, those that are not set as `false` and `null`.
fn shown(changes: Value) -> Value {
    let none = json!({"closed": false, "closed_to_arrival": false, "closed_to_departure": false});
    let mut shown = with(with(rules(json!({})), none), changes.clone());
    for count in ["min_stay", "max_stay", "min_advance_days", "max_advance_days"] {
        shown[count] = changes[count].clone();
    }
    shown
}

#[tokio::test]
async fn rules_forbid_stays_until_they_are_cleared() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    let row = |what, changes, status, code| Row::put(what, RULES, rules(changes), status, code);
    let rows = vec![
        row("no type", json!({"room_type": null}), 400, "malformed").names("room_type"),
        row("no night", json!({"to": date(10)}), 400, "malformed").names("to"),
        row("a rule that isn't", json!({"closed_to_guests": true}), 400, "malformed")
            .names("closed_to_guests"),
        row("a number for a truth", json!({"closed": 1}), 400, "malformed").names("closed"),
        row("a negative count", json!({"min_stay": -1}), 400, "malformed").names("min_stay"),
        row("a type that isn't there", json!({"room_type": "cave"}), 404, "room_type_not_found"),
        Row::put(
            "no property",
            "/v1/properties/no/restrictions",
            rules(json!({})),
            404,
            "property_not_found",
        ),
        Row::get("a list without a range", RULES, 400, "malformed").names("from"),
        Row::get(
            "a list of nothing",
            format!("/v1/properties/no/restrictions?from={}&to={}", date(0), date(1)),
            404,
            "property_not_found",
        ),
    ];
    ask(&cluster, &rows).await;

    let held = path_of(&reserve(&api, json!({"arrival": date(8), "departure": date(9)})).await);
    let cases = [
        (json!({"closed": true}), date(9), date(12), "closed", date(10)),
        (json!({"closed_to_arrival": true}), date(11), date(14), "closed_to_arrival", date(11)),
        (json!({"closed_to_departure": true}), date(9), date(11), "closed_to_departure", date(11)),
        (json!({"min_stay": 3}), date(10), date(12), "min_stay", date(10)),
        (json!({"max_stay": 1}), date(11), date(13), "max_stay", date(11)),
        (json!({"min_advance_days": 11}), date(10), date(12), "min_advance_days", date(10)),
        (json!({"max_advance_days": 10}), date(11), date(12), "max_advance_days", date(11)),
    ];
    for (set, arrival, departure, rule, on) in cases {
        let answer = cluster.api(2).put(RULES, &rules(set.clone())).expect(200).await;
        assert_eq!(answer, shown(set.clone()));
        let listed = cluster.api(3).get(&format!("{RULES}?from={}&to={}", date(0), date(30)));
        assert_eq!(listed.expect(200).await, json!({"restrictions": [shown(set)]}));
        let dates = json!({"arrival": arrival, "departure": departure});
        let facts = json!({"rule": rule, "date": on});
        let by_type = with(stay(dates.clone()), json!({"room": null, "room_type": "double"}));
        let group =
            json!({"guest": "group", "reservations": [with(stay(dates.clone()), json!({"guest": null}))]});
        let rows = [
            Row::post("by name", RESERVATIONS, stay(dates.clone()), 409, "restricted").facts(facts.clone()),
            Row::post("by type", RESERVATIONS, by_type, 409, "restricted").facts(facts.clone()),
            Row::post("in a booking", "/v1/properties/grand/bookings", group, 409, "restricted")
                .facts(with(facts.clone(), json!({"index": 0}))),
            Row::new("by a change", reqwest::Method::PATCH, held.clone(), 409, "restricted")
                .text(dates.to_string())
                .facts(facts),
        ];
        ask(&cluster, &rows).await;
        let free = format!(
            "/v1/properties/grand/free-rooms?arrival={arrival}&departure={departure}&occupancy=2&room_type=double"
        );
        assert_eq!(api.get(&free).expect(200).await, json!({"rooms": []}), "{rule}");
        let found = format!("/v1/search?arrival={arrival}&departure={departure}&occupancy=1");
        let found = api.get(&found).expect(200).await;
        assert!(!found.to_string().contains("\"double\""), "{found}");

        // No rule clears, and what stood in the way is gone.
        assert_eq!(api.put(RULES, &rules(json!({}))).expect(200).await, shown(json!({})));
        assert_eq!(api.get(&free).expect(200).await["rooms"].as_array().map(Vec::len), Some(2));
        let made = path_of(&reserve(&api, dates).await);
        api.post(&format!("{made}/cancel"), &json!({})).expect(200).await;
    }
    let listed = api.get(&format!("{RULES}?from={}&to={}", date(0), date(30))).expect(200).await;
    assert_eq!(listed, json!({"restrictions": []}));
    cluster.agree().await;
}
