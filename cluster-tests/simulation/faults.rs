//! What goes wrong, and when, from the seed.
//!
//! Each seed draws the kinds of faults that it may see, so that some seeds see one kind alone and some see all together.

use std::collections::{BTreeMap, BTreeSet};

use innkeeper::replication::NodeId;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::builds::Build;
use super::disk::Full;
use super::network::{CLIENTS, Weather};
use super::operator::Wanted;

/// Something that happens to the cluster at one instant.
#[derive(Clone, Debug)]
pub enum Fault {
    Kill(NodeId),
    CutPower(NodeId),
    Start(NodeId),
    Suspend(NodeId),
    Resume(NodeId),
    /// Only these pairs, sender first, are cut.
    Cut(BTreeSet<(NodeId, NodeId)>),
    Weather(Weather),
    /// The longest that a flush takes from now on.
    SlowDisk(NodeId, u64),
    FailFlush(NodeId),
    FullDisk(NodeId, Option<Full>),
    /// The process is killed, what it had flushed is damaged, and it is started.
    DamageLog(NodeId),
    FlipSnapshot(NodeId),
    Wall(NodeId, i64),
    /// The process is killed, and started in this build.
    Install(NodeId, Build),
    /// The operator begins to make the membership so.
    Members(Wanted),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Kill,
    CutPower,
    CutAllPower,
    Suspend,
    Isolate,
    OneWay,
    Bridge,
    Flap,
    Weather,
    SlowDisk,
    FailFlush,
    FullDisk,
    DamageLog,
    FlipSnapshot,
    /// Power is cut while slow flushes are under way.
    CutMidFlush,
    /// A node is away until its log is behind the others', and its snapshot is interrupted.
    FarBehind,
    Wall,
    OtherBuild,
    Members,
}

const KINDS: [Kind; 19] = [
    Kind::Kill,
    Kind::CutPower,
    Kind::CutAllPower,
    Kind::Suspend,
    Kind::Isolate,
    Kind::OneWay,
    Kind::Bridge,
    Kind::Flap,
    Kind::Weather,
    Kind::SlowDisk,
    Kind::FailFlush,
    Kind::FullDisk,
    Kind::DamageLog,
    Kind::FlipSnapshot,
    Kind::CutMidFlush,
    Kind::FarBehind,
    Kind::Wall,
    Kind::OtherBuild,
    Kind::Members,
];

pub struct Faults {
    random: StdRng,
    nodes: Vec<NodeId>,
    kinds: Vec<Kind>,
    /// Milliseconds between two faults, at most.
    every_ms_max: u64,
    next_ms: u64,
    /// No wall clock is moved before.
    clocks_rest_until_ms: u64,
    /// Ends of faults, and what follows from them.
    planned: BTreeMap<(u64, u64), Fault>,
    plans: u64,
}

impl Faults {
    pub fn new(seed: u64, nodes: u64, begin_ms: u64) -> Faults {
        let mut random = StdRng::seed_from_u64(seed);
        let count = random.random_range(1..=6);
        let mut kinds: Vec<Kind> = KINDS.sample(&mut random, count).copied().collect();
        kinds.sort_unstable();
        let every_ms_max = random.random_range(600..3_000);
        Faults {
            random,
            nodes: (1..=nodes).collect(),
            kinds,
            every_ms_max,
            next_ms: begin_ms,
            clocks_rest_until_ms: 0,
            planned: BTreeMap::new(),
            plans: 0,
        }
    }

    pub fn kinds(&self) -> String {
        format!("{:?}", self.kinds)
    }

    /// Whether the cluster has other members for a while.
    pub fn changes_members(&self) -> bool {
        self.kinds.contains(&Kind::Members)
    }

    /// Whether wall clocks jump in this seed.
    pub fn moves_clocks(&self) -> bool {
        self.kinds.contains(&Kind::Wall)
    }

    /// Whether messages, or those who send them, take their time in this seed.
    pub fn delays_messages(&self) -> bool {
        [Kind::Weather, Kind::Suspend].iter().any(|kind| self.kinds.contains(kind))
    }

    /// What happens now, in order.
    pub fn due(&mut self, now_ms: u64) -> Vec<Fault> {
        let mut due = Vec::new();
        if now_ms >= self.next_ms {
            self.next_ms = now_ms + self.random.random_range(100..=self.every_ms_max);
            self.begin(now_ms, &mut due);
        }
        let later = self.planned.split_off(&(now_ms + 1, 0));
        due.extend(std::mem::replace(&mut self.planned, later).into_values());
        due
    }

    /// A process ended by itself and is started again some time later.
    pub fn restart_later(&mut self, now_ms: u64, node: NodeId) {
        let after = self.random.random_range(50..2_000);
        self.plan(now_ms + after, Fault::Start(node));
    }

    fn plan(&mut self, at_ms: u64, fault: Fault) {
        self.plans += 1;
        self.planned.insert((at_ms, self.plans), fault);
    }

    fn begin(&mut self, now_ms: u64, due: &mut Vec<Fault>) {
        let kind = *self.kinds.choose(&mut self.random).expect("a seed has a kind of faults");
        let node = *self.nodes.choose(&mut self.random).expect("a cluster has nodes");
        let lasts = self.random.random_range(20..4_000);
        let end = now_ms + lasts;
        match kind {
            Kind::Kill => {
                due.push(Fault::Kill(node));
                self.plan(end, Fault::Start(node));
            }
            Kind::CutPower => {
                due.push(Fault::CutPower(node));
                self.plan(end, Fault::Start(node));
            }
            Kind::CutAllPower => {
                for node in self.nodes.clone() {
                    due.push(Fault::CutPower(node));
                    let after = self.random.random_range(50..1_500);
                    self.plan(now_ms + after, Fault::Start(node));
                }
            }
            Kind::Suspend => {
                due.push(Fault::Suspend(node));
                self.plan(end, Fault::Resume(node));
            }
            Kind::Isolate => {
                due.push(Fault::Cut(self.isolated(node)));
                self.plan(end, Fault::Cut(BTreeSet::new()));
            }
            Kind::OneWay => {
                let hears = self.random.random_bool(0.5);
                let one_way =
                    self.others(node).map(|other| if hears { (node, other) } else { (other, node) });
                due.push(Fault::Cut(one_way.collect()));
                self.plan(end, Fault::Cut(BTreeSet::new()));
            }
            Kind::Bridge => {
                // All but one pair of nodes see each other.
                let other = self.others(node).next().expect("a cluster has several nodes");
                due.push(Fault::Cut([(node, other), (other, node)].into()));
                self.plan(end, Fault::Cut(BTreeSet::new()));
            }
            Kind::Flap => self.flap(node, now_ms, end, 700),
            Kind::Weather => {
                let weather = Weather {
                    delay_ms_max: *[5, 40, 150, 600].choose(&mut self.random).expect("not empty"),
                    lost: self.random.random_range(0..200),
                    repeated: self.random.random_range(0..100),
                };
                due.push(Fault::Weather(weather));
                self.plan(end, Fault::Weather(Weather::FAIR));
            }
            Kind::SlowDisk => {
                let ms = *[20, 100, 800].choose(&mut self.random).expect("not empty");
                due.push(Fault::SlowDisk(node, ms));
                self.plan(end, Fault::SlowDisk(node, super::disk::FAST_MS));
            }
            Kind::FailFlush => due.push(Fault::FailFlush(node)),
            Kind::FullDisk => {
                let full = if self.random.random_bool(0.5) {
                    Full::Flushes
                } else {
                    Full::Writes { bytes_left: self.random.random_range(0..8 << 10) }
                };
                due.push(Fault::FullDisk(node, Some(full)));
                self.plan(end, Fault::FullDisk(node, None));
            }
            Kind::DamageLog => due.push(Fault::DamageLog(node)),
            Kind::FlipSnapshot => due.push(Fault::FlipSnapshot(node)),
            Kind::CutMidFlush => self.cut_mid_flush(now_ms, due),
            Kind::FarBehind => {
                due.push(Fault::Kill(node));
                let back = now_ms + self.random.random_range(4_000..8_000);
                self.plan(back, Fault::Start(node));
                self.flap(node, back, back + 1_500, 40);
                self.next_ms = self.next_ms.max(back);
            }
            Kind::Wall if now_ms < self.clocks_rest_until_ms => {}
            Kind::Wall => {
                // Two members that are left have no median: a clock is then wrong by less than the check allows for.
                let spans: &[i64] = if self.kinds.contains(&Kind::Members) {
                    &[400, 1_000]
                } else {
                    &[400, 5_000, 3_600_000, 3_600_000]
                };
                let span = *spans.choose(&mut self.random).expect("not empty");
                due.push(Fault::Wall(node, self.random.random_range(-span..=span)));
                // One clock at a time, until the others no longer remember it: of three, two are right.
                self.plan(end, Fault::Wall(node, 0));
                self.clocks_rest_until_ms = end + 2_500;
            }
            Kind::OtherBuild => {
                let builds = [Build::Earlier, Build::Later, Build::Incompatible];
                let build = *builds.choose(&mut self.random).expect("not empty");
                due.push(Fault::Install(node, build));
                self.plan(end, Fault::Install(node, Build::This));
            }
            Kind::Members => {
                let voters = self.others(node).collect();
                let keeps_learners = self.random.random_bool(0.5);
                due.push(Fault::Members(Wanted { voters, keeps_learners }));
                let voters = self.nodes.iter().copied().collect();
                self.plan(end, Fault::Members(Wanted { voters, keeps_learners }));
            }
        }
    }

    /// Cuts a node off again and again; each time, and each time between, at most `span_ms_max` long.
    fn flap(&mut self, node: NodeId, begin_ms: u64, end_ms: u64, span_ms_max: u64) {
        let mut at = begin_ms;
        while at < end_ms {
            let cut = self.isolated(node);
            self.plan(at, Fault::Cut(cut));
            at += self.random.random_range(5..span_ms_max);
            self.plan(at, Fault::Cut(BTreeSet::new()));
            at += self.random.random_range(5..span_ms_max);
        }
    }

    fn cut_mid_flush(&mut self, now_ms: u64, due: &mut Vec<Fault>) {
        let cut_at = now_ms + self.random.random_range(5..700);
        let all = self.random.random_bool(0.6);
        let lucky = *self.nodes.choose(&mut self.random).expect("a cluster has nodes");
        for node in self.nodes.clone() {
            due.push(Fault::SlowDisk(node, 400));
            if all || node != lucky {
                self.plan(cut_at, Fault::CutPower(node));
                let back = cut_at + self.random.random_range(20..1_000);
                self.plan(back, Fault::SlowDisk(node, super::disk::FAST_MS));
                self.plan(back, Fault::Start(node));
            } else {
                self.plan(cut_at, Fault::SlowDisk(node, super::disk::FAST_MS));
            }
        }
    }

    fn others(&self, node: NodeId) -> impl Iterator<Item = NodeId> + use<> {
        let others: Vec<NodeId> = self.nodes.iter().copied().filter(|other| *other != node).collect();
        others.into_iter()
    }

    /// Cut off from the other nodes, and from its clients or not.
    fn isolated(&mut self, node: NodeId) -> BTreeSet<(NodeId, NodeId)> {
        let mut cut: BTreeSet<_> =
            self.others(node).flat_map(|other| [(node, other), (other, node)]).collect();
        if self.random.random_bool(0.3) {
            cut.extend([(node, CLIENTS), (CLIENTS, node)]);
        }
        cut
    }
}
