//! Everything at once: a cluster under load while its nodes are killed, paused, cut off and lose power, and their disks
//! are slow, full or broken and their clocks jump; and the checker at the end.
//!
//! Short by default; `scripts/chaos` asks for longer by `INNKEEPER_CHAOS_SECONDS`. What happens, and in which order,
//! follows from the seed.

use std::time::{Duration, Instant};

use crate::support::cluster::Machines;
use crate::support::load::Load;
use crate::support::seed::Chance;
use crate::support::strace::{Injection, Strace};
use crate::support::{Cluster, Hotel, checker, in_namespaces};

const CLIENTS: u64 = 6;
const ROOMS: u64 = 100;
/// Bookings that are acknowledged between two faults, so that each is survived before the next.
const SOME: u64 = 20;
const SECONDS: u64 = 20;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    KillAll,
    Pause,
    CutOff,
    CutOneWay,
    CutAll,
    PowerOfOne,
    PowerOfAll,
    SlowDisk,
    FailingDisk,
    FullDisk,
    ClockJump,
}

const FAULTS: [Fault; 12] = [
    Fault::Kill,
    Fault::KillAll,
    Fault::Pause,
    Fault::CutOff,
    Fault::CutOneWay,
    Fault::CutAll,
    Fault::PowerOfOne,
    Fault::PowerOfAll,
    Fault::SlowDisk,
    Fault::FailingDisk,
    Fault::FullDisk,
    Fault::ClockJump,
];

#[test]
fn a_cluster_under_load_survives_whatever_goes_wrong() {
    let seconds = std::env::var("INNKEEPER_CHAOS_SECONDS").map_or(SECONDS, |text| {
        text.parse().unwrap_or_else(|_| panic!("INNKEEPER_CHAOS_SECONDS must be a number, got `{text}`"))
    });
    in_namespaces(Machines::Own, async move |mut cluster| {
        let mut chance = cluster.chance();
        eprintln!("chaos for {seconds} s, seed {}", cluster.seed);
        let hotel = Hotel::open(&cluster, "grand", ROOMS).await;
        let load = Load::start(&cluster, &hotel, CLIENTS);
        let (began, mut faults) = (Instant::now(), 0);
        while faults < FAULTS.len() || began.elapsed() < Duration::from_secs(seconds) {
            load.acknowledges(SOME, "before the next fault").await;
            // The first round meets every kind once.
            let fault = FAULTS
                [if faults < FAULTS.len() { faults } else { chance.below(FAULTS.len() as u64) as usize }];
            let node = 1 + chance.below(3);
            eprintln!("{:>6.1} s: {fault:?} at node {node}", began.elapsed().as_secs_f64());
            happen(&mut cluster, &mut chance, fault, node).await;
            cluster.wait_ready().await;
            faults += 1;
        }
        load.acknowledges(SOME, "after all faults").await;
        let history = load.stop().await;
        let kept = checker::holds(&cluster, &hotel, &history).await;
        eprintln!(
            "{faults} faults; {kept} acknowledged bookings are there, of {} that were asked for",
            history.len()
        );
        cluster.stop_all().await;
        for id in cluster.ids() {
            cluster.verify(id).await;
        }
    });
}

/// Makes a fault, lets it last, and ends it.
async fn happen(cluster: &mut Cluster, chance: &mut Chance, fault: Fault, node: u64) {
    let lasts = Duration::from_millis(200 + chance.below(2_300));
    let other = 1 + node % 3;
    match fault {
        Fault::Kill => {
            cluster.kill9(node);
            tokio::time::sleep(lasts).await;
            cluster.restart(node).await;
        }
        Fault::KillAll => {
            cluster.kill9_all();
            cluster.restart_all().await;
        }
        Fault::Pause => {
            cluster.pause(node);
            tokio::time::sleep(lasts).await;
            cluster.resume(node);
        }
        Fault::CutOff => cut(cluster, lasts, &["cut", &node.to_string()]).await,
        Fault::CutOneWay => cut(cluster, lasts, &["cut-oneway", &node.to_string(), &other.to_string()]).await,
        Fault::CutAll => cut(cluster, lasts, &["isolate-bridge"]).await,
        Fault::PowerOfOne => {
            cluster.cut_power(&[node]);
            tokio::time::sleep(lasts).await;
            cluster.restore_power(&[node]).await;
        }
        Fault::PowerOfAll => {
            let ids = cluster.ids();
            cluster.cut_power(&ids);
            cluster.restore_power(&ids).await;
        }
        Fault::SlowDisk => {
            let strace = Strace::attach(cluster.node(node).pid(), Injection::Slow).await;
            tokio::time::sleep(lasts).await;
            strace.detach();
        }
        Fault::FailingDisk => {
            let strace = Strace::attach(cluster.node(node).pid(), Injection::Failing).await;
            cluster.node(node).fails().await;
            strace.detach();
            cluster.restart(node).await;
        }
        Fault::FullDisk => {
            cluster.disk(node).fill();
            tokio::time::sleep(lasts).await;
            cluster.disk(node).free();
            cluster.restart_ended(node).await;
        }
        Fault::ClockJump => {
            let span_s = 7_200;
            cluster.node(node).move_clock(chance.below(2 * span_s) as i64 - span_s as i64);
            tokio::time::sleep(lasts).await;
            cluster.node(node).move_clock(0);
        }
    }
}

async fn cut(cluster: &Cluster, lasts: Duration, how: &[&str]) {
    cluster.namespaces().script(how);
    tokio::time::sleep(lasts).await;
    cluster.namespaces().script(&["heal"]);
}
