//! The log on its way to one follower.
//!
//! Appends follow one another on a [line](Line) without waiting for the follower's flush, so that a flush there and the
//! next message pass at the same time. The first of a session is an exchange by itself: a heartbeat, which is a session of
//! one message, needs no line of its own, nor does the search for where the follower's log ends. By it is noted whether the
//! follower [answers](super::hearing): a line ends with an answer that does not count, and the session with it.
//!
//! Where entries come one after the other, how far they are committed travels with the next of them: a message of its own
//! would wake every follower twice for each entry, just when the leader is about to answer who waits for it.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};
use openraft::RaftNetworkV2;
use openraft::errors::RPCError;
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::line::{LINE_FRAMES_MAX, LINE_IDLE_MAX};
use super::message::{Reply, Request};
use super::network::{Link, PeerError, rpc_error};
use super::transport::{Line, Lost};
use super::types::{LogId, TypeConfig};

/// How long what is committed waits for entries to travel with, where others came as soon; tokio's timer counts whole
/// milliseconds. So much later a follower may apply them, and answer who waits there for what was just written: a local read
/// from an LSN on, or a linearizable one whose round was confirmed beside them.
const COMMITTED_WAITS: Duration = Duration::from_millis(2);

type Answer = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// What became of appends, in their order, those that end with the same entry together; behind one that was not taken whole
/// nothing more comes.
pub type Answers<'l> = BoxStream<'l, Answer>;

/// One session: appends to one follower, for as long as each is taken.
pub struct Appends<'l, S> {
    link: &'l mut Link,
    upcoming: Upcoming<S>,
    option: RPCOption,
    /// The first is still to come, or more are.
    is_first: bool,
    has_more: bool,
    line: Option<Box<dyn Line>>,
    /// When something was last sent on it, and when something was last answered.
    used: Instant,
    heard: Instant,
    /// What is not answered yet, and when it was sent.
    sent: VecDeque<(Range, Instant)>,
    /// What could not be sent, and why nothing more can be. What was sent may be answered yet.
    failed: Option<(Range, RPCError<TypeConfig>)>,
}

/// The appends that are still to come. openraft makes one as soon as there is something to say, be it only how far the log
/// is committed: so it is asked for the next when entries are there, or have been waited for.
struct Upcoming<S> {
    requests: S,
    /// The last entry that was appended to this node's log.
    appended: watch::Receiver<Option<LogId>>,
    /// When entries were last sent.
    entries_sent: Option<Instant>,
    /// The last of them, and until when those behind it are waited for.
    awaits: Option<(Option<LogId>, Instant)>,
}

impl<S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin> Upcoming<S> {
    /// May be dropped before it is done, and loses nothing.
    async fn next(&mut self) -> Option<AppendEntriesRequest<TypeConfig>> {
        if let Some((last, until)) = self.awaits {
            let more = self.appended.wait_for(|appended| *appended > last);
            // Whether they came, or time is up: then what is committed is said by itself.
            let _ = timeout_at(until, more).await;
            self.awaits = None;
        }
        self.requests.next().await
    }

    fn sent(&mut self, range: Range, now: Instant) {
        self.awaits = None;
        if range.last == range.prev {
            return;
        }
        let before = self.entries_sent.replace(now);
        if before.is_some_and(|before| now - before < COMMITTED_WAITS) {
            self.awaits = Some((range.last, now + COMMITTED_WAITS));
        }
    }
}

/// The entries of an append: those behind `prev`, up to `last`.
#[derive(Clone, Copy)]
struct Range {
    prev: Option<LogId>,
    last: Option<LogId>,
}

impl Range {
    fn of(request: &AppendEntriesRequest<TypeConfig>) -> Range {
        let prev = request.prev_log_id;
        Range { prev, last: request.entries.last().map(|entry| entry.log_id).or(prev) }
    }

    /// What the follower's answer means, and whether it took all.
    fn outcome(self, response: AppendEntriesResponse<TypeConfig>) -> (StreamAppendResult<TypeConfig>, bool) {
        let all = match &response {
            AppendEntriesResponse::Success => true,
            AppendEntriesResponse::PartialSuccess(upto) => *upto == self.last,
            AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => false,
        };
        (response.into_stream_result(self.prev, self.last), all)
    }
}

impl<'l, S> Appends<'l, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    pub fn new(link: &'l mut Link, requests: S, option: RPCOption) -> Appends<'l, S> {
        let appended = link.peers.appended.clone();
        Appends {
            link,
            upcoming: Upcoming { requests, appended, entries_sent: None, awaits: None },
            option,
            is_first: true,
            has_more: true,
            line: None,
            used: Instant::now(),
            heard: Instant::now(),
            sent: VecDeque::new(),
            failed: None,
        }
    }

    pub fn answers(self) -> Answers<'l> {
        let answers = stream::unfold(Some(self), |appends| async {
            let mut appends = appends?;
            Some(match appends.next().await? {
                Ok((result, all)) => (Ok(result), all.then_some(appends)),
                Err(error) => (Err(error), None),
            })
        });
        Box::pin(answers)
    }

    /// What became of the next append, and whether it was taken whole. `None` once nothing more is to be said.
    async fn next(&mut self) -> Option<Result<(StreamAppendResult<TypeConfig>, bool), RPCError<TypeConfig>>> {
        if std::mem::take(&mut self.is_first) {
            let request = self.upcoming.next().await?;
            let range = Range::of(&request);
            let response = self.link.append_entries(request, self.option.clone()).await;
            // The next session begins where this one ends.
            self.has_more = !self.link.is_slow();
            return Some(response.map(|response| range.outcome(response)));
        }
        let wait = self.link.peers.timeouts.message;
        while self.has_more || !self.sent.is_empty() {
            let answer = async {
                match (&mut self.line, self.sent.front()) {
                    // A follower that answers one after the other may take longer for all of them.
                    (Some(line), Some((_, sent))) => {
                        timeout_at(self.heard.max(*sent) + wait, line.receive()).await
                    }
                    _ => pending().await,
                }
            };
            // Either may be dropped for the other, and loses nothing.
            tokio::select! {
                biased;
                answer = answer => {
                    let address = || self.link.member.peer_addr.clone();
                    let late = |_| Err(Lost::NoAnswer { address: address(), reason: "timed out".to_owned() });
                    let last = self.next_last();
                    let answered = self.answered(answer.unwrap_or_else(late));
                    // openraft takes all that it has made and that end there for answered, what could not be sent among them,
                    // and the time at which it made the last for one at which this node was followed: a read that came in
                    // between would be answered on the strength of what the follower said before it.
                    let is_whole = matches!(answered, Ok((_, true)));
                    if let Err(error) = &answered {
                        self.link.was_lost(error);
                    }
                    if !(is_whole && last.is_some() && self.next_last() == last) {
                        return Some(answered);
                    }
                }
                request = self.upcoming.next(), if self.has_more && self.sent.len() < LINE_FRAMES_MAX => {
                    let Some(request) = request else {
                        self.has_more = false;
                        continue;
                    };
                    let range = Range::of(&request);
                    if let Err(error) = self.send(request, range).await {
                        self.link.was_lost(&error);
                        (self.has_more, self.failed) = (false, Some((range, error)));
                    }
                }
            }
        }
        self.failed.take().map(|(_, error)| Err(error))
    }

    /// Where the append ends that is answered next, or never, since it could not be sent.
    fn next_last(&self) -> Option<Option<LogId>> {
        let unsent = self.failed.as_ref().map(|(range, _)| range);
        self.sent.front().map(|(range, _)| range).or(unsent).map(|range| range.last)
    }

    fn answered(
        &mut self,
        answer: Result<bytes::Bytes, Lost>,
    ) -> Result<(StreamAppendResult<TypeConfig>, bool), RPCError<TypeConfig>> {
        let reply = answer.map_err(PeerError::from);
        let reply = reply.and_then(|answer| self.link.peers.reply(self.link.endpoint(), &answer));
        let Some((range, _)) = self.sent.pop_front() else { return Err(self.link.unexpected()) };
        self.heard = Instant::now();
        match reply.map_err(rpc_error)? {
            Reply::Append(response) => Ok(range.outcome(response)),
            _ => Err(self.link.unexpected()),
        }
    }

    async fn send(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        range: Range,
    ) -> Result<(), RPCError<TypeConfig>> {
        self.link.may_append(&request)?;
        let Link { peers, member, .. } = &*self.link;
        let frame = peers.frame(self.link.endpoint(), Request::Append(request)).map_err(rpc_error)?;
        let lost = |lost: Lost| rpc_error(PeerError::from(lost));
        let wait = peers.timeouts.message;
        if self.sent.is_empty() && self.used.elapsed() > LINE_IDLE_MAX {
            self.line = None;
        }
        let line = match &mut self.line {
            Some(line) => line,
            None => self.line.insert(peers.transport.open(&member.peer_addr, wait).await.map_err(lost)?),
        };
        let late =
            |_| Err(Lost::NoAnswer { address: member.peer_addr.clone(), reason: "timed out".to_owned() });
        timeout(wait, line.send(frame)).await.unwrap_or_else(late).map_err(lost)?;
        self.used = Instant::now();
        self.upcoming.sent(range, self.used);
        self.sent.push_back((range, self.used));
        Ok(())
    }
}
