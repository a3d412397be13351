//! The typed client of the HTTP API: what the command line speaks to a cluster with.
//!
//! It holds one pool of connections and the list of nodes, and knows the contract's shapes ([`crate::wire`]), never a
//! node's insides. Any node takes any request, so that a node that is gone, or has no leader, is answered by asking
//! the next one. It must never turn silence into "failed", and never send a write twice without an idempotency key.

mod answer;
mod attempt;
mod call;
mod endpoint;
mod pages;
mod request;
mod retry;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Url;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

pub use answer::{Answer, ClientError, Meta, Readiness, Refused, is_outcome};
pub use call::{Call, Key};
pub use endpoint::NotAnEndpoint;
pub use request::{
    Amend, Book, BookingChange, EventsQuery, FirstBusinessDate, FreeRoomsQuery, ImportBooking, ImportedPrice,
    ImportedStay, JoinWaitlist, ListQuery, PutBlock, PutOutOfOrder, PutProperty, PutRoom, PutRoomType,
    Reserve, SearchQuery, StatusChange, Stay,
};

use crate::ledger::{
    BlockId, BookingId, Date, Lsn, PropertyId, ReservationId, RoomId, RoomTypeId, WaitlistId,
};
use crate::wire;
use attempt::Attempt;
use endpoint::endpoint;
pub(crate) use request::null_is_default;
use request::{Assign, NightAudit};
use retry::{Course, Judgement};

/// How long the client waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection to be made.
    pub connect: Duration,
    /// For one node's answer. Longer than a node's own deadline, or its `outcome_unknown` would never be heard.
    pub attempt: Duration,
    /// For a call, all its attempts and the waits between them included. No attempt is begun later than `attempt` before
    /// its end, so that each can be waited for: several times that.
    pub total: Duration,
    /// For any node to be reachable at all. Shorter than `total`: a wrong address is told soon, an election is sat out.
    pub unreachable: Duration,
}

impl Patience {
    /// For a call that is [`long`](Call::long): a node goes back for half a minute before it says that it is too far, and
    /// takes up to a minute for a batch.
    fn long(self) -> Patience {
        Patience { attempt: 8 * self.attempt, total: 8 * self.total, ..self }
    }
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect: Duration::from_secs(1),
            attempt: Duration::from_secs(8),
            total: Duration::from_secs(20),
            unreachable: Duration::from_secs(3),
        }
    }
}

/// A cluster, seen from outside. Clones share their connections and what they learned about which node answers.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoints: Arc<[Url]>,
    /// The endpoint that answered last, which is asked first.
    preferred: Arc<AtomicUsize>,
    patience: Patience,
}

impl Client {
    /// `endpoints` are the client addresses of the nodes, as `http://host:port`.
    ///
    /// # Errors
    /// [`NotAnEndpoint`] when there is none or one of them can't be an address.
    pub fn new(endpoints: Vec<String>) -> Result<Client, NotAnEndpoint> {
        Client::with_patience(endpoints, Patience::default())
    }

    /// [`Client::new`] with other deadlines.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_patience(endpoints: Vec<String>, patience: Patience) -> Result<Client, NotAnEndpoint> {
        let endpoints: Arc<[Url]> =
            endpoints.iter().map(|text| endpoint(text)).collect::<Result<Vec<Url>, NotAnEndpoint>>()?.into();
        if endpoints.is_empty() {
            return Err(NotAnEndpoint::None);
        }
        let http = http(&patience);
        Ok(Client { http, endpoints, preferred: Arc::default(), patience })
    }

    /// A client with connections of its own, which asks the `first`th endpoint first, counted round and round.
    pub fn separate(&self, first: usize) -> Client {
        let http = http(&self.patience);
        let preferred = Arc::new(AtomicUsize::new(first % self.endpoints.len()));
        Client { http, endpoints: Arc::clone(&self.endpoints), preferred, patience: self.patience }
    }

    /// The nodes' addresses.
    pub fn endpoints(&self) -> &[Url] {
        &self.endpoints
    }

    // Properties and what they are made of.

    pub async fn put_property(
        &self,
        property: &PropertyId,
        body: &PutProperty,
        key: Key,
    ) -> Result<Answer<wire::Property>, ClientError> {
        self.send(Call::put(["properties", property.as_str()], body).key(key)).await
    }

    pub async fn property(&self, property: &PropertyId) -> Result<Answer<wire::Property>, ClientError> {
        self.send(Call::get(["properties", property.as_str()])).await
    }

    /// The same; `None` where there is none.
    pub async fn property_if_there(
        &self,
        property: &PropertyId,
    ) -> Result<Option<wire::Property>, ClientError> {
        match self.property(property).await {
            Ok(answer) => Ok(Some(answer.value)),
            Err(error) if error.code() == Some("property_not_found") => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn properties(&self) -> Result<Answer<wire::Properties>, ClientError> {
        self.send(Call::get(["properties"])).await
    }

    pub async fn put_room_type(
        &self,
        property: &PropertyId,
        room_type: &RoomTypeId,
        body: &PutRoomType,
        key: Key,
    ) -> Result<Answer<wire::RoomType>, ClientError> {
        let path = ["properties", property.as_str(), "room-types", room_type.as_str()];
        self.send(Call::put(path, body).key(key)).await
    }

    pub async fn room_types(&self, property: &PropertyId) -> Result<Answer<wire::RoomTypes>, ClientError> {
        self.send(Call::get(["properties", property.as_str(), "room-types"])).await
    }

    pub async fn put_room(
        &self,
        property: &PropertyId,
        room: &RoomId,
        body: &PutRoom,
        key: Key,
    ) -> Result<Answer<wire::Room>, ClientError> {
        self.send(Call::put(["properties", property.as_str(), "rooms", room.as_str()], body).key(key)).await
    }

    pub async fn rooms(&self, property: &PropertyId) -> Result<Answer<wire::Rooms>, ClientError> {
        self.send(Call::get(["properties", property.as_str(), "rooms"])).await
    }

    /// Replaces the target's prices on each night of the range; empty prices clear them.
    pub async fn put_rates(
        &self,
        property: &PropertyId,
        body: &wire::Rate,
        key: Key,
    ) -> Result<Answer<wire::Rate>, ClientError> {
        self.send(Call::put(["properties", property.as_str(), "rates"], body).key(key)).await
    }

    pub async fn rates(
        &self,
        property: &PropertyId,
        from: Date,
        to: Date,
    ) -> Result<Answer<wire::Rates>, ClientError> {
        let call = Call::get(["properties", property.as_str(), "rates"]);
        self.send(call.query("from", from).query("to", to)).await
    }

    /// Replaces all rules of the type on each date of the range; none clears them.
    pub async fn put_restrictions(
        &self,
        property: &PropertyId,
        body: &wire::Restriction,
        key: Key,
    ) -> Result<Answer<wire::Restriction>, ClientError> {
        self.send(Call::put(["properties", property.as_str(), "restrictions"], body).key(key)).await
    }

    pub async fn restrictions(
        &self,
        property: &PropertyId,
        from: Date,
        to: Date,
    ) -> Result<Answer<wire::Restrictions>, ClientError> {
        let call = Call::get(["properties", property.as_str(), "restrictions"]);
        self.send(call.query("from", from).query("to", to)).await
    }

    pub async fn put_out_of_order(
        &self,
        property: &PropertyId,
        room: &RoomId,
        body: &PutOutOfOrder,
        key: Key,
    ) -> Result<Answer<wire::OutOfOrder>, ClientError> {
        let path = ["properties", property.as_str(), "rooms", room.as_str(), "out-of-order"];
        self.send(Call::put(path, body).key(key)).await
    }

    /// Puts a room back in order on the nights of the range.
    pub async fn end_out_of_order(
        &self,
        property: &PropertyId,
        room: &RoomId,
        from: Date,
        to: Date,
        key: Key,
    ) -> Result<Meta, ClientError> {
        let path = ["properties", property.as_str(), "rooms", room.as_str(), "out-of-order"];
        let call = Call::delete(path).query("from", from).query("to", to).key(key);
        Ok(self.drive(&call).await?.meta)
    }

    /// Moves the business date of a property that is moved by hand.
    pub async fn night_audit(
        &self,
        property: &PropertyId,
        business_date: Date,
        key: Key,
    ) -> Result<Answer<wire::Property>, ClientError> {
        let call =
            Call::post(["properties", property.as_str(), "night-audit"], Some(&NightAudit { business_date }));
        self.send(call.key(key)).await
    }

    pub async fn out_of_order(
        &self,
        property: &PropertyId,
        from: Date,
        to: Date,
    ) -> Result<Answer<wire::OutOfOrders>, ClientError> {
        let call = Call::get(["properties", property.as_str(), "out-of-order"]);
        self.send(call.query("from", from).query("to", to)).await
    }

    /// Takes a room out of service for good.
    pub async fn retire_room(
        &self,
        property: &PropertyId,
        room: &RoomId,
        key: Key,
    ) -> Result<Meta, ClientError> {
        let path = ["properties", property.as_str(), "rooms", room.as_str()];
        Ok(self.drive(&Call::delete(path).key(key)).await?.meta)
    }

    // Blocks and the waitlist.

    pub async fn put_block(
        &self,
        property: &PropertyId,
        block: &BlockId,
        body: &PutBlock,
        key: Key,
    ) -> Result<Answer<wire::Block>, ClientError> {
        let path = ["properties", property.as_str(), "blocks", block.as_str()];
        self.send(Call::put(path, body).key(key)).await
    }

    pub async fn blocks(&self, property: &PropertyId) -> Result<Answer<wire::Blocks>, ClientError> {
        self.send(Call::get(["properties", property.as_str(), "blocks"])).await
    }

    pub async fn join_waitlist(
        &self,
        property: &PropertyId,
        body: &JoinWaitlist,
        key: Key,
    ) -> Result<Answer<wire::WaitlistEntry>, ClientError> {
        self.send(Call::post(["properties", property.as_str(), "waitlist"], Some(body)).key(key)).await
    }

    pub async fn waitlist_entry(
        &self,
        property: &PropertyId,
        id: WaitlistId,
    ) -> Result<Answer<wire::WaitlistEntry>, ClientError> {
        self.send(Call::get(["properties", property.as_str(), "waitlist", &id.to_string()])).await
    }

    /// One page, by id.
    pub async fn waitlist(
        &self,
        property: &PropertyId,
        limit: Option<u32>,
        cursor: Option<&str>,
    ) -> Result<Answer<wire::Waitlist>, ClientError> {
        let call = Call::get(["properties", property.as_str(), "waitlist"]);
        self.send(call.query_opt("limit", limit).query_opt("cursor", cursor)).await
    }

    /// Waits no longer, and gives back what was offered.
    pub async fn leave_waitlist(
        &self,
        property: &PropertyId,
        id: WaitlistId,
        key: Key,
    ) -> Result<Meta, ClientError> {
        let path = ["properties", property.as_str(), "waitlist", &id.to_string()];
        Ok(self.drive(&Call::delete(path).key(key)).await?.meta)
    }

    // Reservations.

    /// Takes over reservations that another ledger made, as they stand.
    pub async fn import_booking(
        &self,
        property: &PropertyId,
        body: &ImportBooking,
        key: Key,
    ) -> Result<Answer<wire::Booking>, ClientError> {
        self.send(Call::post(["properties", property.as_str(), "imports"], Some(body)).key(key)).await
    }

    pub async fn book(
        &self,
        property: &PropertyId,
        body: &Book,
        key: Key,
    ) -> Result<Answer<wire::Booking>, ClientError> {
        self.send(Call::post(["properties", property.as_str(), "bookings"], Some(body)).key(key)).await
    }

    /// Changes all reservations of a booking, all or none.
    pub async fn change_booking(
        &self,
        id: BookingId,
        to: BookingChange,
        key: Key,
    ) -> Result<Answer<wire::Booking>, ClientError> {
        self.send(Call::post(["bookings", &id.to_string(), to.path()], None::<&()>).key(key)).await
    }

    pub async fn booking(&self, id: BookingId) -> Result<Answer<wire::Booking>, ClientError> {
        self.send(Call::get(["bookings", &id.to_string()])).await
    }

    pub async fn reserve(
        &self,
        property: &PropertyId,
        body: &Reserve,
        key: Key,
    ) -> Result<Answer<wire::Reservation>, ClientError> {
        self.send(Call::post(["properties", property.as_str(), "reservations"], Some(body)).key(key)).await
    }

    pub async fn reservation(&self, id: ReservationId) -> Result<Answer<wire::Reservation>, ClientError> {
        self.send(Call::get(["reservations", &id.to_string()])).await
    }

    /// The reservation as the command with this LSN left it.
    pub async fn reservation_as_of(
        &self,
        id: ReservationId,
        lsn: Lsn,
    ) -> Result<Answer<wire::Reservation>, ClientError> {
        self.send(Call::get(["reservations", &id.to_string()]).query("as_of", lsn).long()).await
    }

    /// Every version of a reservation, oldest first.
    pub async fn versions(&self, id: ReservationId) -> Result<Answer<wire::Versions>, ClientError> {
        self.send(Call::get(["reservations", &id.to_string(), "history"]).long()).await
    }

    /// What was changed, in order: one page.
    pub async fn events(&self, query: &EventsQuery) -> Result<Answer<wire::Events>, ClientError> {
        self.send(query.add_to(Call::get(["events"]))).await
    }

    /// `if_match`: the revision that the caller saw; a newer one is refused as `version_mismatch`.
    pub async fn change(
        &self,
        id: ReservationId,
        to: StatusChange,
        if_match: Option<u64>,
        key: Key,
    ) -> Result<Answer<wire::Reservation>, ClientError> {
        let call = Call::post(["reservations", &id.to_string(), to.path()], None::<&()>);
        self.send(call.if_match(if_match).key(key)).await
    }

    /// `if_match` as in [`Client::change`].
    pub async fn amend(
        &self,
        id: ReservationId,
        changes: &Amend,
        if_match: Option<u64>,
        key: Key,
    ) -> Result<Answer<wire::Reservation>, ClientError> {
        let call = Call::patch(["reservations", &id.to_string()], changes);
        self.send(call.if_match(if_match).key(key)).await
    }

    /// `if_match` as in [`Client::change`].
    pub async fn assign(
        &self,
        id: ReservationId,
        room: RoomId,
        if_match: Option<u64>,
        key: Key,
    ) -> Result<Answer<wire::Reservation>, ClientError> {
        let call = Call::post(["reservations", &id.to_string(), "assign"], Some(&Assign { room }));
        self.send(call.if_match(if_match).key(key)).await
    }

    pub async fn reservations(
        &self,
        property: &PropertyId,
        query: &ListQuery,
    ) -> Result<Answer<wire::Reservations>, ClientError> {
        let call = Call::get(["properties", property.as_str(), "reservations"]);
        self.send(query.add_to(call)).await
    }

    // Questions.

    pub async fn free_rooms(
        &self,
        property: &PropertyId,
        query: &FreeRoomsQuery,
    ) -> Result<Answer<wire::FreeRooms>, ClientError> {
        self.send(query.add_to(Call::get(["properties", property.as_str(), "free-rooms"]))).await
    }

    pub async fn availability(
        &self,
        property: &PropertyId,
        from: Date,
        to: Date,
    ) -> Result<Answer<wire::Availability>, ClientError> {
        let call = Call::get(["properties", property.as_str(), "availability"]);
        self.send(call.query("from", from).query("to", to)).await
    }

    pub async fn search(&self, query: &SearchQuery) -> Result<Answer<wire::Found>, ClientError> {
        self.send(query.add_to(Call::get(["search"]))).await
    }

    // The cluster.

    pub async fn cluster(&self) -> Result<Answer<wire::Cluster>, ClientError> {
        self.send(Call::get(["cluster"])).await
    }

    /// Commands that applying set aside and nobody has dealt with.
    pub async fn quarantine(&self) -> Result<Answer<wire::Quarantine>, ClientError> {
        self.send(Call::get(["quarantine"])).await
    }

    /// Applies a command again that was set aside; answers what its own call would, or null where that shows nothing.
    pub async fn retry(&self, lsn: Lsn, key: Key) -> Result<Answer<serde_json::Value>, ClientError> {
        let call = Call::post(["quarantine", &lsn.to_string(), "retry"], None::<&()>).key(key);
        let reply = self.drive(&call).await?;
        let value = serde_json::from_slice(&reply.body).unwrap_or_default();
        Ok(Answer { value, meta: reply.meta })
    }

    /// Forgets a command that was set aside.
    pub async fn discard(&self, lsn: Lsn, key: Key) -> Result<Meta, ClientError> {
        let call = Call::post(["quarantine", &lsn.to_string(), "discard"], None::<&()>).key(key);
        Ok(self.drive(&call).await?.meta)
    }

    /// Decides that the nodes which paused there go on with what their build makes of the log, see [`wire::Decided`].
    /// Sent once: no key is stored for it, since it is no command of the ledger, and whoever resumed has not paused.
    pub async fn resume(&self, paused_at: &wire::PausedAt) -> Result<Answer<wire::Decided>, ClientError> {
        self.send(Call::post(["cluster", "resume"], Some(paused_at)).key(Key::None)).await
    }

    /// Of the node that answers: name one endpoint to ask one node.
    pub async fn state_hash(&self) -> Result<Answer<wire::StateHash>, ClientError> {
        self.send(Call::get(["cluster", "state-hash"])).await
    }

    /// Whether the node may serve, asked once and at one endpoint: a question about a node has no next node.
    pub async fn readyz(&self) -> Readiness {
        match self.ask_one("readyz").await {
            Attempt::Replied(reply) if reply.meta.status == 200 => Readiness::Ready,
            Attempt::Replied(reply) => Readiness::NotReady(reply.summary()),
            Attempt::NotSent(reason) | Attempt::Lost(reason) => Readiness::Silent(reason),
            Attempt::TooLong(endpoint) => Readiness::Silent(format!("{endpoint} is no node")),
        }
    }

    /// Whether the process of a node runs, asked once and at one endpoint.
    pub async fn livez(&self) -> bool {
        matches!(self.ask_one("livez").await, Attempt::Replied(reply) if reply.meta.status == 200)
    }

    async fn ask_one(&self, root: &'static str) -> Attempt {
        let index = self.preferred.load(Ordering::Relaxed) % self.endpoints.len();
        let mut call = Call::get([] as [&str; 0]);
        call.root = root;
        attempt::attempt(&self.http, &self.endpoints[index], &call, self.patience.attempt).await
    }

    /// Any call of the API, for those that have no method here.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn send<T: DeserializeOwned>(&self, call: Call) -> Result<Answer<T>, ClientError> {
        let reply = self.drive(&call).await?;
        let value = serde_json::from_slice(&reply.body).map_err(|error| {
            let (endpoint, reason) = (reply.meta.endpoint.clone(), error.to_string());
            call.unreadable(ClientError::Malformed { endpoint, reason })
        })?;
        Ok(Answer { value, meta: reply.meta })
    }

    /// Asks one node after the other until one gives an answer that counts, or patience ends.
    async fn drive(&self, call: &Call) -> Result<attempt::Reply, ClientError> {
        let start = self.preferred.load(Ordering::Relaxed) % self.endpoints.len();
        let patience = if call.is_long { self.patience.long() } else { self.patience };
        let mut course = Course::new(self.endpoints.len(), start, patience, Instant::now());
        loop {
            let Some(turn) = course.next(Instant::now()) else {
                return Err(course.give_up(call));
            };
            if turn.at > Instant::now() {
                // Asked only where it is needed: a sleep takes a millisecond at least, even until now.
                tokio::time::sleep_until(turn.at).await;
            }
            let endpoint = &self.endpoints[turn.endpoint];
            let outcome =
                attempt::attempt(&self.http, endpoint, call, course.deadline_of_attempt(Instant::now()))
                    .await;
            match retry::judge(call, outcome) {
                Judgement::Answered(mut reply) => {
                    self.preferred.store(turn.endpoint, Ordering::Relaxed);
                    course.tell(&mut reply.meta);
                    reply.meta.key = call.key_text();
                    return Ok(reply);
                }
                Judgement::Refused(mut refused) => {
                    self.preferred.store(turn.endpoint, Ordering::Relaxed);
                    course.tell(&mut refused.meta);
                    return Err(ClientError::Refused(refused));
                }
                // Another one may be what this one should have been.
                Judgement::Malformed { endpoint, reason } => {
                    if !course.set_aside(turn.endpoint) {
                        return Err(course.nobody_left(call, endpoint, reason));
                    }
                }
                Judgement::Failed(error) => return Err(error),
                Judgement::Again(trouble) => course.record(turn.endpoint, trouble, Instant::now()),
            }
        }
    }
}

/// A pool of connections.
fn http(patience: &Patience) -> reqwest::Client {
    reqwest::Client::builder()
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // The one place that decides about retries is `retry.rs`.
        .retry(reqwest::retry::never())
        .connect_timeout(patience.connect)
        .tcp_nodelay(true)
        .build()
        .expect("a client without TLS has nothing that can fail to build")
}
