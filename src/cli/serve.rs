//! `serve`: one node of a cluster, until it is told to stop.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use super::settings::{Address, InitialCluster, Sources};
use crate::history::Retention;
use crate::node::{self, StartError};
use crate::replication::IdentityError;
use crate::server;

/// Runs one node of a cluster
///
/// It serves until SIGTERM or Ctrl-C: then a leader hands over, requests in flight end, the log is synced.
#[derive(Args, Debug)]
pub(super) struct Serve {
    /// This node's number in the cluster [env: INNKEEPER_NODE_ID]
    #[arg(long, value_name = "N")]
    node_id: Option<u64>,
    /// Where this node keeps its data; of no other node [env: INNKEEPER_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where clients reach this node [env: INNKEEPER_CLIENT_ADDR]
    #[arg(long, value_name = "HOST:PORT")]
    client_addr: Option<Address>,
    /// Where the other nodes reach this node [env: INNKEEPER_PEER_ADDR]
    #[arg(long, value_name = "HOST:PORT")]
    peer_addr: Option<Address>,
    /// The peer address of every node, this one included, as 1=HOST:PORT,2=HOST:PORT,…
    /// Needed on an empty data directory; has to agree later [env: INNKEEPER_INITIAL_CLUSTER]
    #[arg(long, value_name = "MEMBERS")]
    initial_cluster: Option<InitialCluster>,
    /// The history of so many days is kept, at least while this node leads; all of it when absent
    /// [env: INNKEEPER_HISTORY_DAYS]
    #[arg(long, value_name = "N")]
    history_days: Option<u64>,
    /// So many MiB of history are kept, before they are compressed, at least while this node leads; all of it when absent
    /// [env: INNKEEPER_HISTORY_MIB]
    #[arg(long, value_name = "N")]
    history_mib: Option<u64>,
}

impl Serve {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let config = self.config(sources)?;
        server::serve(config).await.map_err(|error| match error {
            StartError::Configuration(_) | StartError::Identity(IdentityError::OtherNode { .. }) => {
                Failure::Configuration(error.to_string())
            }
            error => Failure::Failed(error.to_string()),
        })
    }

    fn config(self, sources: &Sources) -> Result<node::Config, Failure> {
        let node_id = sources.pick(self.node_id, "INNKEEPER_NODE_ID", |file| file.node_id)?;
        let data_dir = sources.pick(self.data_dir, "INNKEEPER_DATA_DIR", |file| file.data_dir.clone())?;
        let client_addr =
            sources.pick(self.client_addr, "INNKEEPER_CLIENT_ADDR", |file| file.client_addr.clone())?;
        let peer_addr = sources.pick(self.peer_addr, "INNKEEPER_PEER_ADDR", |file| file.peer_addr.clone())?;
        let initial_cluster = sources
            .pick(self.initial_cluster, "INNKEEPER_INITIAL_CLUSTER", |file| file.initial_cluster.clone())?;
        let history_days =
            sources.pick(self.history_days, "INNKEEPER_HISTORY_DAYS", |file| file.history_days)?;
        let history_mib = sources.pick(self.history_mib, "INNKEEPER_HISTORY_MIB", |file| file.history_mib)?;
        let history = Retention {
            age_ms: history_days.map(|days| days.saturating_mul(24 * 60 * 60 * 1_000)),
            bytes: history_mib.map(|mib| mib.saturating_mul(1 << 20)),
        };
        Ok(node::Config {
            node_id: node_id.ok_or_else(|| sources.missing("--node-id", "INNKEEPER_NODE_ID"))?,
            data_dir: data_dir.ok_or_else(|| sources.missing("--data-dir", "INNKEEPER_DATA_DIR"))?,
            client_addr: client_addr
                .ok_or_else(|| sources.missing("--client-addr", "INNKEEPER_CLIENT_ADDR"))?
                .0,
            peer_addr: peer_addr.ok_or_else(|| sources.missing("--peer-addr", "INNKEEPER_PEER_ADDR"))?.0,
            initial_cluster: initial_cluster.map(|InitialCluster(members)| members),
            limits: node::Limits { history, ..node::Limits::default() },
            timings: node::Timings::default(),
        })
    }
}
