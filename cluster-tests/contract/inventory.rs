//! Properties, room types, rooms and rates: what is defined, replaced, listed and refused.

use serde_json::{Value, json};

use super::{Row, ask, grand, open_grand, reserve, with};
use crate::support::Cluster;
use crate::support::hotel::date;

const GRAND: &str = "/v1/properties/grand";

#[tokio::test]
async fn what_is_put_is_shown_at_every_node() {
    let cluster = Cluster::start(3).await;
    let api = cluster.api(2);

    // 201 where it was made, 200 where it was replaced, with the resource.
    let property = json!({"property": "grand", "name": "Grand", "location": "Budapest", "time_zone": "Europe/Budapest",
                          "currency": "EUR", "business_date": date(0), "business_date_mode": "manual"});
    assert_eq!(api.put(GRAND, &grand()).expect(201).await, property);
    assert_eq!(api.put(GRAND, &grand()).expect(200).await, property);
    // A later PUT leaves the business date.
    let renamed = with(grand(), json!({"name": "Grander", "business_date": "clock"}));
    let property = with(property, json!({"name": "Grander"}));
    assert_eq!(api.put(GRAND, &renamed).expect(200).await, property);

    let suite = json!({"name": "Suite", "max_occupancy": 4, "overbooking_limit": 1});
    let shown = with(suite.clone(), json!({"room_type": "suite"}));
    assert_eq!(api.put(&format!("{GRAND}/room-types/suite"), &suite).expect(201).await, shown);
    assert_eq!(api.put(&format!("{GRAND}/room-types/suite"), &suite).expect(200).await, shown);
    let room = json!({"room_type": "suite"});
    let shown_room = json!({"room": "301", "room_type": "suite"});
    assert_eq!(api.put(&format!("{GRAND}/rooms/301"), &room).expect(201).await, shown_room);
    assert_eq!(api.put(&format!("{GRAND}/rooms/301"), &room).expect(200).await, shown_room);
    let by_type =
        json!({"room_type": "suite", "from": date(0), "to": date(30), "prices": {"EUR": {"2": 40_000}}});
    let by_room = json!({"room": "301", "from": date(10), "to": date(20), "prices": {"EUR": {"2": 39_000}}});
    assert_eq!(api.put(&format!("{GRAND}/rates"), &by_type).expect(200).await, by_type);
    assert_eq!(api.put(&format!("{GRAND}/rates"), &by_room).expect(200).await, by_room);

    for api in cluster.apis() {
        assert_eq!(api.get("/v1/properties").expect(200).await, json!({"properties": [property]}));
        assert_eq!(api.get(GRAND).expect(200).await, property);
        assert_eq!(api.get(&format!("{GRAND}/room-types")).expect(200).await, json!({"room_types": [shown]}));
        assert_eq!(api.get(&format!("{GRAND}/rooms")).expect(200).await, json!({"rooms": [shown_room]}));
        // Clipped to what was asked for.
        let path = format!("{GRAND}/rates?from={}&to={}", date(15), date(40));
        let rates = api.get(&path).expect(200).await;
        let rates = rates["rates"].as_array().expect("a list of rates");
        assert_eq!(rates.len(), 2, "{rates:?}");
        assert!(rates.contains(&with(by_type.clone(), json!({"from": date(15)}))), "{rates:?}");
        assert!(rates.contains(&with(by_room.clone(), json!({"from": date(15)}))), "{rates:?}");
    }
}

#[tokio::test]
async fn a_rate_replaces_its_nights_and_empty_prices_clear_them() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    let set = async |body: Value| api.put(&format!("{GRAND}/rates"), &body).expect(200).await;
    let price = async |room: &str, night: u64, occupancy: u64| {
        let path = format!(
            "{GRAND}/free-rooms?arrival={}&departure={}&occupancy={occupancy}&room={room}",
            date(night),
            date(night + 1)
        );
        cluster.api(3).get(&path).expect(200).await["rooms"][0]["price"]["total"].as_i64()
    };

    assert_eq!(price("101", 5, 1).await, Some(10_900));
    // All values of the target on these nights go, also those for occupancies that the new ones don't name.
    set(json!({"room_type": "double", "from": date(5), "to": date(7), "prices": {"EUR": {"1": 12_000}}}))
        .await;
    assert_eq!((price("101", 5, 1).await, price("101", 5, 2).await), (Some(12_000), None));
    assert_eq!((price("101", 4, 2).await, price("101", 7, 2).await), (Some(14_000), Some(14_000)));
    // A room's rate goes before its type's, per occupancy.
    set(json!({"room": "101", "from": date(6), "to": date(7), "prices": {"EUR": {"2": 15_000}}})).await;
    assert_eq!((price("101", 6, 1).await, price("101", 6, 2).await), (Some(12_000), Some(15_000)));
    assert_eq!(price("102", 6, 2).await, None);
    // Free of charge is a price; no price is none.
    set(json!({"room": "101", "from": date(6), "to": date(7), "prices": {"EUR": {"1": 0}}})).await;
    assert_eq!(price("101", 6, 1).await, Some(0));
    set(json!({"room": "101", "from": date(6), "to": date(7), "prices": {}})).await;
    assert_eq!(price("101", 6, 1).await, Some(12_000));
    set(json!({"room_type": "double", "from": date(5), "to": date(7), "prices": {}})).await;
    assert_eq!(price("101", 6, 1).await, None);
    // What was agreed stays agreed.
    let made = reserve(&api, json!({"arrival": date(100), "departure": date(101), "occupancy": 1})).await;
    set(json!({"room_type": "double", "from": date(100), "to": date(101), "prices": {"EUR": {"1": 1}}}))
        .await;
    assert_eq!(api.get(&super::path_of(&made)).expect(200).await, made);
}

#[tokio::test]
async fn what_the_inventory_is_refused_for() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let property = |what, changes, status, code| {
        Row::put(what, "/v1/properties/other", with(grand(), changes), status, code)
    };
    let room_type = json!({"name": "T", "max_occupancy": 2, "overbooking_limit": 0});
    let type_row = |what, changes, status, code| {
        Row::put(what, format!("{GRAND}/room-types/t"), with(room_type.clone(), changes), status, code)
    };
    let rate = json!({"room_type": "double", "from": date(0), "to": date(1), "prices": {"EUR": {"1": 100}}});
    let rate_row = |what, changes, status, code| {
        Row::put(what, format!("{GRAND}/rates"), with(rate.clone(), changes), status, code)
    };
    let nowhere = "/v1/properties/nowhere";
    let long = "p".repeat(65);

    let rows = vec![
        property("a zone that isn't", json!({"time_zone": "Europe/Atlantis"}), 422, "invalid_time_zone"),
        property("an empty zone", json!({"time_zone": ""}), 400, "malformed").names("time_zone"),
        property("a currency that isn't", json!({"currency": "QQQ"}), 422, "invalid_currency"),
        property("a currency in words", json!({"currency": "euro"}), 422, "invalid_currency"),
        property("no name", json!({"name": null}), 400, "malformed").names("name"),
        property("no location", json!({"location": null}), 400, "malformed").names("location"),
        property("no zone", json!({"time_zone": null}), 400, "malformed").names("time_zone"),
        property("no currency", json!({"currency": null}), 400, "malformed").names("currency"),
        property("a name that is a number", json!({"name": 7}), 400, "malformed").names("name"),
        property("a business date that isn't", json!({"business_date": "2027-02-30"}), 400, "malformed")
            .names("business_date"),
        property("a business date in words", json!({"business_date": "today"}), 400, "malformed")
            .names("business_date"),
        property("a business date with a time", json!({"business_date": "2027-01-01T00:00:00"}), 400, "malformed")
            .names("business_date"),
        property("an unknown field", json!({"stars": 5}), 400, "malformed").names("stars"),
        Row::put("an id of 65 characters", format!("/v1/properties/{long}"), grand(), 400, "malformed")
            .names("property"),
        Row::put("an id with a blank", "/v1/properties/a%20b", grand(), 400, "malformed").names("property"),
        Row::get("a property that isn't there", nowhere, 404, "property_not_found"),
        Row::get("room types of no property", format!("{nowhere}/room-types"), 404, "property_not_found"),
        Row::get("rooms of no property", format!("{nowhere}/rooms"), 404, "property_not_found"),
        Row::get(
            "rates of no property",
            format!("{nowhere}/rates?from={}&to={}", date(0), date(1)),
            404,
            "property_not_found",
        ),
        Row::put("a type of no property", format!("{nowhere}/room-types/t"), room_type.clone(), 404, "property_not_found"),
        type_row("a negative occupancy", json!({"max_occupancy": -1}), 400, "malformed").names("max_occupancy"),
        type_row("nobody", json!({"max_occupancy": 0}), 422, "occupancy_invalid"),
        type_row("no occupancy", json!({"max_occupancy": null}), 400, "malformed").names("max_occupancy"),
        type_row("a negative limit", json!({"overbooking_limit": -1}), 400, "malformed").names("overbooking_limit"),
        type_row("a limit in words", json!({"overbooking_limit": "none"}), 400, "malformed").names("overbooking_limit"),
        type_row("no name", json!({"name": null}), 400, "malformed").names("name"),
        type_row("an unknown field", json!({"beds": 2}), 400, "malformed").names("beds"),
        Row::put(
            "a type's id of 65 characters",
            format!("{GRAND}/room-types/{long}"),
            room_type.clone(),
            400,
            "malformed",
        )
        .names("room_type"),
        Row::put(
            "a room of no property",
            format!("{nowhere}/rooms/1"),
            json!({"room_type": "double"}),
            404,
            "property_not_found",
        ),
        Row::put("a room of no type", format!("{GRAND}/rooms/1"), json!({"room_type": "cave"}), 404, "room_type_not_found"),
        Row::put("a room without a type", format!("{GRAND}/rooms/1"), json!({}), 400, "malformed").names("room_type"),
        Row::put(
            "a room with an unknown field",
            format!("{GRAND}/rooms/1"),
            json!({"room_type": "double", "floor": 1}),
            400,
            "malformed",
        )
        .names("floor"),
        Row::put(
            "a room's id of 65 characters",
            format!("{GRAND}/rooms/{long}"),
            json!({"room_type": "double"}),
            400,
            "malformed",
        )
        .names("room"),
        Row::put("a rate of no property", format!("{nowhere}/rates"), rate.clone(), 404, "property_not_found"),
        rate_row("a rate of no type", json!({"room_type": "cave"}), 404, "room_type_not_found"),
        rate_row("a rate of no room", json!({"room_type": null, "room": "999"}), 404, "room_not_found"),
        rate_row("a rate of both", json!({"room": "101"}), 400, "malformed").names("room"),
        rate_row("a rate of neither", json!({"room_type": null}), 400, "malformed").names("room"),
        rate_row("a rate from nowhere", json!({"from": null}), 400, "malformed").names("from"),
        rate_row("a rate to a day that isn't", json!({"to": "2027-04-31"}), 400, "malformed").names("to"),
        rate_row("a rate for no night", json!({"to": date(0)}), 400, "malformed").names("to"),
        rate_row("a rate without prices", json!({"prices": null}), 400, "malformed").names("prices"),
        rate_row("a negative price", json!({"prices": {"EUR": {"1": -1}}}), 422, "invalid_amount"),
        rate_row("an amount past all bounds", json!({"prices": {"EUR": {"1": 9_000_000_000_000_000_000i64}}}), 422, "invalid_amount"),
        rate_row("an amount past 64 bits", json!({"prices": {"EUR": {"1": 9_223_372_036_854_775_808u64}}}), 422, "invalid_amount"),
        rate_row("a fraction of a cent", json!({"prices": {"EUR": {"1": 0.5}}}), 400, "malformed").names("prices"),
        rate_row("a price in words", json!({"prices": {"EUR": {"1": "100"}}}), 400, "malformed").names("prices"),
        rate_row("a price in no currency", json!({"prices": {"QQQ": {"1": 1}}}), 422, "invalid_currency"),
        rate_row("a price for nobody", json!({"prices": {"EUR": {"0": 1}}}), 422, "occupancy_invalid"),
        rate_row("a price for three in a double", json!({"prices": {"EUR": {"3": 1}}}), 422, "occupancy_invalid"),
        rate_row("a price for a negative number", json!({"prices": {"EUR": {"-1": 1}}}), 400, "malformed").names("prices"),
        Row::put("a duplicate occupancy", format!("{GRAND}/rates"), json!({}), 400, "malformed")
            .text(format!(
                "{{\"room_type\":\"double\",\"from\":\"{}\",\"to\":\"{}\",\"prices\":{{\"EUR\":{{\"1\":1,\"1\":2}}}}}}",
                date(0),
                date(1)
            ))
            .names("prices"),
        Row::put("a duplicate currency", format!("{GRAND}/rates"), json!({}), 400, "malformed")
            .text(format!(
                "{{\"room_type\":\"double\",\"from\":\"{}\",\"to\":\"{}\",\"prices\":{{\"EUR\":{{}},\"EUR\":{{}}}}}}",
                date(0),
                date(1)
            ))
            .names("prices"),
        Row::get("rates without a range", format!("{GRAND}/rates"), 400, "malformed").names("from"),
        Row::get("rates to a day that isn't", format!("{GRAND}/rates?from={}&to=2027-02-30", date(0)), 400, "malformed")
            .names("to"),
        Row::get("an unknown parameter", format!("{GRAND}/rooms?sort=name"), 400, "malformed").names("sort"),
    ];
    ask(&cluster, &rows).await;
    let listed = cluster.api(1).get("/v1/properties").expect(200).await;
    assert_eq!(listed["properties"].as_array().map(Vec::len), Some(1), "a refusal leaves nothing");
}

#[tokio::test]
async fn no_change_leaves_fewer_rooms_than_are_sold() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    let suite =
        |overbooking: u64| json!({"name": "suite", "max_occupancy": 4, "overbooking_limit": overbooking});
    let path = format!("{GRAND}/room-types/suite");

    // Two stays in one room's type: the second by the overbooking limit.
    api.put(&path, &suite(1)).expect(200).await;
    reserve(&api, json!({"room": "301"})).await;
    let over = reserve(&api, json!({"room": null, "room_type": "suite"})).await;
    assert_eq!((&over["room"], &over["room_pinned"]), (&Value::Null, &json!(false)));
    let rows = vec![
        Row::put("a limit under what is sold", path.clone(), suite(0), 409, "capacity_below_sold")
            .facts(json!({"nights": [date(10), date(11)]})),
        Row::put(
            "a room taken from what is sold",
            format!("{GRAND}/rooms/301"),
            json!({"room_type": "double"}),
            409,
            "capacity_below_sold",
        )
        .facts(json!({"nights": [date(10), date(11)]})),
    ];
    ask(&cluster, &rows).await;
    let rooms = api.get(&format!("{GRAND}/rooms")).expect(200).await;
    assert!(
        rooms["rooms"]
            .as_array()
            .is_some_and(|rooms| rooms.contains(&json!({"room": "301", "room_type": "suite"})))
    );
    // Once the stay has gone, the limit may go.
    api.post(&format!("{}/cancel", super::path_of(&over)), &json!({})).expect(200).await;
    api.put(&path, &suite(0)).expect(200).await;
}
