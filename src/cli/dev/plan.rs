//! Where the nodes of a `dev` cluster are: ports, directories, and what is told about them.
//!
//! Members know each other by address, so that a cluster keeps the ports it was made with: they are written to
//! `dev.toml` in its directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::sample::Booked;
use crate::cli::failure::Failure;
use crate::cli::output;

/// What the flags and the rest of the settings ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub nodes: Option<u16>,
    pub base_port: Option<u16>,
}

/// What a directory was made with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    nodes: u16,
    base_port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub data_dir: PathBuf,
    pub nodes: u16,
    base_port: u16,
}

impl Plan {
    /// Takes over what `data_dir` was made with, or makes it.
    pub fn prepare(data_dir: PathBuf, wanted: Wanted) -> Result<Plan, Failure> {
        let shown = data_dir.display().to_string();
        let unusable =
            |error: std::io::Error| Failure::Configuration(format!("{shown} can't be used: {error}"));
        let record = data_dir.join("dev.toml");
        let mut is_new = false;
        let made: Made = match std::fs::read_to_string(&record) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error| Failure::Configuration(format!("{}: {error}", record.display())))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let made =
                    Made { nodes: wanted.nodes.unwrap_or(3), base_port: wanted.base_port.unwrap_or(7_100) };
                check(&made)?;
                let plan = Plan { data_dir: data_dir.clone(), nodes: made.nodes, base_port: made.base_port };
                plan.ports_are_free("give another --base-port")?;
                std::fs::create_dir_all(&data_dir).map_err(unusable)?;
                let text = format!("nodes = {}\nbase_port = {}\n", made.nodes, made.base_port);
                // Where this is killed, whole or not at all: half a record would stand in the way of every later start.
                let half = data_dir.join("dev.toml.new");
                std::fs::write(&half, text)
                    .and_then(|()| std::fs::rename(&half, &record))
                    .map_err(unusable)?;
                is_new = true;
                made
            }
            Err(error) => return Err(unusable(error)),
        };
        check(&made)?;
        let differs = |wanted: Option<u16>, made: u16| wanted.is_some_and(|wanted| wanted != made);
        if differs(wanted.nodes, made.nodes) || differs(wanted.base_port, made.base_port) {
            return Err(Failure::Configuration(format!(
                "the cluster in {shown} was made with --nodes {} --base-port {}; leave them out, or take another --data-dir",
                made.nodes, made.base_port
            )));
        }
        let plan = Plan { data_dir, nodes: made.nodes, base_port: made.base_port };
        if !is_new {
            // Whoever is there would be taken for one of these nodes.
            plan.ports_are_free("nodes of an earlier start may still run: stop them")?;
        }
        Ok(plan)
    }

    /// A cluster keeps its ports: none is made on those of somebody else.
    fn ports_are_free(&self, remedy: &str) -> Result<(), Failure> {
        for address in self.ids().flat_map(|id| [self.client_addr(id), self.peer_addr(id)]) {
            std::net::TcpListener::bind(&address).map_err(|error| {
                Failure::Failed(format!("a node can't listen on {address}: {error}; {remedy}"))
            })?;
        }
        Ok(())
    }

    pub fn ids(&self) -> std::ops::RangeInclusive<u64> {
        1..=u64::from(self.nodes)
    }

    fn port(&self, offset: u64) -> u64 {
        u64::from(self.base_port) + offset
    }

    pub fn client_addr(&self, id: u64) -> String {
        format!("127.0.0.1:{}", self.port(id))
    }

    pub fn peer_addr(&self, id: u64) -> String {
        format!("127.0.0.1:{}", self.port(100 + id))
    }

    pub fn endpoint(&self, id: u64) -> String {
        format!("http://{}", self.client_addr(id))
    }

    pub fn node_dir(&self, id: u64) -> PathBuf {
        self.data_dir.join(format!("node-{id}"))
    }

    pub fn log_file(&self, id: u64) -> PathBuf {
        self.data_dir.join(format!("node-{id}.log"))
    }

    pub fn initial_cluster(&self) -> String {
        let members: BTreeMap<u64, String> = self.ids().map(|id| (id, self.peer_addr(id))).collect();
        let members: Vec<String> = members.iter().map(|(id, address)| format!("{id}={address}")).collect();
        members.join(",")
    }

    /// Where everything is, and commands that run as they stand.
    pub fn welcome(&self, program: &Path, booked: &Booked) -> String {
        let rows = self.ids().map(|id| {
            let log = self.log_file(id).display().to_string();
            [
                id.to_string(),
                self.endpoint(id),
                self.peer_addr(id),
                self.node_dir(id).display().to_string(),
                log,
            ]
        });
        let nodes = output::table(["node", "clients", "peers", "data", "log"], rows);
        let program = quoted(&shortest(program));
        let property = &booked.reservation.property;
        let (arrival, departure) = (booked.reservation.arrival, booked.reservation.departure);
        let id = booked.reservation.id;
        let (first, last) = (self.endpoint(1), self.endpoint(u64::from(self.nodes)));
        let stay = format!("--property {property} --arrival {arrival} --departure {departure} --occupancy 2");
        let base = format!("{last}/v1");
        format!(
            "\n{nodes}\n\n{}\n\nTry:\n  \
             {program} status --endpoint {first}\n  \
             {program} show {id} --endpoint {last}\n  \
             {program} free-rooms {stay} --endpoint {first}\n  \
             {program} reserve {stay} --room-type double --guest guest-1 --endpoint {first}\n  \
             curl -s {base}/reservations/{id}\n  \
             curl -s '{base}/properties/{property}/availability?from={arrival}&to={departure}'",
            booked.story
        )
    }
}

fn check(made: &Made) -> Result<(), Failure> {
    let last_port = u32::from(made.base_port) + 100 + u32::from(made.nodes);
    if !(1..=9).contains(&made.nodes) {
        return Err(Failure::Configuration(format!("{} nodes: expected 1 to 9", made.nodes)));
    }
    if last_port > u32::from(u16::MAX) {
        return Err(Failure::Configuration(format!(
            "the base port {} leads to port {last_port}, and 65535 is the last; take a lower --base-port",
            made.base_port
        )));
    }
    Ok(())
}

/// Relative to the working directory where it is below it, because that is how it would be typed.
fn shortest(program: &Path) -> String {
    let relative =
        std::env::current_dir().ok().and_then(|dir| program.strip_prefix(dir).ok().map(Path::to_owned));
    relative.as_deref().unwrap_or(program).display().to_string()
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
impl Plan {
    /// For nodes that listen nowhere: tests that look at once whether the same ports are free would find each other.
    pub fn of_mute_nodes(data_dir: PathBuf, nodes: u16) -> Plan {
        std::fs::create_dir_all(&data_dir).unwrap();
        Plan { data_dir, nodes, base_port: 7_300 }
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use super::*;

    /// A port that was looked at is free a moment later: a child that another test starts has this process's sockets until
    /// it becomes another program.
    fn prepared(at: &Path, wanted: Wanted) -> Plan {
        let began = Instant::now();
        loop {
            match Plan::prepare(at.to_owned(), wanted) {
                Ok(plan) => return plan,
                Err(taken) if taken.exit_code() == 1 && began.elapsed() < Duration::from_secs(10) => {
                    sleep(Duration::from_millis(10));
                }
                Err(failure) => panic!("{failure}"),
            }
        }
    }

    #[test]
    fn a_directory_keeps_what_it_was_made_with() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("deep/data");
        let wanted = Wanted { nodes: Some(5), base_port: Some(9_000) };
        let plan = prepared(&at, wanted);
        assert_eq!(
            (plan.client_addr(1), plan.peer_addr(5)),
            ("127.0.0.1:9001".into(), "127.0.0.1:9105".into())
        );
        assert_eq!(prepared(&at, Wanted::default()), plan);
        assert_eq!(prepared(&at, wanted), plan);
        for other in
            [Wanted { nodes: Some(3), base_port: None }, Wanted { nodes: None, base_port: Some(9_001) }]
        {
            let failure = Plan::prepare(at.clone(), other).unwrap_err();
            assert_eq!(failure.exit_code(), 78);
            assert!(failure.to_string().contains("--nodes 5 --base-port 9000"), "{failure}");
        }
        std::fs::write(at.join("dev.toml"), "nodes = 3").unwrap();
        assert_eq!(Plan::prepare(at, Wanted::default()).unwrap_err().exit_code(), 78);
    }

    #[test]
    fn ports_that_do_not_exist_are_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        for (base_port, good) in [(65_432, true), (65_433, false)] {
            let at = dir.path().join(base_port.to_string());
            let plan = Plan::prepare(at.clone(), Wanted { nodes: Some(3), base_port: Some(base_port) });
            assert_eq!(plan.is_ok(), good, "{base_port}");
            assert_eq!((at.exists(), at.join("dev.toml").exists()), (good, good));
        }
    }

    #[test]
    fn ports_that_are_taken_are_not_kept() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base_port = taken.local_addr().unwrap().port() - 101;
        let dir = tempfile::tempdir().unwrap();
        let wanted = Wanted { nodes: Some(1), base_port: Some(base_port) };
        let at = dir.path().join("data");
        let failure = Plan::prepare(at.clone(), wanted).unwrap_err();
        assert!(failure.exit_code() == 1 && failure.to_string().contains("--base-port"), "{failure}");
        assert!(!at.exists());
    }

    #[test]
    fn members_are_listed_with_their_peer_addresses() {
        let plan = Plan { data_dir: "d".into(), nodes: 2, base_port: 7_100 };
        assert_eq!(plan.initial_cluster(), "1=127.0.0.1:7201,2=127.0.0.1:7202");
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("target/release/innkeeper"), "target/release/innkeeper");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
