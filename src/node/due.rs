//! What the leader proposes by itself: the end of what is due, and business dates that follow the clock.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::time::Instant;

use super::Node;
use super::batcher::commands_max;
use crate::ledger::{
    BusinessDateMode, Command, Date, EndDue, Lsn, Outcome, PropertyId, RollBusinessDate, Submission,
    Timestamp,
};
use crate::planted::{Bug, planted};
use crate::replication::{CodecError, EncodedSubmission, NotApplied};

/// How often properties on `clock` are looked at.
const ROLL_EVERY: Duration = Duration::from_secs(1);

/// Rolls that are proposed together.
const ROLLS_MAX: usize = 256;

/// Commands that do what is due, ended holds and offers to who waits, which an entry of the log takes ahead of those that were
/// asked for, at most. They and what these do before themselves end some 8,000 holds: more than desks let end at one instant,
/// and where nobody waits for the rooms it is done in some 50 ms. Where commands are dear of late they are fewer, as those of
/// an entry are.
pub(super) const ENDS_MAX: usize = 32;

/// Ends holds as they come due, until the node is gone.
pub async fn end_holds(node: Weak<Node>) {
    let mut every = match node.upgrade() {
        Some(node) => tokio::time::interval(node.config.timings.due_every),
        None => return,
    };
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let Some(node) = node.upgrade() else { return };
        if !node.leads() {
            continue;
        }
        if node.is_due(node.position().next_due)
            && let Err(error) = node.end_due(node.deadline()).await
        {
            tracing::debug!(%error, "what is due was not ended, and will be tried again");
        }
    }
}

/// Rolls business dates that follow the clock, until the node is gone.
pub async fn roll_dates(node: Weak<Node>) {
    let mut set_aside = BTreeMap::new();
    loop {
        tokio::time::sleep(ROLL_EVERY).await;
        let Some(node) = node.upgrade() else { return };
        if node.leads() {
            node.roll_business_dates(&mut set_aside).await;
        }
    }
}

/// The date in `time_zone` at `instant`. `None` where this build's time-zone database does not know the name.
pub fn date_at(instant: Timestamp, time_zone: &str) -> Option<Date> {
    let zone = TimeZone::get(time_zone).ok()?;
    let instant = jiff::Timestamp::from_millisecond(instant.0 as i64).ok()?;
    Some(Date::from(instant.to_zoned(zone).date()))
}

/// Whether this build's time-zone database knows the name.
pub fn time_zone_known(time_zone: &str) -> bool {
    // The crate has a zone for what nobody knows, which IANA has not.
    TimeZone::get(time_zone).is_ok_and(|zone| !zone.is_unknown())
}

fn end_due() -> Submission {
    Submission { key: None, command: Command::EndDue(EndDue {}) }
}

impl Node {
    /// The last LSN that this node has applied, where all has ended there that a read must not see, by this leader's log
    /// clock.
    pub(super) fn all_ended_at(&self) -> Option<Lsn> {
        let position = self.position();
        (!self.is_due(position.next_end)).then_some(position.lsn)
    }

    /// What must stand in the log before a command that comes at `at`, so that nothing that has ended stands in its way, and it
    /// takes nothing that they who wait have not been offered yet: as much as so many bytes hold. A command does some before
    /// itself, which is nearly always enough.
    pub(super) fn ends_before(
        &self,
        at: Timestamp,
        bytes: usize,
    ) -> Result<Vec<EncodedSubmission>, CodecError> {
        if !self.is_due(self.position().next_due) {
            return Ok(Vec::new());
        }
        let end = EncodedSubmission::new(&end_due())?;
        let most = commands_max(self.state.apply_cost(), ENDS_MAX).min(bytes / end.len());
        let ends = self.with_ledger(|ledger| ledger.ends_before(at, most));
        Ok(vec![end; ends])
    }

    fn is_due(&self, from: Option<Timestamp>) -> bool {
        from.is_some_and(|from| from <= self.log_time()) && !planted(Bug::HoldsNotEnded)
    }

    /// Proposes an entry that ends what is due.
    pub(super) async fn end_due(&self, deadline: Instant) -> Result<(), NotApplied> {
        let ended = self.submit_ahead(&[end_due()], deadline).await.pop();
        ended.unwrap_or(Err(NotApplied::Unknown)).map(|_| ())
    }

    /// `set_aside`: dates to which a property's could not be rolled because of a defect, which trying again would not help.
    async fn roll_business_dates(&self, set_aside: &mut BTreeMap<PropertyId, Date>) {
        let now = self.log_time();
        let rolls: Vec<RollBusinessDate> = self.with_ledger(|ledger| {
            (ledger.properties())
                .filter(|property| property.business_date_mode == BusinessDateMode::Clock)
                .filter_map(|property| {
                    let date = date_at(now, &property.time_zone)?;
                    let is_next =
                        date > property.business_date && set_aside.get(&property.property) != Some(&date);
                    is_next.then(|| RollBusinessDate { property: property.property.clone(), date })
                })
                .take(ROLLS_MAX)
                .collect()
        });
        if rolls.is_empty() {
            return;
        }
        let command = |roll: &RollBusinessDate| Command::RollBusinessDate(roll.clone());
        let submissions: Vec<Submission> =
            rolls.iter().map(|roll| Submission { key: None, command: command(roll) }).collect();
        let outcomes = self.submit_ahead(&submissions, self.deadline()).await;
        for (RollBusinessDate { property, date }, outcome) in rolls.into_iter().zip(outcomes) {
            match outcome.map(|applied| applied.outcome) {
                Ok(Outcome::Quarantined { .. }) => {
                    tracing::error!(%property, %date, "the business date could not be rolled, and this node does not try again until the next day");
                    set_aside.insert(property, date);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "a business date was not rolled, and will be tried again");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::Timings;
    use super::super::tests::{in_order, property, start_with};
    use super::*;
    use crate::ledger::{
        BookGroup, BookingId, Currency, GroupStay, JoinWaitlist, Outcome, Prices, PropertyId, PutRates,
        PutRestrictions, PutRoom, PutRoomType, RateTarget, ReservationId, RoomId, RoomTypeId, Rules,
        WaitlistId, WaitlistStatus, Wanted,
    };

    const ROOMS: usize = 500;

    fn command(command: Command) -> Submission {
        Submission { key: None, command }
    }

    fn room(n: usize) -> RoomId {
        format!("{n}").parse().unwrap()
    }

    fn house(rooms: usize) -> Vec<Submission> {
        let hotel: PropertyId = "p0".parse().unwrap();
        let room_type: RoomTypeId = "double".parse().unwrap();
        let put_type = PutRoomType {
            property: hotel.clone(),
            room_type: room_type.clone(),
            name: "Double".into(),
            max_occupancy: 2,
            overbooking_limit: 0,
        };
        let mut prices = Prices::new();
        prices.entry(Currency::new("EUR").unwrap()).or_default().insert(2, 100);
        let rates = PutRates {
            property: hotel.clone(),
            target: RateTarget::RoomType(room_type.clone()),
            from: "2027-01-01".parse().unwrap(),
            to: "2027-02-01".parse().unwrap(),
            prices,
            currencies_known: true,
        };
        let put_room = |n| PutRoom { property: hotel.clone(), room: room(n), room_type: room_type.clone() };
        let rooms = (0..rooms).map(|n| command(Command::PutRoom(put_room(n))));
        let mut all = vec![property(0, 1), command(Command::PutRoomType(put_type))];
        all.extend(rooms);
        all.push(command(Command::PutRates(rates)));
        all
    }

    fn stay(n: usize, hold_seconds: Option<u64>) -> GroupStay {
        GroupStay {
            id: ReservationId(Uuid::from_u128(n as u128)),
            wanted: Wanted::Room(room(n)),
            arrival: "2027-01-02".parse().unwrap(),
            departure: "2027-01-04".parse().unwrap(),
            occupancy: 2,
            currency: None,
            currency_known: true,
            hold_seconds,
            expected_total: None,
            block: None,
            external_ref: None,
        }
    }

    fn group(stays: Vec<GroupStay>, id: u128) -> Submission {
        let (booking_id, property) = (BookingId(Uuid::from_u128(id)), "p0".parse().unwrap());
        command(Command::BookGroup(BookGroup { booking_id, property, guest: "group".into(), stays }))
    }

    fn rules(rules: Rules) -> Submission {
        command(Command::PutRestrictions(PutRestrictions {
            property: "p0".parse().unwrap(),
            room_type: "double".parse().unwrap(),
            from: "2027-01-01".parse().unwrap(),
            to: "2027-02-01".parse().unwrap(),
            rules,
        }))
    }

    fn wish(n: usize, departure: &str) -> Submission {
        command(Command::JoinWaitlist(Box::new(JoinWaitlist {
            id: WaitlistId(Uuid::from_u128(n as u128)),
            property: "p0".parse().unwrap(),
            guest: "patient".into(),
            room_type: "double".parse().unwrap(),
            arrival: "2027-01-02".parse().unwrap(),
            departure: departure.parse().unwrap(),
            occupancy: 2,
            currency: None,
            currency_known: true,
        })))
    }

    /// Nobody goes on with the waitlist in time, and only the last of those who wait can have the room.
    #[tokio::test]
    async fn who_waits_behind_many_comes_before_who_comes_now() {
        let dir = tempfile::tempdir().unwrap();
        let timings = Timings { due_every: Duration::from_secs(3_600), ..Timings::default() };
        let node = start_with(&dir, &[(1, "127.0.0.1:2")], timings).await.unwrap();
        let mut submissions = house(1);
        submissions.push(rules(Rules { closed: true, ..Rules::default() }));
        submissions.extend((0..600).map(|n| wish(n, "2027-01-04")));
        submissions.push(wish(600, "2027-01-05"));
        let outcomes = in_order(&node, &submissions).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        node.submit(&rules(Rules { min_stay: Some(3), ..Rules::default() })).await.unwrap();
        let id = 1_000_000;
        let now = GroupStay {
            id: ReservationId(Uuid::from_u128(id)),
            departure: "2027-01-05".parse().unwrap(),
            ..stay(0, None)
        };
        let outcome = node.submit(&group(vec![now], id)).await.unwrap().outcome;
        assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        let (property, last) = ("p0".parse().unwrap(), WaitlistId(Uuid::from_u128(600)));
        let last = node.with_ledger(|ledger| ledger.waitlist_entry(&property, last)).unwrap();
        assert_eq!(last.status, WaitlistStatus::Offered);
        node.shut_down().await;
    }

    /// Nobody ends them in time: the leader does not come to look.
    #[tokio::test]
    async fn holds_that_have_ended_stand_in_no_commands_way_however_many_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let timings = Timings { due_every: Duration::from_secs(3_600), ..Timings::default() };
        let node = start_with(&dir, &[(1, "127.0.0.1:2")], timings).await.unwrap();
        let mut submissions = house(ROOMS);
        submissions.push(group((0..ROOMS).map(|n| stay(n, Some(1))).collect(), 1_000_000));
        let outcomes = in_order(&node, &submissions).await;
        let Some(Ok(held)) = outcomes.last() else { panic!("{outcomes:?}") };
        let Outcome::Booked(held) = &held.outcome else { panic!("{held:?}") };
        let end = held.reservations[0].hold_expires_at.unwrap();
        let ended = async {
            while node.log_time() <= end {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the clock goes on");
        // The last of them is the last to end.
        let again = group(
            vec![GroupStay { id: ReservationId(Uuid::from_u128(2_000_000)), ..stay(ROOMS - 1, None) }],
            2_000_000,
        );
        let outcome = node.submit(&again).await.unwrap().outcome;
        assert!(matches!(outcome, Outcome::Booked(_)), "{outcome:?}");
        assert_eq!(node.position().next_end, None);
        node.shut_down().await;
    }

    #[test]
    fn a_business_date_begins_at_the_propertys_own_midnight() {
        // 2027-03-27T23:30Z is already the 28th in Budapest, and still the 27th in New York.
        let instant = Timestamp(1_806_190_200_000);
        assert_eq!(date_at(instant, "Europe/Budapest").unwrap().to_string(), "2027-03-28");
        assert_eq!(date_at(instant, "America/New_York").unwrap().to_string(), "2027-03-27");
        assert_eq!(date_at(instant, "Mars/Olympus_Mons"), None);
    }

    #[test]
    fn only_names_of_iana_are_time_zones() {
        for (name, known) in [
            ("Europe/Budapest", true),
            ("UTC", true),
            ("Etc/UTC", true),
            ("Asia/Calcutta", true),
            ("Etc/Unknown", false),
            ("etc/unknown", false),
            ("Mars/Olympus_Mons", false),
            ("+02:00", false),
            ("", false),
        ] {
            assert_eq!(time_zone_known(name), known, "{name}");
        }
    }

    #[test]
    fn dates_follow_one_another_where_midnight_is_missing_or_comes_twice() {
        let rows = [
            // Clocks go from 23:59 to 01:00.
            ("America/Sao_Paulo", "2018-11-04T02:59:59.999Z", "2018-11-03"),
            ("America/Sao_Paulo", "2018-11-04T03:00:00Z", "2018-11-04"),
            ("Africa/Cairo", "2024-04-25T21:59:59.999Z", "2024-04-25"),
            ("Africa/Cairo", "2024-04-25T22:00:00Z", "2024-04-26"),
            // Clocks go from 23:59 to 23:00: the day has another hour.
            ("America/Sao_Paulo", "2018-02-18T01:59:59.999Z", "2018-02-17"),
            ("America/Sao_Paulo", "2018-02-18T02:00:00Z", "2018-02-17"),
            ("America/Sao_Paulo", "2018-02-18T03:00:00Z", "2018-02-18"),
            ("Africa/Cairo", "2024-10-31T21:00:00Z", "2024-10-31"),
            ("Africa/Cairo", "2024-10-31T22:00:00Z", "2024-11-01"),
            // Clocks go from 00:01 to 23:01: for a minute it was tomorrow. A business date that was rolled stays.
            ("America/St_Johns", "2010-11-07T02:30:00Z", "2010-11-07"),
            ("America/St_Johns", "2010-11-07T02:31:00Z", "2010-11-06"),
            ("America/St_Johns", "2010-11-07T03:30:00Z", "2010-11-07"),
            // A day that never was.
            ("Pacific/Apia", "2011-12-30T09:59:59.999Z", "2011-12-29"),
            ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31"),
            // Leap days and the ends of years, on both sides of Greenwich.
            ("Pacific/Auckland", "2028-02-28T11:00:00Z", "2028-02-29"),
            ("America/New_York", "2028-03-01T04:59:59.999Z", "2028-02-29"),
            ("America/New_York", "2028-03-01T05:00:00Z", "2028-03-01"),
            ("Pacific/Kiritimati", "2027-12-31T10:00:00Z", "2028-01-01"),
            ("America/New_York", "2028-01-01T04:59:59.999Z", "2027-12-31"),
        ];
        for (zone, instant, date) in rows {
            let instant: jiff::Timestamp = instant.parse().unwrap();
            let at = Timestamp(u64::try_from(instant.as_millisecond()).unwrap());
            assert_eq!(date_at(at, zone).unwrap().to_string(), date, "{zone} at {instant}");
        }
    }
}
