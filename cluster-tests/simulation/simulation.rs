//! One run: a cluster and its clients from a seed, faults for a while, then peace, then judgement.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use innkeeper::ledger::Lsn;
use innkeeper::planted::set_log_file_bytes;
use innkeeper::replication::{NodeId, seed_this_thread};
use innkeeper::wire::Reservation;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use super::builds::Build;
use super::clients::{Clients, Desk};
use super::disk::{Damage, FAST_MS, SimulatedDisk};
use super::faults::{Fault, Faults};
use super::feed::Stretch;
use super::history::{Answered, Reply};
use super::machine::{Ended, Machine};
use super::network::{Network, Weather, peer_addr};
use super::operator::Operator;
use super::panics;
use super::properties::damage::Damaged;
use super::properties::failed_flush::FailedFlush;
use super::properties::{
    Observer, Violation, capacity, durable, event_feed, hold_expiry, key_once, linearizability, log_clock,
    room_night,
};
use super::trace::Trace;

const NODES: u64 = 3;
const CLIENTS: u64 = 5;
/// Of the logs' files, by the seed: some runs come to the end of many.
const LOG_FILE_BYTES: [Option<u64>; 3] = [Some(8 << 10), Some(64 << 10), None];
/// How long faults go on.
const SAFETY_MS: u64 = 12_000;
/// Once faults have ended and all nodes run, a write succeeds at every node within this time …
const WRITES_WITHIN_MS: u64 = 10_000;
/// … and all nodes have the same state within this one.
const AGREE_WITHIN_MS: u64 = 60_000;
/// The first cluster is formed, and the house defined, within this time.
const SETUP_WITHIN_MS: u64 = 60_000;

/// What a run came to.
pub struct Run {
    pub hash: u64,
    pub events: u64,
    pub operations: usize,
    pub acknowledged: usize,
    pub faults: usize,
    pub simulated_ms: u64,
    /// Snapshots that a leader began to send, and those that a follower took.
    pub snapshots: (u64, u64),
    pub kinds: String,
    pub violations: Vec<Violation>,
}

pub fn run(seed: u64, is_printed: bool) -> Run {
    panics::forget();
    let dir = scratch();
    let mut simulation = Simulation::new(seed, dir.path(), is_printed);
    if let Err(violation) = simulation.play() {
        simulation.violate(violation);
    }
    simulation.finish()
}

/// In memory where the system has such a folder: what survives a power cut is decided by the simulation alone.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    dir.expect("a temporary folder can be made")
}

struct Simulation {
    now_ms: u64,
    order: StdRng,
    network: Network,
    machines: Vec<Machine>,
    clients: Clients,
    faults: Faults,
    faults_seen: usize,
    /// Nodes whose disk was told to fail: they may stop by themselves.
    failing: BTreeSet<NodeId>,
    failed_flush: FailedFlush,
    damaged: Damaged,
    /// From the moment on at which the cluster stands.
    operator: Option<Operator>,
    /// All wall clocks are right to the millisecond, unless a fault moves them.
    has_exact_clocks: bool,
    observer: Arc<Mutex<Observer>>,
    /// What was told of events.
    told: Arc<Mutex<Vec<Stretch>>>,
    trace: Arc<Mutex<Trace>>,
    seed: u64,
    violations: Vec<Violation>,
}

impl Simulation {
    fn new(seed: u64, dir: &Path, is_printed: bool) -> Simulation {
        let mut random = StdRng::seed_from_u64(seed);
        seed_this_thread(random.random());
        set_log_file_bytes(LOG_FILE_BYTES[seed as usize % LOG_FILE_BYTES.len()]);
        let network = Network::new(random.random());
        let observer = Arc::new(Mutex::new(Observer::default()));
        let trace = Arc::new(Mutex::new(Trace::new(is_printed)));
        let members: BTreeMap<NodeId, String> = (1..=NODES).map(|id| (id, peer_addr(id))).collect();
        let machines = (members.keys())
            .map(|id| {
                let seed = random.random();
                Machine::new(*id, dir, members.clone(), network.clone(), observer.clone(), seed)
            })
            .collect();
        let clients = Clients::new(network.clone(), NODES, trace.clone(), random.random());
        let faults = Faults::new(random.random(), NODES, 0);
        Simulation {
            now_ms: 0,
            order: StdRng::seed_from_u64(random.random()),
            network,
            machines,
            clients,
            faults,
            faults_seen: 0,
            failing: BTreeSet::new(),
            failed_flush: FailedFlush::default(),
            damaged: Damaged::default(),
            operator: None,
            has_exact_clocks: random.random_bool(0.5),
            observer,
            told: Arc::default(),
            trace,
            seed,
            violations: Vec::new(),
        }
    }

    fn violate(&mut self, violation: Violation) {
        self.tell(format!("VIOLATION {violation}"));
        self.violations.push(violation);
    }

    fn tell(&self, what: String) {
        self.trace.lock().expect("one thread").event(self.now_ms, what);
    }

    fn machine(&mut self, id: NodeId) -> &mut Machine {
        self.machines.iter_mut().find(|machine| machine.id == id).expect("a node of this cluster")
    }

    /// The phases, in their order. An error ends the run.
    fn play(&mut self) -> Result<(), Violation> {
        self.set_up()?;
        self.suffer()?;
        self.recover()
    }

    fn set_up(&mut self) -> Result<(), Violation> {
        for id in 1..=NODES {
            let offset = if self.has_exact_clocks { 0 } else { self.order.random_range(-200..=200) };
            self.machine(id).wall.set(offset);
            self.start(id);
        }
        let defined = self.clients.spawn(Desk::define_house);
        self.run_until(SETUP_WITHIN_MS, "the house was not defined", |_| filled(&defined))?;
        self.run_until(SETUP_WITHIN_MS, "the nodes do not agree at first", Simulation::agree)?;
        self.operator = Some(Operator::new(self.machine(1).members()));
        self.machines.iter_mut().for_each(Machine::forget_first_members);
        self.tell("the house is defined".into());
        Ok(())
    }

    /// Safety: whatever goes wrong, nothing that must never be ever is.
    fn suffer(&mut self) -> Result<(), Violation> {
        self.faults = Faults::new(self.order.random(), NODES, self.now_ms + 300);
        self.tell(format!("faults: {}", self.faults.kinds()));
        let mut clients = self.clients.open(CLIENTS, self.seed.rotate_left(17));
        let (random, told) = (StdRng::seed_from_u64(self.seed.rotate_left(29)), self.told.clone());
        clients.push(self.clients.spawn(|desk| desk.follow(random, told)));
        let end = self.now_ms + SAFETY_MS;
        while self.now_ms < end {
            for fault in self.faults.due(self.now_ms) {
                self.faults_seen += 1;
                self.tell(format!("{fault:?}"));
                self.happen(fault);
            }
            self.step()?;
        }
        self.tell("faults end".into());
        self.network.cut(BTreeSet::new());
        self.network.set_weather(Weather::FAIR);
        self.damaged.repair();
        self.operator.iter_mut().for_each(Operator::want_all);
        for id in 1..=NODES {
            let machine = self.machine(id);
            machine.resume();
            machine.disk.set_flush_ms_max(FAST_MS);
            machine.disk.fail_next_flush(false);
            machine.disk.set_full(None);
            machine.wall.set(0);
            if machine.build != Build::This {
                self.happen(Fault::Install(id, Build::This));
            }
        }
        self.start_all();
        let writes: Vec<_> =
            (1..=NODES).map(|id| self.clients.spawn(move |desk| desk.write_at(id))).collect();
        self.run_until(WRITES_WITHIN_MS, "liveness: a node took no write", |_| writes.iter().all(filled))?;
        self.tell("every node takes writes".into());
        self.clients.close();
        self.run_until(AGREE_WITHIN_MS, "liveness: a client has no answer", |_| clients.iter().all(filled))
    }

    /// Liveness, and judgement of all that was answered.
    fn recover(&mut self) -> Result<(), Violation> {
        let resolved = self.clients.spawn(Desk::resolve_unknown);
        self.run_until(AGREE_WITHIN_MS, "liveness: an outcome stays unknown", |_| filled(&resolved))?;
        self.tell("every outcome is known".into());
        self.run_until(AGREE_WITHIN_MS, "liveness: the nodes do not agree", Simulation::agree)?;
        let mut shown = Vec::new();
        for id in 1..=NODES {
            let list = self.clients.spawn(move |desk| desk.list_at(id));
            self.run_until(WRITES_WITHIN_MS, "liveness: a node shows nothing", |_| filled(&list))?;
            shown.extend(list.lock().expect("one thread").take());
        }
        for id in 1..=NODES {
            let feed = self.clients.spawn(move |desk| desk.read_feed_at(id));
            self.run_until(AGREE_WITHIN_MS, "liveness: a node does not tell its events", |_| filled(&feed))?;
            let stretches = feed.lock().expect("one thread").take();
            self.told.lock().expect("one thread").extend(stretches.into_iter().flatten());
        }
        self.judge(&shown)
    }

    fn judge(&mut self, shown: &[Answered]) -> Result<(), Violation> {
        let stamps = self.observer.lock().expect("one thread").states.stamps();
        let history = self.clients.history();
        let mut history = history.lock().expect("one thread");
        if let Some(Reply::Reservations(last)) = shown.last().map(|answered| &answered.reply) {
            history.settle(last);
        }
        for (operation, answered) in history.answered() {
            if let (true, Reply::Reservations(all)) =
                (linearizability::shows_all(&operation.call, &answered.reply), &answered.reply)
            {
                room_night::check(all)?;
                capacity::check(all)?;
            }
        }
        for answered in shown {
            let last: &[Reservation] = match &answered.reply {
                Reply::Reservations(all) => all,
                other => return Err(format!("the list of the house is {other:?}")),
            };
            room_night::check(last)?;
            capacity::check(last)?;
            key_once::check(last)?;
            durable::check(&history, last)?;
            linearizability::check(&history, stamps.clone(), last, answered.lsn)?;
        }
        if let Some(Reply::Reservations(last)) = shown.last().map(|answered| &answered.reply) {
            let told = self.told.lock().expect("one thread");
            event_feed::check(&history, &told, last)?;
            // Who is no member for a while is not asked by those who are.
            if !self.faults.changes_members() {
                event_feed::gone_alike(&told)?;
            }
        }
        log_clock::check(&history, self.clock_slack_ms())?;
        hold_expiry::check(&history, self.clock_slack_ms())
    }

    /// How far the log's clock may be from the true time.
    fn clock_slack_ms(&self) -> u64 {
        if self.faults.moves_clocks() {
            // A clock that was moved far drags the log's clock by a tenth of the time that passes.
            2_000 + self.now_ms / 10
        } else if self.has_exact_clocks && !self.faults.delays_messages() {
            // A member's clock looks late by as long as its message was under way.
            2 * Weather::FAIR.delay_ms_max + 4
        } else {
            1_000
        }
    }

    fn agree(&mut self) -> bool {
        let positions: BTreeSet<Option<(Lsn, String)>> = (self.machines.iter())
            .map(|machine| machine.position().map(|at| (at.lsn, format!("{:?}", at.state_hash))))
            .collect();
        positions.len() == 1 && !positions.contains(&None)
    }

    fn run_until(
        &mut self,
        within_ms: u64,
        or_else: &str,
        mut is_done: impl FnMut(&mut Simulation) -> bool,
    ) -> Result<(), Violation> {
        let end = self.now_ms + within_ms;
        while !is_done(self) {
            if self.now_ms >= end {
                return Err(format!("{or_else} within {within_ms} ms"));
            }
            self.step()?;
            self.start_all();
        }
        Ok(())
    }

    /// Starts who is down. A flush that began while its disk was failing may end a process when the faults are over.
    fn start_all(&mut self) {
        for id in 1..=NODES {
            if !self.machine(id).is_up() {
                self.start(id);
            }
        }
    }

    /// One step of time, for everybody.
    fn step(&mut self) -> Result<(), Violation> {
        self.now_ms += 1;
        for delivery in self.network.arrivals(self.now_ms) {
            let bytes = [delivery.to.to_le_bytes(), delivery.exchange.to_le_bytes()].concat();
            self.trace.lock().expect("one thread").mix(self.now_ms, &bytes);
            self.machine(delivery.to).deliver(delivery);
        }
        let mut order: Vec<usize> = (0..self.machines.len()).collect();
        order.shuffle(&mut self.order);
        for at in order {
            self.machines[at].step();
        }
        self.clients.step();
        if let Some(operator) = &self.operator {
            operator.work(self.now_ms, &mut self.machines);
        }
        self.look()
    }

    /// What the step showed: positions into the trace, processes that ended, properties that were broken.
    fn look(&mut self) -> Result<(), Violation> {
        for at in 0..self.machines.len() {
            let id = self.machines[at].id;
            if let Some(position) = self.machines[at].position() {
                let bytes = format!("{id} {:?} {:?}", position.lsn, position.state_hash);
                self.trace.lock().expect("one thread").mix(self.now_ms, bytes.as_bytes());
            }
            if let Some(index) = self.machines[at].log_begins_behind() {
                self.damaged.begins_behind(id, index);
            }
            if self.machines[at].is_running() {
                self.failed_flush.runs(id, self.machines[at].disk.has_failed())?;
                self.damaged.started(id)?;
            }
            let (ended, disk) = (self.machines[at].ended(), &self.machines[at].disk);
            // Damage is a reason of its own not to start.
            let is_up = !matches!(ended, Some(Ended::NotStarted(_)));
            let may_stop = disk.has_failed() || (is_up && (self.failing.contains(&id) || disk.is_full()));
            match ended {
                None => {}
                Some(Ended::Stopped(reason) | Ended::NotStarted(reason)) if may_stop => {
                    self.failing.remove(&id);
                    self.tell(format!("node {id} stops: {reason}"));
                    // What a disk holds that has lied about a flush is not what the system's cache shows.
                    let cuts = self.machines[at].disk.has_lied() || self.order.random_bool(0.5);
                    self.happen(if cuts { Fault::CutPower(id) } else { Fault::Kill(id) });
                    self.faults.restart_later(self.now_ms, id);
                }
                Some(Ended::Stopped(reason)) => return Err(format!("node {id} stopped: {reason}")),
                Some(Ended::NotStarted(reason)) => match self.damaged.refused(id, &reason) {
                    Some(found) => {
                        found?;
                        self.tell(format!("node {id} does not start, and its disk is repaired"));
                        self.machine(id).kill();
                        self.faults.restart_later(self.now_ms, id);
                    }
                    None => return Err(format!("node {id} did not start: {reason}")),
                },
            }
        }
        if panics::any() {
            return Err("something has panicked".into());
        }
        match self.observer.lock().expect("one thread").take_violations().into_iter().next() {
            Some(violation) => Err(violation),
            None => Ok(()),
        }
    }

    fn start(&mut self, id: NodeId) {
        let now_ms = self.now_ms;
        self.machine(id).start(now_ms);
        self.network.started(id);
    }

    fn happen(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(id) => {
                self.machine(id).kill();
                let resets = self.order.random_bool(0.8);
                self.network.died(id, resets);
            }
            Fault::CutPower(id) => {
                self.machine(id).cut_power();
                self.network.died(id, false);
            }
            Fault::Start(id) => {
                if !self.machine(id).is_up() {
                    self.start(id);
                }
            }
            Fault::Suspend(id) => self.machine(id).suspend(),
            Fault::Resume(id) => self.machine(id).resume(),
            Fault::Cut(pairs) => self.network.cut(pairs),
            Fault::Weather(weather) => self.network.set_weather(weather),
            Fault::SlowDisk(id, ms) => self.machine(id).disk.set_flush_ms_max(ms),
            Fault::FailFlush(id) => {
                self.failing.insert(id);
                self.machine(id).disk.fail_next_flush(true);
            }
            Fault::FullDisk(id, full) => {
                self.failing.insert(id);
                self.machine(id).disk.set_full(full);
            }
            Fault::Install(id, build) => {
                self.happen(Fault::Kill(id));
                self.machine(id).build = build;
                self.start(id);
            }
            Fault::Members(wanted) => self.operator.iter_mut().for_each(|it| it.want(wanted.clone())),
            Fault::DamageLog(id) => self.damage(id, SimulatedDisk::damage_log),
            Fault::FlipSnapshot(id) => {
                let sent = self.observer.lock().expect("one thread").snapshots_sent(id);
                let begun = self.damaged.log_begins_behind(id);
                self.damage(id, move |disk| disk.flip_snapshot_bit(&sent, begun));
            }
            Fault::Wall(id, ms) => self.machine(id).wall.set(ms),
        }
    }

    /// Kills a node, damages what it had flushed, and starts it.
    fn damage(&mut self, id: NodeId, strike: impl FnOnce(&SimulatedDisk) -> Option<Damage>) {
        self.happen(Fault::Kill(id));
        // One damage a disk: what two do together says nothing of either.
        self.damaged.repair_of(id);
        if let Some(damage) = strike(&self.machine(id).disk) {
            self.tell(format!("at node {id}: {damage}"));
            self.damaged.add(id, damage);
        }
        self.start(id);
    }

    fn finish(self) -> Run {
        let history = self.clients.history();
        let history = history.lock().expect("one thread");
        let trace = self.trace.lock().expect("one thread");
        let observer = self.observer.lock().expect("one thread");
        Run {
            snapshots: (observer.snapshots_begun, observer.snapshots_installed),
            hash: trace.hash(),
            events: trace.events(),
            operations: history.operations.len(),
            acknowledged: history.answered().count(),
            faults: self.faults_seen,
            simulated_ms: self.now_ms,
            kinds: self.faults.kinds(),
            violations: self.violations,
        }
    }
}

fn filled<T>(slot: &Arc<Mutex<Option<T>>>) -> bool {
    slot.lock().expect("one thread").is_some()
}
