//! `GET /metrics`: what this node counts and measures, in Prometheus' text format.
//!
//! Requests are counted where they pass; everything else is asked of the node when somebody looks. Each router has a
//! registry of its own, so that several nodes of one process do not mix.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TEXT_FORMAT,
    TextEncoder,
};
use tokio::time::Instant;

use super::problem::{Code, Problem};
use crate::node::{Node, Numbers, VERSION};

/// From half a millisecond, a read from memory, to past the wait of a request.
const REQUEST_SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.5, 5.0];

type Reading = fn(&Numbers) -> f64;

/// Gauges that are read off the node: name, help, reading.
const GAUGES: [(&str, &str, Reading); 26] = [
    ("innkeeper_leader", "The leader that this node knows of; 0 where it knows none.", |node| {
        node.leader.unwrap_or(0) as f64
    }),
    ("innkeeper_is_leader", "1 on the node that leads.", |node| f64::from(u8::from(node.leads))),
    ("innkeeper_term", "The term of Raft.", |node| node.term as f64),
    ("innkeeper_lsn", "The LSN up to which this node has applied.", |node| node.lsn as f64),
    ("innkeeper_last_log_index", "The last entry of this node's log.", |node| node.last_log_index as f64),
    ("innkeeper_committed_index", "The last entry that this node knows to be committed.", |node| {
        node.committed_index as f64
    }),
    ("innkeeper_applied_index", "The last entry that this node has applied.", |node| {
        node.applied_index as f64
    }),
    ("innkeeper_apply_lag_entries", "Committed entries that this node has not applied.", |node| {
        node.committed_index.saturating_sub(node.applied_index) as f64
    }),
    ("innkeeper_snapshot_index", "The last entry in the newest snapshot; 0 without one.", |node| {
        node.snapshot_index as f64
    }),
    (
        "innkeeper_snapshot_seconds",
        "How long this node took to write its last snapshot; 0 before the first since it started.",
        |node| node.snapshot_took.as_ref().map_or(0.0, Duration::as_secs_f64),
    ),
    ("innkeeper_snapshot_age_seconds", "Seconds since this node wrote a snapshot, or started.", |node| {
        node.snapshot_age.as_secs_f64()
    }),
    ("innkeeper_purged_index", "The last entry that the log has dropped; 0 without one.", |node| {
        node.purged_index as f64
    }),
    ("innkeeper_queue_commands", "Commands that wait to be applied, on this node.", |node| {
        node.waiting_commands as f64
    }),
    ("innkeeper_queue_bytes", "Encoded bytes of the commands that wait.", |node| node.waiting_bytes as f64),
    ("innkeeper_batches_in_flight", "Batches that are proposed or forwarded, and not answered.", |node| {
        node.batches_in_flight as f64
    }),
    (
        "innkeeper_leader_silence_seconds",
        "Seconds since a leader was heard from whose commits are applied; on the leader, since a majority was.",
        |node| node.silence.as_ref().map_or(f64::INFINITY, Duration::as_secs_f64),
    ),
    ("innkeeper_quarantined_commands", "Commands that were set aside when they were applied.", |node| {
        node.quarantined as f64
    }),
    ("innkeeper_failing_due", "Parts of what is due that can't be done, because of a defect.", |node| {
        node.failing_due as f64
    }),
    ("innkeeper_history_first_lsn", "The first command of which this node's history tells.", |node| {
        node.history.first.0 as f64
    }),
    (
        "innkeeper_history_bytes",
        "Bytes of history that are kept, before they are compressed; the disk has about two thirds of it.",
        |node| node.history.bytes as f64,
    ),
    (
        "innkeeper_history_unkept_commits",
        "Commands that are told of and whose history is not on disk.",
        |node| node.history.unkept as f64,
    ),
    (
        "innkeeper_history_missing",
        "1 on a node that can't tell some of the history: it fetches it, or gives it up where nobody has it.",
        |node| f64::from(u8::from(node.history.is_missing)),
    ),
    ("innkeeper_history_suspended", "1 on a node whose history is not kept now: its log says why.", |node| {
        f64::from(u8::from(node.history.is_suspended))
    }),
    (
        "innkeeper_history_write_seconds",
        "How long the disk has been at what it does for the history now: one that hangs never ends it.",
        |node| node.history.writing.as_secs_f64(),
    ),
    ("innkeeper_event_streams", "Streams of events that are open.", |node| node.streams as f64),
    ("innkeeper_paused", "1 on a node that has paused applying.", |node| f64::from(u8::from(node.paused))),
];

pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGauge,
    gauges: Vec<(Gauge, Reading)>,
    behind: GaugeVec,
}

impl Metrics {
    pub fn new(node: &Node) -> Result<Metrics, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "innkeeper_http_requests_total",
                "Requests answered; `code` is that of a problem, or ok.",
            ),
            &["method", "route", "status", "code"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("innkeeper_http_request_seconds", "Time until an answer began.")
                .buckets(REQUEST_SECONDS.to_vec()),
            &["method", "route"],
        )?;
        let in_flight =
            IntGauge::new("innkeeper_http_requests_in_flight", "Requests that have no answer yet.")?;
        let behind = GaugeVec::new(
            Opts::new(
                "innkeeper_replication_lag_entries",
                "On the leader: entries that a member's log lacks.",
            ),
            &["node"],
        )?;
        let gauges = GAUGES.iter().map(|(name, help, reading)| Ok((Gauge::new(*name, *help)?, *reading)));
        let gauges = gauges.collect::<Result<Vec<_>, prometheus::Error>>()?;
        let build = IntGauge::with_opts(
            Opts::new("innkeeper_build_info", "1, with the version of this build.")
                .const_label("version", VERSION),
        )?;
        build.set(1);
        let registry = Registry::new();
        let add = |collector: Box<dyn Collector>| registry.register(collector);
        add(Box::new(requests.clone()))?;
        add(Box::new(seconds.clone()))?;
        add(Box::new(in_flight.clone()))?;
        add(Box::new(behind.clone()))?;
        add(Box::new(build))?;
        add(Box::new(node.flush_seconds()))?;
        for (gauge, _) in &gauges {
            add(Box::new(gauge.clone()))?;
        }
        Ok(Metrics { registry, requests, seconds, in_flight, gauges, behind })
    }

    fn read(&self, numbers: &Numbers) {
        for (gauge, reading) in &self.gauges {
            gauge.set(reading(numbers));
        }
        // Who no longer leads tells no other node's lag.
        self.behind.reset();
        for (id, entries) in &numbers.behind {
            self.behind.with_label_values(&[id.to_string().as_str()]).set(*entries as f64);
        }
    }
}

pub async fn show(
    State(node): State<Arc<Node>>,
    Extension(metrics): Extension<Arc<Metrics>>,
) -> Result<Response, Problem> {
    metrics.read(&node.numbers());
    let text = TextEncoder::new().encode_to_string(&metrics.registry.gather());
    let text = text.map_err(|error| {
        Problem::new(Code::Internal, format!("the metrics could not be written: {error}"))
    })?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}

/// A request that is being answered.
pub struct Counted<'a> {
    metrics: &'a Metrics,
    method: &'static str,
    /// The path as it was declared. Paths that nobody serves are made up by clients: `None`, one label for all.
    route: Option<MatchedPath>,
    began: Instant,
    _in_flight: InFlight,
}

impl Metrics {
    /// Counts a request, and from here how long its answer takes to begin.
    pub fn begin(&self, request: &Request) -> Counted<'_> {
        Counted {
            metrics: self,
            method: method_label(request.method()),
            route: request.extensions().get::<MatchedPath>().cloned(),
            began: Instant::now(),
            _in_flight: InFlight::of(&self.in_flight),
        }
    }
}

impl Counted<'_> {
    pub fn end(self, answer: &Response) {
        let route = self.route.as_ref().map_or("none", MatchedPath::as_str);
        let seconds = self.began.elapsed().as_secs_f64();
        self.metrics.seconds.with_label_values(&[self.method, route]).observe(seconds);
        let code = answer.extensions().get::<Code>().map_or("ok", |code| code.name());
        let status = answer.status();
        self.metrics.requests.with_label_values(&[self.method, route, status.as_str(), code]).inc();
    }
}

/// Clients may make up methods as well.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// Counted down when the request ends, also where its client went away.
struct InFlight(IntGauge);

impl InFlight {
    fn of(gauge: &IntGauge) -> InFlight {
        gauge.inc();
        InFlight(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
