//! The cluster and this node's health. Always answered from this node.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::extract::{self, Params};
use super::key::key_of_headers;
use super::problem::Problem;
use super::render;
use crate::ledger::StateHash;
use crate::node::{MemberView, Node};
use crate::replication::{Decision, NodeId};
use crate::wire;

pub async fn show(State(node): State<Arc<Node>>, request: Request) -> Result<Response, Problem> {
    let mut params = Params::of(request.uri())?;
    params.always_local()?;
    params.finish()?;
    let cluster = node.cluster().await?;
    let leader_last = (cluster.members.iter())
        .find(|member| Some(member.id) == cluster.leader)
        .and_then(|member| member.status.as_ref()?.last_log_index);
    let body = wire::Cluster {
        cluster_id: cluster.cluster_id.map(|id| id.to_string()),
        node_id: node.id(),
        leader: cluster.leader,
        term: cluster.term,
        nodes: (cluster.members.iter())
            .map(|member| render_member(member, cluster.leader, leader_last))
            .collect(),
    };
    Ok(render::json(StatusCode::OK, node.position().lsn, &body))
}

fn render_member(view: &MemberView, leader: Option<NodeId>, leader_last: Option<u64>) -> wire::Member {
    let status = view.status.as_ref();
    // The contract knows no member without a role.
    let known_role = if leader == Some(view.id) {
        "leader"
    } else if view.is_voter {
        "follower"
    } else {
        "learner"
    };
    let applied = status.and_then(|status| status.applied_index);
    wire::Member {
        id: view.id,
        role: status.map_or(known_role, |status| &status.role).to_owned(),
        client_addr: view.member.client_addr.clone(),
        peer_addr: view.member.peer_addr.clone(),
        last_log_index: status.and_then(|status| status.last_log_index),
        committed_index: status.and_then(|status| status.committed_index),
        applied_index: applied,
        snapshot_index: status.and_then(|status| status.snapshot_index),
        purged_index: status.and_then(|status| status.purged_index),
        lag_entries: applied.zip(leader_last).map(|(applied, last)| last.saturating_sub(applied)),
        last_contact_ms: view.last_contact.map(|at| at.as_millis() as u64),
        reachable: status.is_some(),
        refused: view.estrangement.as_ref().map(ToString::to_string),
        version: status.map(|status| status.version.to_string()),
        paused: status.and_then(|status| status.paused.as_deref().map(str::to_owned)),
        paused_at: status.and_then(|status| status.paused_at).map(render_pause),
        decided: status
            .and_then(|status| status.decided)
            .map(|(index, decision)| wire::Decided { index, paused_at: render_pause(decision) }),
    }
}

fn render_pause(Decision { index, check }: Decision) -> wire::PausedAt {
    wire::PausedAt { index, state_hash: check.state_hash }
}

/// Done twice it is the same, so its key is read as any other's and not kept.
pub async fn snapshot(
    State(node): State<Arc<Node>>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    extract::nothing(request).await?;
    key_of_headers(&headers)?;
    node.take_snapshot_now().await;
    Ok(render::json(StatusCode::ACCEPTED, node.position().lsn, &json!({})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseFields {
    index: u64,
    state_hash: StateHash,
}

/// An operator's decision that the nodes which paused at one entry go on from there as this build does. Answered by a paused
/// node too.
pub async fn resume(
    State(node): State<Arc<Node>>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let PauseFields { index, state_hash } = extract::json(request).await?;
    key_of_headers(&headers)?;
    let decided = node.decide(index, state_hash).await?;
    let body = wire::Decided { index: decided, paused_at: wire::PausedAt { index, state_hash } };
    Ok(render::json(StatusCode::OK, node.position().lsn, &body))
}

pub async fn state_hash(State(node): State<Arc<Node>>, request: Request) -> Result<Response, Problem> {
    let mut params = Params::of(request.uri())?;
    params.always_local()?;
    params.finish()?;
    let position = node.position();
    let body = wire::StateHash { lsn: position.lsn, hash: position.state_hash.to_string() };
    Ok(render::json(StatusCode::OK, position.lsn, &body))
}

pub async fn livez() -> Response {
    healthy("alive")
}

pub async fn readyz(State(node): State<Arc<Node>>) -> Result<Response, Problem> {
    node.ready().await?;
    Ok(healthy("ready"))
}

fn healthy(status: &str) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], json!({ "status": status }).to_string())
        .into_response()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::replication::{DiskId, Estrangement, Member};

    /// Node 2, which has said nothing of itself.
    fn view(is_voter: bool, estrangement: Option<Estrangement>) -> MemberView {
        let address = || "127.0.0.1:7101".to_owned();
        let member = Member { peer_addr: address(), client_addr: address(), disk_id: DiskId(Uuid::nil()) };
        MemberView { id: 2, member, is_voter, status: None, estrangement, last_contact: None }
    }

    #[test]
    fn a_member_that_did_not_answer_is_shown_as_what_it_is_taken_for() {
        for (leader, is_voter, role) in [
            (Some(2), true, "leader"),
            (Some(1), true, "follower"),
            (None, true, "follower"),
            (Some(1), false, "learner"),
        ] {
            let shown = render_member(&view(is_voter, None), leader, Some(7));
            assert_eq!((shown.role.as_str(), shown.reachable, shown.refused), (role, false, None));
        }
    }

    #[test]
    fn a_member_in_whose_place_another_answers_is_shown_with_that() {
        let estrangement = Estrangement::AnotherNode { node: 2, other: 3 };
        let shown = render_member(&view(true, Some(estrangement)), None, None);
        let refused = shown.refused.expect("why it is not reachable");
        assert!(!shown.reachable && refused.starts_with("node 3 answers in the place of"), "{refused}");
    }
}
