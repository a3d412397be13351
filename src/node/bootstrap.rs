//! The first start of a cluster, and what keeps a node that lost its disk out of it.
//!
//! The lowest id asks every listed member; only when each answers that it is empty, with its disk id, does it claim
//! them and initialise the log. The disk ids go into the membership. A node with an empty disk that meets a cluster
//! which knows its id by another disk stops: its votes and its log are gone, and it must never vote again under that id.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Weak;
use std::time::Duration;

use uuid::Uuid;

use super::{Config, Node, StartError};
use crate::replication::{
    Claim, DiskId, GO_ON_WITHOUT, Hello, Member, NodeId, PeerError, PeerRefusal, Reply, Request,
};

const RETRY_AFTER: Duration = Duration::from_millis(200);
const HELLO_WAIT: Duration = Duration::from_secs(1);

/// What the operator listed must name this node, once, under its own peer address.
pub fn check_members(config: &Config) -> Result<(), StartError> {
    let Some(members) = &config.initial_cluster else { return Ok(()) };
    let wrong = |text: String| Err(StartError::Configuration(text));
    let id = config.node_id;
    match members.get(&id) {
        None => {
            return wrong(format!(
                "--initial-cluster does not list node {id}; add {id}={}",
                config.peer_addr
            ));
        }
        Some(address) if *address != config.peer_addr => {
            return wrong(format!(
                "--initial-cluster lists node {id} at {address}, but --peer-addr is {}; make them agree",
                config.peer_addr
            ));
        }
        Some(_) => {}
    }
    let mut addresses: Vec<&String> = members.values().collect();
    addresses.sort_unstable();
    if let Some(twice) = addresses.windows(2).find(|pair| pair[0] == pair[1]) {
        return wrong(format!(
            "--initial-cluster lists {} twice; each member has its own peer address",
            twice[0]
        ));
    }
    Ok(())
}

/// Whether the directory is not there yet, or holds nothing.
pub fn is_empty(data_dir: &Path) -> bool {
    std::fs::read_dir(data_dir).map_or_else(
        |error| error.kind() == std::io::ErrorKind::NotFound,
        |mut entries| entries.next().is_none(),
    )
}

/// On a data directory that holds a cluster's log, the list must agree with the log; on an empty one it is needed.
pub fn check_agreement(config: &Config, membership: &BTreeMap<NodeId, Member>) -> Result<(), StartError> {
    let stored: BTreeMap<NodeId, String> =
        membership.iter().map(|(id, member)| (*id, member.peer_addr.clone())).collect();
    let own = stored.get(&config.node_id).filter(|own| **own != config.peer_addr);
    if let (Some(own), None) = (own, &config.initial_cluster) {
        return Err(StartError::Configuration(format!(
            "--peer-addr is {}, and the cluster in {} reaches node {} at {own}; give that, or this node's own \
             --data-dir if that cluster is not its own",
            config.peer_addr,
            config.data_dir.display(),
            config.node_id
        )));
    }
    match &config.initial_cluster {
        None if stored.is_empty() => Err(StartError::Configuration(format!(
            "{} holds no cluster yet: give --initial-cluster 1=HOST:PORT,2=…,3=… with every member's peer address",
            config.data_dir.display()
        ))),
        Some(listed) if !stored.is_empty() && *listed != stored => {
            let text =
                stored.iter().map(|(id, address)| format!("{id}={address}")).collect::<Vec<_>>().join(",");
            Err(StartError::Configuration(format!(
                "--initial-cluster does not agree with the cluster in {}, which is {text}: if that is this node's \
                 cluster, give that, or leave the option out; if it is another, give the node its own --data-dir",
                config.data_dir.display()
            )))
        }
        _ => Ok(()),
    }
}

/// Runs until this node belongs to an initialised cluster.
pub async fn run(node: Weak<Node>) {
    let mut waited_for = String::new();
    loop {
        {
            let Some(node) = node.upgrade() else { return };
            match node.raft.is_initialized().await {
                Ok(false) => {}
                Ok(true) | Err(_) => return,
            }
            match attempt(&node).await {
                Ok(Progress::Done) => return,
                Ok(Progress::WaitsFor(reason)) if reason != waited_for => {
                    tracing::info!(%reason, "the cluster is not formed yet");
                    waited_for = reason;
                }
                Ok(Progress::WaitsFor(_)) => {}
                Err(reason) => {
                    node.stop_because(reason);
                    return;
                }
            }
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

enum Progress {
    Done,
    WaitsFor(String),
}

/// One round of hellos and, on the lowest id, the claim. An error is final.
async fn attempt(node: &Node) -> Result<Progress, String> {
    let Some(listed) = node.config.initial_cluster.clone() else {
        return Ok(Progress::WaitsFor("the leader's first message".to_owned()));
    };
    let mut members = BTreeMap::new();
    let mut missing = Vec::new();
    for (id, address) in &listed {
        let hello =
            if *id == node.id() { Some(node.own_hello().await) } else { hello(node, *id, address).await };
        match hello {
            Some(hello) => {
                check_not_wiped(node, &hello)?;
                members.insert(*id, hello);
            }
            None => missing.push(format!("node {id} at {address}")),
        }
    }
    if !missing.is_empty() {
        return Ok(Progress::WaitsFor(format!("an answer from {}", missing.join(" and "))));
    }
    let lowest = listed.keys().next().copied();
    if lowest != Some(node.id()) {
        return Ok(Progress::WaitsFor(format!("node {} to make the cluster", lowest.unwrap_or_default())));
    }
    if let Some(full) = members.values().find(|hello| !hello.empty) {
        return Err(format!(
            "node {} already holds a log while this node, node {}, is empty and the lowest id of --initial-cluster: \
             give this node its data directory back, or empty every member's to begin anew",
            full.node,
            node.id()
        ));
    }
    claim_all(node, &members).await
}

/// `None` where no answer came, or another's: where that lasts it is told with the reason, as of all messages.
async fn hello(node: &Node, id: NodeId, address: &str) -> Option<Hello> {
    match node.peers.call(id, address, None, Request::Hello, HELLO_WAIT).await {
        Ok(Reply::Hello(hello)) => Some(hello),
        Ok(_) | Err(_) => None,
    }
}

/// Stops a node whose id the peer's cluster knows by another disk.
fn check_not_wiped(node: &Node, hello: &Hello) -> Result<(), String> {
    let me = node.me.identity();
    let Some(cluster) = hello.cluster else { return Ok(()) };
    match hello.members.get(&me.node_id) {
        Some(disk) if *disk != me.disk_id => Err(format!(
            "cluster {cluster} knows node {id} by disk {disk}, but the data directory {dir} is disk {mine} and empty. \
             Give it its data directory back. {GO_ON_WITHOUT}",
            id = me.node_id,
            dir = node.config.data_dir.display(),
            mine = me.disk_id,
        )),
        _ if me.cluster_id.is_some_and(|mine| mine != cluster) => Err(format!(
            "node {} belongs to cluster {cluster}, this node to another: check --initial-cluster, or empty the \
             data directory that is not wanted",
            hello.node
        )),
        _ => Ok(()),
    }
}

/// The cluster that these disks make. Its id is written on this one first, so that a start which breaks off goes on with the
/// same one.
fn own_cluster(node: &Node, disks: &BTreeMap<NodeId, DiskId>) -> Result<Uuid, String> {
    let mut file = node.me.lock_identity();
    let mut identity = file.identity().clone();
    if let Some(cluster) = identity.cluster_id {
        // Two founders, each with a list of its own, would make two majorities of one cluster.
        if identity.members != *disks {
            let began_with: Vec<_> = identity.members.keys().collect();
            return Err(format!(
                "this node belongs to cluster {cluster} of nodes {began_with:?}, whose disks are not \
                 those of --initial-cluster now: give all members one list; where no member has a log yet, empty their data \
                 directories and begin anew"
            ));
        }
        return Ok(cluster);
    }
    let cluster = Uuid::from_u128(node.ids.next().as_u128());
    identity.cluster_id = Some(cluster);
    identity.members = disks.clone();
    file.store(identity).map_err(|error| format!("the identity can't be written: {error}"))?;
    Ok(cluster)
}

/// Has all members take the cluster's id, and initialises the log.
async fn claim_all(node: &Node, members: &BTreeMap<NodeId, Hello>) -> Result<Progress, String> {
    let disks: BTreeMap<_, _> = members.iter().map(|(id, hello)| (*id, hello.disk)).collect();
    let cluster = own_cluster(node, &disks)?;
    for (id, hello) in members.iter().filter(|(id, _)| **id != node.id()) {
        let claim = Request::Claim(Claim { cluster, members: disks.clone() });
        match node.peers.call(*id, &hello.peer_addr, Some(hello.disk), claim, HELLO_WAIT).await {
            Ok(_) => {}
            Err(PeerError::Refused { refusal: PeerRefusal::AlreadyClaimed, .. }) => {
                return Err(format!(
                    "node {id} was claimed by another cluster, or by this one with other disks: empty its data directory if \
                     that cluster never began"
                ));
            }
            Err(error) => return Ok(Progress::WaitsFor(format!("node {id} to take the claim ({error})"))),
        }
    }
    let nodes: BTreeMap<NodeId, Member> = members
        .iter()
        .map(|(id, hello)| {
            let (peer_addr, client_addr) = (hello.peer_addr.to_string(), hello.client_addr.to_string());
            (*id, Member { peer_addr, client_addr, disk_id: hello.disk })
        })
        .collect();
    match node.raft.initialize(nodes).await {
        Ok(()) => {
            tracing::info!(%cluster, members = members.len(), "a new cluster was made");
            Ok(Progress::Done)
        }
        Err(error) => Err(format!("the log can't be initialised: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::{CLUSTER, answer, claim, message, node};

    #[tokio::test]
    async fn a_cluster_is_made_of_the_disks_that_it_was_begun_with() {
        let dir = tempfile::tempdir().unwrap();
        let node = node(&dir).await;
        let own = node.me.identity().disk_id;
        let disks = |other| BTreeMap::from([(1, own), (2, DiskId(Uuid::from_u128(other)))]);
        let cluster = own_cluster(&node, &disks(2)).unwrap();
        let identity = node.me.identity();
        assert_eq!((identity.cluster_id, &identity.members), (Some(cluster), &disks(2)));
        assert_eq!(own_cluster(&node, &disks(2)), Ok(cluster), "a start that broke off goes on");
        let refused = own_cluster(&node, &disks(3)).unwrap_err();
        assert!(refused.contains(&cluster.to_string()), "{refused}");
        assert_eq!(node.me.identity(), identity);
        node.shut_down().await;
    }

    #[tokio::test]
    async fn who_was_claimed_founds_no_other_cluster_under_that_id() {
        let dir = tempfile::tempdir().unwrap();
        let node = node(&dir).await;
        let claimed = answer(&node, &message(&node, claim(&node, CLUSTER))).await;
        assert!(matches!(claimed, Reply::Claimed), "{claimed:?}");
        let identity = node.me.identity();
        let of_others = BTreeMap::from([(1, identity.disk_id), (3, DiskId(Uuid::from_u128(3)))]);
        assert!(own_cluster(&node, &of_others).is_err());
        assert_eq!(node.me.identity(), identity);
        assert_eq!(own_cluster(&node, &identity.members), Ok(CLUSTER));
        node.shut_down().await;
    }
}
