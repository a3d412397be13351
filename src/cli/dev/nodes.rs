//! The processes of a `dev` cluster: started, watched, killed, stopped.
//!
//! Each process is owned by one task, which either hears that it ended by itself or is told to end it. A process whose
//! task is dropped is killed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::plan::Plan;
use crate::cli::failure::Failure;

/// How long a node may take to hand over and sync its log. Longer than the node's own bound.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// As much of a log's end as a message shows.
const TAIL_BYTES: u64 = 2_000;

/// How many threads tokio runs a node's tasks on; as many as there are processors where it is not set.
const WORKER_THREADS: &str = "TOKIO_WORKER_THREADS";

/// A node that ended without being told to.
#[derive(Debug)]
pub(super) struct Exit {
    pub id: u64,
    pub how: String,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    /// SIGTERM, and SIGKILL for one that does not heed it.
    Stop,
    /// SIGKILL.
    Kill,
}

struct Running {
    order: oneshot::Sender<Order>,
    ended: JoinHandle<()>,
}

pub(super) struct Nodes {
    program: PathBuf,
    plan: Plan,
    log: Option<String>,
    exits: mpsc::Sender<Exit>,
    running: BTreeMap<u64, Running>,
}

impl Nodes {
    /// `program` is started as `innkeeper serve …`. Nodes that end by themselves are told on the receiver.
    pub fn new(program: PathBuf, plan: Plan, log: Option<String>) -> (Nodes, mpsc::Receiver<Exit>) {
        let (exits, receiver) = mpsc::channel(usize::from(plan.nodes));
        (Nodes { program, plan, log, exits, running: BTreeMap::new() }, receiver)
    }

    /// Starts a node that is not running. Its log is appended to.
    pub async fn start(&mut self, id: u64) -> Result<(), Failure> {
        let path = self.plan.log_file(id);
        let log = File::options().create(true).append(true).open(&path);
        let log = log.and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = log.map_err(|error| {
            Failure::Failed(format!("the log {} can't be opened: {error}", path.display()))
        })?;
        let mut command = Command::new(&self.program);
        command
            .arg("serve")
            .args(["--node-id", &id.to_string()])
            .arg("--data-dir")
            .arg(self.plan.node_dir(id))
            .args(["--client-addr", &self.plan.client_addr(id)])
            .args(["--peer-addr", &self.plan.peer_addr(id)])
            .args(["--initial-cluster", &self.plan.initial_cluster()])
            .args(self.log.iter().flat_map(|filter| ["--log", filter]))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .kill_on_drop(true);
        // What is set for this process, as a config file, is not meant for one of its nodes.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("INNKEEPER_"))
        {
            command.env_remove(name);
        }
        // The nodes share the processors: threads beyond them only wake one another.
        if std::env::var_os(WORKER_THREADS).is_none() {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            let threads = (processors / usize::from(self.plan.nodes)).max(1);
            command.env(WORKER_THREADS, threads.to_string());
        }
        let child = command.spawn().map_err(|error| {
            Failure::Failed(format!("node {id} can't be started as {}: {error}", self.program.display()))
        })?;
        let (order, orders) = oneshot::channel();
        let ended = tokio::spawn(own(id, child, orders, self.exits.clone()));
        self.running.insert(id, Running { order, ended });
        Ok(())
    }

    /// Kills a node as a crash would. Returns once it is gone.
    pub async fn kill(&mut self, id: u64) {
        self.end(id, Order::Kill).await;
    }

    /// Stops all nodes at once, in order. Returns once they are gone.
    pub async fn stop_all(&mut self) {
        let running = std::mem::take(&mut self.running);
        join_all(running.into_values().map(|node| end(node, Order::Stop))).await;
    }

    async fn end(&mut self, id: u64, order: Order) {
        if let Some(node) = self.running.remove(&id) {
            end(node, order).await;
        }
    }
}

async fn end(node: Running, order: Order) {
    // Fails where the node has ended by itself, which is told elsewhere.
    let _ = node.order.send(order);
    let _ = node.ended.await;
}

async fn own(id: u64, mut child: Child, orders: oneshot::Receiver<Order>, exits: mpsc::Sender<Exit>) {
    tokio::select! {
        status = child.wait() => {
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            // Nobody listens once the nodes are being stopped.
            let _ = exits.send(Exit { id, how }).await;
        }
        // A sender that is gone left no order: the nodes are dropped.
        order = orders => end_child(&mut child, order.unwrap_or(Order::Kill)).await,
    }
}

async fn end_child(child: &mut Child, order: Order) {
    if matches!(order, Order::Stop)
        && let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
        // The child has not been waited for, so that its id is not another process's by now.
        && kill_process(pid, Signal::TERM).is_ok()
        && tokio::time::timeout(STOP_WITHIN, child.wait()).await.is_ok()
    {
        return;
    }
    // Fails only where it has ended.
    let _ = child.kill().await;
}

/// The last lines of a log.
pub(super) fn tail(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole_lines =
        if length > TAIL_BYTES { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
    Ok(whole_lines.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// A cluster of one whose program is this shell script; `$5` is the node's data directory.
    fn nodes(dir: &Path, script: &str) -> (Nodes, mpsc::Receiver<Exit>, Plan) {
        let program = dir.join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let plan = Plan::of_mute_nodes(dir.join("data"), 1);
        let (nodes, exits) = Nodes::new(program, plan.clone(), Some("debug".into()));
        (nodes, exits, plan)
    }

    async fn wait_for_log(plan: &Plan, text: &str) {
        let log = plan.log_file(1);
        let there = async {
            while !std::fs::read_to_string(&log).is_ok_and(|log| log.contains(text)) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, there).await.unwrap_or_else(|_| panic!("{text} never came to the log"));
    }

    #[tokio::test]
    async fn a_node_is_started_with_its_place_in_the_cluster_and_stopped_with_sigterm() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"trap 'echo stopped in order; exit 0' TERM; echo "$@"; while :; do sleep 0.05; done"#;
        let (mut nodes, mut exits, plan) = nodes(dir.path(), script);
        nodes.start(1).await.unwrap();
        wait_for_log(&plan, "--log debug").await;
        nodes.stop_all().await;
        let log = std::fs::read_to_string(plan.log_file(1)).unwrap();
        let data = plan.node_dir(1).display().to_string();
        let args = format!(
            "serve --node-id 1 --data-dir {data} --client-addr 127.0.0.1:7301 --peer-addr 127.0.0.1:7401 \
             --initial-cluster 1=127.0.0.1:7401 --log debug"
        );
        assert!(log.contains(&args), "{log}");
        assert!(log.ends_with("stopped in order\n"), "{log}");
        assert!(exits.try_recv().is_err(), "a stop was taken for an exit");
    }

    #[tokio::test]
    async fn a_killed_node_has_no_time_for_order_and_can_be_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let script =
            r#"trap 'echo stopped in order; exit 0' TERM; echo "run as $$"; while :; do sleep 0.05; done"#;
        let (mut nodes, mut exits, plan) = nodes(dir.path(), script);
        nodes.start(1).await.unwrap();
        wait_for_log(&plan, "run as").await;
        nodes.kill(1).await;
        nodes.start(1).await.unwrap();
        let runs = || std::fs::read_to_string(plan.log_file(1)).unwrap().matches("run as").count();
        let deadline = Instant::now() + SOON;
        while runs() < 2 {
            assert!(Instant::now() < deadline, "the node never ran again");
            sleep(Duration::from_millis(10)).await;
        }
        assert!(!std::fs::read_to_string(plan.log_file(1)).unwrap().contains("in order"));
        assert!(exits.try_recv().is_err(), "a kill was taken for an exit");
        nodes.stop_all().await;
    }

    #[tokio::test]
    async fn a_node_that_ends_by_itself_is_told_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let (mut nodes, mut exits, plan) =
            nodes(dir.path(), "seq 1 2000; echo 'the port is taken' >&2; exit 78");
        nodes.start(1).await.unwrap();
        let exit = timeout(SOON, exits.recv()).await.unwrap().unwrap();
        assert_eq!(exit.id, 1);
        assert!(exit.how.contains("78"), "{}", exit.how);
        let tail = tail(&plan.log_file(1)).unwrap();
        assert!(tail.ends_with("1999\n2000\nthe port is taken"), "{tail}");
        assert!(tail.len() as u64 <= TAIL_BYTES);
        nodes.stop_all().await;
    }
}
