//! The demonstration of a failover: the leader is killed, the others take the next booking, the killed one catches up.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::nodes::Nodes;
use super::plan::Plan;
use super::sample::{self, Booked};
use super::{LOOK_EVERY, READY_WITHIN, client_of, wait_ready};
use crate::cli::failure::Failure;
use crate::cli::output::{or_dash, print};
use crate::client::{Key, ListQuery};
use crate::wire::StateHash;

/// For the restarted node to hold the same state as the leader.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(60);
const GUEST: &str = "failover-guest";
/// The nights on which the demonstration books, counted from the business date: each run takes the next.
const NIGHTS: std::ops::Range<i32> = 60..360;

/// `booked` was acknowledged before, and has to be there after.
pub(super) async fn demonstrate(plan: &Plan, nodes: &mut Nodes, booked: &Booked) -> Result<(), Failure> {
    let everyone = client_of(plan, plan.ids());
    let killed = sample::leader(&everyone).await?;
    let survivors = client_of(plan, plan.ids().filter(|id| *id != killed));
    let stay = next_stay(plan).await?;

    print(&format!("\nFailover: killing node {killed}, which leads (SIGKILL)."))?;
    let started = Instant::now();
    nodes.kill(killed).await;
    let answer = everyone.reserve(&sample::property(), &stay, Key::Fresh).await?;
    let after = started.elapsed();
    let taken_by = or_dash(answer.meta.node);
    print(&format!(
        "Booked {} ms after the kill, through node {taken_by}, in {} attempt(s): {}.",
        after.as_millis(),
        answer.meta.attempts,
        sample::told(&answer.value)
    ))?;
    let leader = sample::leader(&survivors).await?;
    print(&format!("Node {leader} leads now."))?;

    let restarted = Instant::now();
    nodes.start(killed).await?;
    wait_ready(plan, killed, Instant::now() + READY_WITHIN).await?;
    let state = same_state(plan, killed, leader).await?;
    print(&format!(
        "Node {killed} is back and has caught up in {} ms: state hash {} at LSN {}, as node {leader}.",
        restarted.elapsed().as_millis(),
        state.hash,
        state.lsn
    ))?;
    let back = client_of(plan, [killed]);
    for expected in [&booked.reservation, &answer.value] {
        let shown = back.reservation(expected.id).await?.value;
        if (shown.id, &shown.status, &shown.room) != (expected.id, &expected.status, &expected.room) {
            return Err(Failure::Failed(format!(
                "node {killed} shows {shown:?}, and {expected:?} was acknowledged"
            )));
        }
    }
    print(&format!("Both bookings are there, says node {killed}."))
}

async fn next_stay(plan: &Plan) -> Result<crate::client::Reserve, Failure> {
    let client = client_of(plan, plan.ids());
    let business_date = client.property(&sample::property()).await?.value.business_date;
    let query = ListQuery { guest: Some(GUEST.to_owned()), limit: Some(1_000), ..ListQuery::default() };
    let runs = client.reservations(&sample::property(), &query).await?.value.reservations.len();
    let night = NIGHTS.start + (runs % NIGHTS.len()) as i32;
    let arrival = business_date.plus(night);
    Ok(sample::stay(GUEST, arrival, arrival.plus(1)))
}

/// Waits until two nodes show the same state.
async fn same_state(plan: &Plan, one: u64, other: u64) -> Result<StateHash, Failure> {
    let (one_client, other_client) = (client_of(plan, [one]), client_of(plan, [other]));
    let mut last = "neither has answered".to_owned();
    let same = async {
        loop {
            match (one_client.state_hash().await, other_client.state_hash().await) {
                (Ok(ours), Ok(theirs)) if ours.value == theirs.value => return ours.value,
                (Ok(ours), Ok(theirs)) => last = format!("{:?} and {:?}", ours.value, theirs.value),
                (Err(error), _) | (_, Err(error)) => last = error.to_string(),
            }
            sleep(LOOK_EVERY).await;
        }
    };
    timeout(CAUGHT_UP_WITHIN, same).await.map_err(|_| {
        Failure::Failed(format!("nodes {one} and {other} differ after {CAUGHT_UP_WITHIN:?}: {last}"))
    })
}
