//! Lists, searches and free rooms: reads that may have to look at much.
//!
//! Apply waits while the state is asked, and behind it all who ask next. What is found with few looks is found so, at once.
//! What takes more is asked of the properties as they stand apart from the state: few such questions at once, on threads that
//! no other request waits for. Their answers are written there, too, since a long one is more work than what it tells of.

use std::panic::{AssertUnwindSafe, catch_unwind};

use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;

use super::access::{read_towards, ready, shown_range};
use super::bodies::TURN_WAIT;
use super::extract::{Params, Segments};
use super::problem::{Code, Problem};
use super::render;
use crate::history::NotTold;
use crate::ledger::{Date, LISTED_NIGHTS_MAX, Ledger, Lsn, PropertyId, Refusal};
use crate::node::{Consistency, Node, NotInPast};

/// Rooms, or reservations, that are looked at while apply waits, for stays of some nights. Either takes some tenths of a
/// microsecond; only in a house that is full of pinned stays a room takes twenty, and where it is searched for it counts for
/// as many as that takes.
const LOOKS_MAX: usize = 500;

/// Shows what `query` finds, which is given how much it may look at: it finds `None` where that is not enough.
pub async fn list<F, T: Serialize>(
    node: &Node,
    params: Params,
    query: impl Fn(&Ledger, usize) -> Result<Option<F>, Refusal> + Send + 'static,
    show: impl FnOnce(F) -> T + Send + 'static,
) -> Result<Response, Problem> {
    let consistency = ready(node, params, node.deadline()).await?;
    let (found, lsn) = node.with_ledger(|ledger| (query(ledger, LOOKS_MAX), ledger.lsn()));
    if let Some(found) = found.transpose() {
        return answer(found.map(show), lsn);
    }
    apart(node, consistency, move |ledger| whole(&query, ledger).map(show)).await
}

/// Like [`list`], of one property; with `as_of`, of the state that it had then.
pub async fn list_of_property<F, T: Serialize>(
    node: &Node,
    mut params: Params,
    property: &PropertyId,
    query: impl Fn(&Ledger, usize) -> Result<Option<F>, Refusal> + Clone + Send + 'static,
    show: impl FnOnce(F) -> T + Send + 'static,
) -> Result<Response, Problem> {
    let Some(as_of) = params.number("as_of")?.map(Lsn) else {
        return list(node, params, query, show).await;
    };
    let deadline = node.deadline();
    // Nothing takes a property away: what is not there at a later position never was.
    let known = |ledger: &Ledger| ledger.property(property).map(drop).ok_or(Refusal::PropertyNotFound);
    read_towards(node, params, as_of, deadline, known).await?;
    let asked = query.clone();
    let question = move |past: &Ledger| {
        // Else it would pass for a history that can't be asked now, and the client would come again for ever.
        let found = AssertUnwindSafe(|| answer(whole(&asked, past).map(show), as_of));
        catch_unwind(found).unwrap_or_else(|_| Err(has_panicked()))
    };
    let not_in_past = match node.ask_property_at(property, as_of, deadline, question).await {
        Ok(answer) => return answer,
        Err(not_in_past) => not_in_past,
    };
    // What comes first in the contract's order is told by the present state as well: it is found out before the first look.
    let is_last = matches!(not_in_past, NotInPast::NotTold(NotTold::InFuture));
    let (lsn, refused) = node.with_ledger(|ledger| (ledger.lsn(), query(ledger, LOOKS_MAX).err()));
    let refused = refused.filter(|it| is_last || it.place() == Refusal::PropertyNotFound.place());
    Err(refused.map_or_else(|| not_in_past.into(), |refusal| Problem::from(refusal).at(lsn)))
}

/// Shows what `query` finds, where how much there is to look at is known only once it is found.
pub async fn list_apart<T: Serialize>(
    node: &Node,
    params: Params,
    query: impl FnOnce(&Ledger) -> Result<T, Refusal> + Send + 'static,
) -> Result<Response, Problem> {
    let consistency = ready(node, params, node.deadline()).await?;
    apart(node, consistency, query).await
}

/// Like [`list_apart`], in the property that the path names, on the dates `[from, to)` that the request names.
pub async fn list_dates<T: Serialize>(
    node: &Node,
    segments: &Segments,
    uri: &Uri,
    query: impl FnOnce(&Ledger, &PropertyId, (Date, Date)) -> Result<T, Refusal> + Send + 'static,
) -> Result<Response, Problem> {
    let property: PropertyId = segments.get(0, "property")?;
    let mut params = Params::of(uri)?;
    let dates = shown_range(&mut params, LISTED_NIGHTS_MAX)?;
    list_apart(node, params, move |ledger| query(ledger, &property, dates)).await
}

/// The state is asked only once there is a place: it may be newer then than the read asks for, and is never older.
async fn apart<T: Serialize>(
    node: &Node,
    consistency: Consistency,
    query: impl FnOnce(&Ledger) -> Result<T, Refusal> + Send + 'static,
) -> Result<Response, Problem> {
    let Some(place) = node.place_for_list(TURN_WAIT).await else {
        return Err(Problem::overloaded("more long lists are asked for than this node can make"));
    };
    // Meanwhile it may have paused, or heard from no leader for too long.
    node.may_read(consistency)?;
    let answered = node.ask_apart(place, move |ledger| answer(query(ledger), ledger.lsn())).await;
    answered.unwrap_or_else(|_| Err(has_panicked()))
}

/// The panic itself has been printed.
fn has_panicked() -> Problem {
    Problem::new(Code::Internal, "the node failed in this request")
}

fn whole<F>(
    query: &impl Fn(&Ledger, usize) -> Result<Option<F>, Refusal>,
    ledger: &Ledger,
) -> Result<F, Refusal> {
    Ok(query(ledger, usize::MAX)?.expect("as much may be looked at as there is"))
}

fn answer<T: Serialize>(found: Result<T, Refusal>, lsn: Lsn) -> Result<Response, Problem> {
    match found {
        Ok(found) => Ok(render::json(StatusCode::OK, lsn, &found)),
        Err(refusal) => Err(Problem::from(refusal).at(lsn)),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::identity;
    use std::sync::Arc;
    use std::time::Duration;

    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use futures_util::future::join_all;
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;
    use crate::http::routes::router;
    use crate::ledger::{AVAILABILITY_NIGHTS_MAX, TYPE_NIGHTS_MAX};
    use crate::node::tests::{node, start_with};
    use crate::node::{Limits, Timings};

    async fn asked(node: &Arc<Node>, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let response = router(node.clone()).oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// A node that leads itself, and on it a house with one room more than is looked at while apply waits.
    async fn large_house(dir: &tempfile::TempDir) -> Arc<Node> {
        let node = start_with(dir, &[(1, "127.0.0.1:2")], Timings::default()).await.unwrap();
        let rooms = (0..=LOOKS_MAX).map(
            |n| json!({"op": "put_room", "property": "large", "room": n.to_string(), "room_type": "double"}),
        );
        for (method, path, body) in [
            (
                "PUT",
                "/v1/properties/large",
                json!({"name": "Large", "location": "Wien", "time_zone": "UTC", "currency": "EUR",
                    "business_date": "2027-01-01"}),
            ),
            ("PUT", "/v1/properties/large/room-types/double", json!({"name": "Double", "max_occupancy": 2})),
            (
                "PUT",
                "/v1/properties/large/rates",
                json!({"room_type": "double", "from": "2027-01-01", "to": "2028-01-01",
                    "prices": {"EUR": {"2": 10_000}}}),
            ),
            ("POST", "/v1/batch", json!({"commands": rooms.collect::<Vec<_>>()})),
        ] {
            let (status, answer) = asked(&node, method, path, body).await;
            assert!(matches!(status, 200 | 201), "{path}: {answer}");
        }
        node
    }

    #[tokio::test]
    async fn what_takes_many_looks_takes_a_place_and_what_takes_few_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let node = large_house(&dir).await;
        let stay = "arrival=2027-03-01&departure=2027-03-03&occupancy=2";
        let year = "arrival=2027-01-01&departure=2028-01-01&occupancy=2";
        // What it lists, how much of it, and whether that takes a place.
        let cases = [
            ("properties/large/rooms".to_owned(), "rooms", LOOKS_MAX + 1, true),
            (format!("properties/large/free-rooms?{stay}&limit=1000"), "rooms", LOOKS_MAX + 1, true),
            (format!("properties/large/free-rooms?{stay}&limit=3"), "rooms", 3, false),
            (format!("properties/large/free-rooms?{stay}&room=7"), "rooms", 1, false),
            (format!("properties/large/free-rooms?{year}&limit=20"), "rooms", 20, true),
            (format!("properties/large/free-rooms?{year}&room=7"), "rooms", 1, false),
            (format!("search?{stay}"), "properties", 1, false),
            (format!("search?{year}"), "properties", 1, true),
            ("properties/large/reservations".to_owned(), "reservations", 0, false),
            ("properties".to_owned(), "properties", 1, false),
            ("properties/large/rates?from=2027-01-01&to=2028-01-01".to_owned(), "rates", 1, true),
            ("properties/large/blocks".to_owned(), "blocks", 0, true),
        ];
        let mut places = Vec::new();
        for _ in 0..Limits::default().long_lists_max {
            places.push(node.place_for_list(TURN_WAIT).await.unwrap());
        }
        for all_are_taken in [true, false] {
            let node = &node;
            let answers = cases.iter().map(|(path, ..)| async move {
                asked(node, "GET", &format!("/v1/{path}"), Value::Null).await
            });
            let answers = join_all(answers).await;
            for ((path, plural, expected, takes_a_place), (status, answer)) in cases.iter().zip(answers) {
                if all_are_taken && *takes_a_place {
                    assert_eq!((status, &answer["code"]), (429, &json!("overloaded")), "{path}");
                } else {
                    assert_eq!(status, 200, "{path}: {answer}");
                    assert_eq!(answer[plural].as_array().unwrap().len(), *expected, "{path}");
                }
            }
            places.clear();
        }
        // A refusal is the same from there.
        let nowhere = asked(&node, "GET", "/v1/properties/nowhere/blocks", Value::Null).await;
        assert_eq!((nowhere.0, &nowhere.1["code"]), (404, &json!("property_not_found")));
        node.shut_down().await;
    }

    #[tokio::test]
    async fn what_is_more_than_one_answer_holds_is_refused_without_a_place() {
        let dir = tempfile::tempdir().unwrap();
        let node = large_house(&dir).await;
        let (days, body) = (AVAILABILITY_NIGHTS_MAX, json!({"name": "Double", "max_occupancy": 2}));
        let types = (2..=TYPE_NIGHTS_MAX / days as usize + 1).map(|n| (n, body.clone()));
        join_all(types.map(|(n, body)| {
            let (node, path) = (node.clone(), format!("/v1/properties/large/room-types/type-{n}"));
            async move { assert_eq!(asked(&node, "PUT", &path, body).await.0, 201) }
        }))
        .await;
        let mut places = Vec::new();
        for _ in 0..Limits::default().long_lists_max {
            places.push(node.place_for_list(TURN_WAIT).await.unwrap());
        }
        let first: Date = "2027-01-01".parse().unwrap();
        let until =
            |nights| format!("/v1/properties/large/availability?from={first}&to={}", first.plus(nights));
        let (status, problem) = asked(&node, "GET", &until(days), Value::Null).await;
        assert_eq!((status, &problem["code"]), (400, &json!("malformed")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("`to`"), "{problem}");
        drop(places);
        let (status, told) = asked(&node, "GET", &until(1), Value::Null).await;
        assert_eq!(
            (status, told["room_types"].as_object().unwrap().len()),
            (200, TYPE_NIGHTS_MAX / days as usize + 1)
        );
        node.shut_down().await;
    }

    #[tokio::test]
    async fn a_place_is_given_back_and_the_answer_told_where_the_question_panics() {
        let dir = tempfile::tempdir().unwrap();
        let node = start_with(&dir, &[(1, "127.0.0.1:2")], Timings::default()).await.unwrap();
        for _ in 0..=Limits::default().long_lists_max {
            let broken = |_: &Ledger| -> Result<(), Refusal> { panic!("a query is broken, on purpose") };
            let failed = apart(&node, Consistency::Linearizable, broken);
            assert_eq!(failed.await.unwrap_err().code(), Code::Internal);
        }
        node.shut_down().await;
    }

    #[tokio::test]
    async fn a_question_about_the_past_that_panics_is_told_as_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let node = large_house(&dir).await;
        let broken = |_: &Ledger, _: usize| -> Result<Option<()>, Refusal> { panic!("broken, on purpose") };
        let newest = node.with_ledger(Ledger::lsn);
        let params = Params::of(&format!("/?as_of={}", newest.0).parse().unwrap()).unwrap();
        let failed = list_of_property(&node, params, &"large".parse().unwrap(), broken, identity).await;
        assert_eq!(failed.unwrap_err().code(), Code::Internal);
        node.shut_down().await;
    }

    #[tokio::test]
    async fn what_has_waited_for_a_place_is_as_fresh_as_it_was_asked_to_be() {
        let dir = tempfile::tempdir().unwrap();
        // Nobody leads it.
        let node = node(&dir).await;
        let (bound, unbounded) = (Some(Duration::from_hours(1)), None);
        for (max_staleness, refused) in [(bound, Some(Code::TooStale)), (unbounded, None)] {
            let found = apart(&node, Consistency::Local { max_staleness }, |_: &Ledger| Ok(())).await;
            assert_eq!(found.err().map(|problem| problem.code()), refused);
        }
        node.shut_down().await;
    }
}
