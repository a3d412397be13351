//! `status`: the cluster, as one of its nodes sees it.

use clap::Args;
use serde_json::json;

use super::failure::Failure;
use super::output::{Format, or_dash};
use super::settings::Sources;
use super::{Target, output};
use crate::client::Readiness;
use crate::wire;

/// Shows the cluster: who leads, and how far each node is
#[derive(Args, Debug)]
pub(super) struct Status {
    #[command(flatten)]
    target: Target,
    /// Asks only whether the node may serve, and fails where it may not: for health checks. The first endpoint is asked
    #[arg(long)]
    ready: bool,
}

impl Status {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let format = self.target.format(sources)?;
        if self.ready {
            return match client.readyz().await {
                Readiness::Ready => {
                    output::show(format, &json!({ "status": "ready" }), |_| "ready".to_owned())
                }
                Readiness::NotReady(reason) => Err(Failure::Failed(format!("not ready: {reason}"))),
                Readiness::Silent(reason) => Err(Failure::Failed(format!("no answer: {reason}"))),
            };
        }
        let cluster = client.cluster().await?.value;
        // The cluster's own answer has no place for what was set aside, so it is asked for only where the table names it.
        if format == Format::Json {
            return output::show_json(&cluster);
        }
        let set_aside = client.quarantine().await.map(|answer| answer.value.commands.len());
        output::print(&table(&cluster, &set_aside.map_err(|error| error.to_string())))
    }
}

fn table(cluster: &wire::Cluster, set_aside: &Result<usize, String>) -> String {
    let rows = cluster.nodes.iter().map(|member| {
        [
            member.id.to_string(),
            state(member).to_owned(),
            or_dash(member.reachable.then_some(&member.role)),
            member.client_addr.clone(),
            member.peer_addr.clone(),
            or_dash(member.last_log_index),
            or_dash(member.committed_index),
            or_dash(member.applied_index),
            or_dash(member.snapshot_index),
            or_dash(member.lag_entries),
            or_dash(member.last_contact_ms.map(|ms| format!("{ms} ms ago"))),
            or_dash(member.version.as_ref()),
        ]
    });
    let head = [
        "node",
        "state",
        "role",
        "clients",
        "peers",
        "log",
        "committed",
        "applied",
        "snapshot",
        "lag",
        "heard",
        "version",
    ];
    let leader = cluster.leader.map_or_else(|| "none is known".to_owned(), |id| format!("node {id}"));
    let first = format!(
        "cluster {}, leader: {leader}, term {}, as node {} sees it",
        or_dash(cluster.cluster_id.as_ref()),
        cluster.term,
        cluster.node_id
    );
    let paused = cluster.nodes.iter().filter_map(|member| {
        member.paused.as_ref().map(|reason| format!("\nnode {} has paused: {reason}", member.id))
    });
    let refused = cluster.nodes.iter().filter_map(|member| {
        // By which "this node" is the one that was asked.
        member.refused.as_ref().map(|why| format!("\nnode {} says: {why}", cluster.node_id))
    });
    let decided = cluster.nodes.iter().filter_map(|member| {
        let (id, decided) = (member.id, member.decided.as_ref()?);
        let (at, entry) = (decided.index, decided.paused_at.index);
        Some(format!("\nnode {id} follows an operator's decision, entry {at}: what was recorded from entry {entry} on is passed over"))
    });
    let set_aside = match set_aside {
        Ok(0) => String::new(),
        Ok(1) => "\n1 command was set aside: see `innkeeper quarantine list`".to_owned(),
        Ok(more) => format!("\n{more} commands were set aside: see `innkeeper quarantine list`"),
        Err(why) => format!("\nhow many commands were set aside can't be told: {why}"),
    };
    let table = output::table(head, rows);
    let remarks: String = refused.chain(decided).chain(paused).collect();
    format!("{first}\n\n{table}{set_aside}{remarks}{}", remedy(cluster))
}

fn state(member: &wire::Member) -> &'static str {
    match (&member.paused, &member.refused) {
        (Some(_), _) => "paused",
        (None, Some(_)) => "refused",
        (None, None) if member.reachable => "up",
        (None, None) => "unreachable",
    }
}

/// What is left to do where nobody goes on: who paused waits for a newer snapshot of another node. The decision is the
/// leader's, on the place at which it has paused itself.
fn remedy(cluster: &wire::Cluster) -> String {
    let (answering, silent): (Vec<_>, Vec<_>) = cluster.nodes.iter().partition(|member| member.reachable);
    if answering.iter().any(|member| member.paused.is_none()) {
        return String::new();
    }
    let leader = answering.iter().find(|member| Some(member.id) == cluster.leader);
    let Some(at) = leader.or(answering.first()).and_then(|member| member.paused_at.as_ref()) else {
        return String::new();
    };
    let who = if silent.is_empty() {
        "all nodes have paused, so none has a snapshot for the others: ".to_owned()
    } else {
        let silent: Vec<String> = silent.iter().map(|member| member.id.to_string()).collect();
        format!(
            "all nodes that answer have paused: first bring back node {}, where a newer snapshot for the others may \
             be; if that is gone for good, ",
            silent.join(" and node ")
        )
    };
    format!(
        "\n{who}start the build that they had before; or, to go on with what this build makes of the log: `innkeeper \
         resume {} {}`",
        at.index, at.state_hash
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::StateHash;

    fn member(id: u64) -> wire::Member {
        wire::Member {
            id,
            role: "follower".into(),
            client_addr: format!("127.0.0.1:710{id}"),
            peer_addr: format!("127.0.0.1:720{id}"),
            last_log_index: Some(12),
            committed_index: None,
            applied_index: Some(11),
            snapshot_index: None,
            purged_index: None,
            lag_entries: Some(1),
            last_contact_ms: None,
            reachable: true,
            refused: None,
            version: Some("0.1.0".into()),
            paused: None,
            paused_at: None,
            decided: None,
        }
    }

    #[test]
    fn the_table_shows_each_member_and_why_one_has_paused() {
        let gone = wire::Member { reachable: false, ..member(2) };
        let why = "node 4 belongs to another cluster, or this node does";
        let refuses = wire::Member { reachable: false, refused: Some(why.into()), ..member(4) };
        let paused = wire::Member { paused: Some("the state hash at LSN 7 differs".into()), ..member(3) };
        let cluster = wire::Cluster {
            cluster_id: None,
            node_id: 1,
            leader: None,
            term: 4,
            nodes: vec![member(1), gone, paused, refuses],
        };
        let text = table(&cluster, &Ok(2));
        let row = |id: &str| -> Vec<&str> {
            let line = text.lines().find(|line| line.trim_start().starts_with(id)).expect(&text);
            line.split_whitespace().collect()
        };
        assert_eq!(row("1 ")[1..4], ["up", "follower", "127.0.0.1:7101"]);
        assert_eq!(row("2 ")[1..3], ["unreachable", "-"]);
        assert_eq!(row("3 ")[1], "paused");
        assert_eq!(row("4 ")[1..3], ["refused", "-"]);
        assert!(text.contains(&format!("\nnode 1 says: {why}\n")), "{text}");
        assert!(text.contains("2 commands were set aside"), "{text}");
        assert!(!table(&cluster, &Ok(0)).contains("set aside"));
        let untold = table(&cluster, &Err("an answer too long".to_owned()));
        assert!(untold.contains("leader: none is known"), "the rest is shown: {untold}");
        assert!(untold.contains("can't be told: an answer too long"), "{untold}");
        assert!(text.contains("leader: none is known") && text.contains("term 4"), "{text}");
        assert!(text.ends_with("node 3 has paused: the state hash at LSN 7 differs"), "{text}");

        let paused_at = wire::PausedAt { index: 9, state_hash: StateHash(0xab) };
        let all = [1, 2].map(|id| wire::Member {
            paused: Some("why".into()),
            paused_at: Some(paused_at.clone()),
            ..member(id)
        });
        let paused = |nodes: &[wire::Member], leader| {
            table(&wire::Cluster { nodes: nodes.into(), leader, ..cluster.clone() }, &Ok(0))
        };
        let command = format!("`innkeeper resume 9 {:032x}`", 0xab);
        let text = paused(&all, Some(1));
        assert!(text.contains("all nodes have paused") && text.ends_with(&command), "{text}");
        // The decision is made where the leader has paused, whoever is named first.
        let elsewhere = wire::PausedAt { index: 8, ..paused_at.clone() };
        let first = wire::Member { paused_at: Some(elsewhere), ..all[0].clone() };
        assert!(paused(&[first.clone(), all[1].clone()], Some(2)).ends_with(&command));
        let gone = wire::Member { reachable: false, ..member(3) };
        let text = paused(&[first, all[1].clone(), gone], Some(2));
        assert!(text.contains("first bring back node 3") && text.ends_with(&command), "{text}");
        assert!(!paused(&[all[0].clone(), member(2)], Some(1)).contains("innkeeper resume"));
        let decided = wire::Member { decided: Some(wire::Decided { index: 12, paused_at }), ..member(1) };
        let text = table(&wire::Cluster { nodes: vec![decided], ..cluster }, &Ok(0));
        assert!(text.contains("node 1 follows an operator's decision, entry 12"), "{text}");
    }
}
