//! Nodes in network namespaces, cut and healed by `scripts/partition`.
//!
//! Making namespaces needs root. A story that can't have them fails and says so: a partition that was never made
//! must not look like one that was survived.

use std::cell::OnceCell;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::cluster::{Cluster, Machines};
use super::node::Addresses;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/partition");

pub struct Namespaces {
    /// The name that tells these namespaces from those of another run.
    net: String,
    nodes: u64,
    /// The machine's own network, in which the script runs: what lives in the namespaces ends with them.
    outside: File,
    /// The network of the clients, once the story has entered it.
    hub: OnceCell<File>,
}

impl Namespaces {
    /// Fails where the machine can't, with what it lacks.
    pub fn up(nodes: u64) -> Namespaces {
        take_down_what_was_left_behind();
        static MADE: AtomicU64 = AtomicU64::new(0);
        let net = format!("innkeeper-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let outside = open(&format!("/proc/{}/ns/net", std::process::id()));
        let namespaces = Namespaces { net, nodes, outside, hub: OnceCell::new() };
        namespaces.script(&["up", &nodes.to_string()]);
        namespaces
    }

    pub fn addresses(&self) -> Vec<Addresses> {
        (1..=self.nodes)
            .map(|id| Addresses { client: format!("10.77.0.{id}:7101"), peer: format!("10.77.0.{id}:7201") })
            .collect()
    }

    /// What goes before a command so that it runs where this node lives. Ends in the command itself, under the same
    /// process id.
    pub fn launcher(&self, node: u64) -> Vec<String> {
        let net = format!("PARTITION_NET={}", self.net);
        ["env", &net, SCRIPT, "run", &node.to_string(), "--"].map(str::to_owned).to_vec()
    }

    /// Moves this thread, and the sockets and processes that it makes from now on, to where clients live: call it on a
    /// thread of the story's own.
    pub fn enter_hub(&self) {
        enter(self.hub.get_or_init(|| open(&format!("/run/netns/{}-hub", self.net))));
    }

    /// One of the script's commands; answers what it printed.
    pub fn script(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success(),
            "scripts/partition {arguments:?}: {said}\nThis story makes network namespaces and can't do without: run \
             the tests as root (scripts/test installs what they need), or leave it out on purpose with \
             `cargo test -- --skip partition::`."
        );
        said
    }

    fn output(&self, arguments: &[&str]) -> Output {
        if self.hub.get().is_some() {
            enter(&self.outside);
        }
        let output = Command::new(SCRIPT).args(arguments).env("PARTITION_NET", &self.net).output();
        if let Some(hub) = self.hub.get() {
            enter(hub);
        }
        output.unwrap_or_else(|error| panic!("{SCRIPT}: {error}"))
    }
}

/// Three ready nodes in namespaces, and the story on a thread that lives among their clients.
pub fn in_namespaces(machines: Machines, story: impl AsyncFnOnce(Cluster) + Send + 'static) {
    let name = std::thread::current().name().unwrap_or("a story in namespaces").to_owned();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let namespaces = Namespaces::up(3);
        // Before the runtime, so that nothing of it stays behind on the machine's own network.
        namespaces.enter_hub();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { story(Cluster::start_in(namespaces, machines).await).await });
    });
    if let Err(panic) = thread.expect("a thread").join() {
        std::panic::resume_unwind(panic);
    }
}

/// A run that was killed could take nothing down. Its namespaces carry its process id.
fn take_down_what_was_left_behind() {
    let Ok(spaces) = std::fs::read_dir("/run/netns") else { return };
    for name in spaces.flatten().filter_map(|space| space.file_name().into_string().ok()) {
        let Some(net) = name.strip_suffix("-hub") else { continue };
        let Some(run) = net.strip_prefix("innkeeper-").and_then(|rest| rest.split('-').next()) else {
            continue;
        };
        if run.parse::<u32>().is_ok() && !std::path::Path::new(&format!("/proc/{run}")).exists() {
            // Another run may be at the same; whoever is first does it.
            let _ = Command::new(SCRIPT).arg("down").env("PARTITION_NET", net).output();
        }
    }
}

fn open(path: &str) -> File {
    File::open(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn enter(network: &File) {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .unwrap_or_else(|error| panic!("entering a network namespace: {error}"));
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let output = self.output(&["down"]);
        if !output.status.success() && !std::thread::panicking() {
            panic!("scripts/partition down: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
