//! `dev`: a real cluster on this machine, one process a node, with something in it to look at.
//!
//! The nodes are children of this process, in process groups of their own so that Ctrl-C reaches them as an orderly
//! SIGTERM. They end with this process however it ends, except by SIGKILL: then they go on, and the next `dev` on the
//! same directory says so.

mod failover;
mod nodes;
mod plan;
mod sample;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout_at};

use super::failure::Failure;
use super::output;
use super::settings::{LogFilter, Sources};
use crate::client::{Client, Readiness};
use nodes::Nodes;
use plan::Plan;

/// For all nodes to be ready, an election and the replay of what is there included.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at something that another process has to reach.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs a cluster on this machine, a process a node, with a sample property
///
/// Client ports are BASE+1, BASE+2, …, peer ports BASE+101, BASE+102, …. Ctrl-C stops it, the data stays.
#[derive(Args, Debug)]
pub(super) struct Dev {
    /// How many nodes, 1 to 9 [default: 3] [env: INNKEEPER_NODES]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: Option<u16>,
    /// Where the nodes keep their data and logs [default: innkeeper-data] [env: INNKEEPER_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Ports are counted from here [default: 7100] [env: INNKEEPER_BASE_PORT]
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
    /// Kill the leader, time the next booking, and bring the node back
    #[arg(long)]
    demo_failover: bool,
    /// Stop after the demo, for scripts
    #[arg(long, requires = "demo_failover")]
    exit_after_demo: bool,
}

impl Dev {
    pub async fn run(self, sources: &Sources, log: Option<LogFilter>) -> Result<(), Failure> {
        let wanted = plan::Wanted {
            nodes: sources.pick(self.nodes, "INNKEEPER_NODES", |file| file.nodes)?,
            base_port: sources.pick(self.base_port, "INNKEEPER_BASE_PORT", |file| file.base_port)?,
        };
        let data_dir = sources
            .pick(self.data_dir.clone(), "INNKEEPER_DATA_DIR", |file| file.data_dir.clone())?
            .unwrap_or_else(|| PathBuf::from("innkeeper-data"));
        let is_enough = |nodes: u16| match !self.demo_failover || nodes >= 3 {
            true => Ok(()),
            false => {
                Err(Failure::Usage("--demo-failover needs three nodes or more: two can't elect".to_owned()))
            }
        };
        // Before the directory is made for them.
        wanted.nodes.map_or(Ok(()), is_enough)?;
        let plan = Plan::prepare(data_dir, wanted)?;
        is_enough(plan.nodes)?;
        let program = std::env::current_exe()
            .map_err(|error| Failure::Failed(format!("this program's own file can't be found: {error}")))?;
        let mut told_to_stop = pin_signals()?;
        let (mut nodes, mut exits) =
            Nodes::new(program.clone(), plan.clone(), log.map(|LogFilter(text)| text));
        let started = tokio::select! {
            reason = told_to_stop.recv() => {
                stopping(reason);
                Ok(Then::Stop)
            }
            exit = exits.recv() => Err(Failure::Failed(format!(
                "{}\nWhere an address or the directory is in use, nodes of an earlier start may still run.",
                exited(&plan, exit)
            ))),
            shown = self.show(&plan, &program, &mut nodes) => shown,
        };
        let ended = match started {
            Ok(Then::Stay) => stay(&plan, &mut exits, &mut told_to_stop).await,
            Ok(Then::Stop) => Ok(()),
            Err(failure) => Err(failure),
        };
        nodes.stop_all().await;
        output::tell!("The nodes are stopped; the data is in {}.", plan.data_dir.display());
        ended
    }

    /// Starts the nodes and shows what they can do.
    async fn show(&self, plan: &Plan, program: &std::path::Path, nodes: &mut Nodes) -> Result<Then, Failure> {
        let count = plan.nodes;
        output::tell!("Starting {count} nodes; their logs are in {}.", plan.data_dir.display());
        for id in plan.ids() {
            nodes.start(id).await?;
        }
        let deadline = Instant::now() + READY_WITHIN;
        for id in plan.ids() {
            wait_ready(plan, id, deadline).await?;
        }
        let booked = sample::book(plan).await?;
        output::print(&plan.welcome(program, &booked))?;
        if self.demo_failover {
            failover::demonstrate(plan, nodes, &booked).await?;
            if self.exit_after_demo {
                return Ok(Then::Stop);
            }
        }
        output::print("\nCtrl-C stops the nodes; the data stays.")?;
        Ok(Then::Stay)
    }
}

/// What is to be done once the nodes were shown.
enum Then {
    Stay,
    Stop,
}

/// Until a signal. A node that ends, as one that somebody kills to see what the others do, is told, and these go on.
async fn stay(
    plan: &Plan,
    exits: &mut tokio::sync::mpsc::Receiver<nodes::Exit>,
    told_to_stop: &mut tokio::sync::mpsc::Receiver<&'static str>,
) -> Result<(), Failure> {
    for left in (0..plan.nodes).rev() {
        let exit = tokio::select! {
            reason = told_to_stop.recv() => {
                stopping(reason);
                return Ok(());
            }
            exit = exits.recv() => exited(plan, exit),
        };
        if left == 0 {
            return Err(Failure::Failed(exit));
        }
        let rest = if 2 * left > plan.nodes { "go on" } else { "are no majority, and wait" };
        output::tell!(
            "{exit}\n{left} of {} nodes {rest}. Ctrl-C and the same command start all of them.",
            plan.nodes
        );
    }
    Ok(())
}

fn stopping(reason: Option<&str>) {
    output::tell!("{}: stopping the nodes", reason.unwrap_or("the signals ended"));
}

async fn wait_ready(plan: &Plan, id: u64, deadline: Instant) -> Result<(), Failure> {
    let client = client_of(plan, [id]);
    let mut last = "it was not asked".to_owned();
    let ready = async {
        loop {
            match client.readyz().await {
                Readiness::Ready => return,
                Readiness::NotReady(reason) | Readiness::Silent(reason) => last = reason,
            }
            sleep(LOOK_EVERY).await;
        }
    };
    timeout_at(deadline, ready).await.map_err(|_| {
        let log = plan.log_file(id);
        Failure::Failed(format!(
            "node {id} is not ready after {READY_WITHIN:?}: {last}\nSee {}.",
            log.display()
        ))
    })
}

/// A client of these nodes, in this order.
fn client_of(plan: &Plan, ids: impl IntoIterator<Item = u64>) -> Client {
    let endpoints = ids.into_iter().map(|id| plan.endpoint(id)).collect();
    Client::new(endpoints).expect("endpoints made of an address and a port")
}

/// The signals that end a process which a person or a supervisor runs; a closed terminal sends SIGHUP.
fn pin_signals() -> Result<tokio::sync::mpsc::Receiver<&'static str>, Failure> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    for (kind, name) in [
        (SignalKind::interrupt(), "Ctrl-C"),
        (SignalKind::quit(), "SIGQUIT"),
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::hangup(), "SIGHUP"),
    ] {
        let mut stream = signal(kind)
            .map_err(|error| Failure::Failed(format!("{name} can't be listened for: {error}")))?;
        let sender = sender.clone();
        // Ends with the runtime.
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                // A second one says nothing new.
                let _ = sender.try_send(name);
            }
        });
    }
    Ok(receiver)
}

fn exited(plan: &Plan, exit: Option<nodes::Exit>) -> String {
    let Some(nodes::Exit { id, how }) = exit else {
        return "the nodes are no longer watched".to_owned();
    };
    let log = plan.log_file(id);
    let tail = nodes::tail(&log).unwrap_or_else(|error| format!("(its log can't be read: {error})"));
    format!("node {id} ended by itself ({how}). The end of {}:\n{tail}", log.display())
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_nodes_that_are_left_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::of_mute_nodes(dir.path().join("data"), 3);
        for (ended, goes_on) in [(0, true), (2, true), (3, false)] {
            let (exits, mut exit) = mpsc::channel(3);
            let (signals, mut signal) = mpsc::channel(1);
            for id in 1..=ended {
                exits.send(nodes::Exit { id, how: "signal: 9".to_owned() }).await.unwrap();
            }
            let staying = stay(&plan, &mut exit, &mut signal);
            tokio::pin!(staying);
            let ended_by_itself =
                tokio::time::timeout(std::time::Duration::from_millis(50), &mut staying).await;
            match (ended_by_itself, goes_on) {
                (Err(_), true) => {
                    signals.send("Ctrl-C").await.unwrap();
                    staying.await.unwrap();
                }
                (Ok(Err(failure)), false) => {
                    assert!(failure.to_string().contains("node 3 ended by itself"), "{failure}");
                }
                (ended, _) => panic!("{ended:?}"),
            }
        }
    }
}
