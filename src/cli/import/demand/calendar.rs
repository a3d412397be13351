//! What happens on which day: pure, so that the order in which a replay does things can be read and tested.

use std::collections::BTreeMap;

use super::rows::{End, Row};
use crate::ledger::{Date, RoomTypeId};

/// What is done with a row, in the order of a day: rooms are left before they are sold again, and whoever books, comes
/// and goes on one day does so in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    CheckOut,
    Cancel,
    Reserve,
    Change,
    CancelOnBookingDay,
    CheckIn,
    CheckOutOnArrivalDay,
    NoShow,
}

impl Step {
    /// In the order of a day.
    pub const ALL: [Step; 8] = [
        Step::CheckOut,
        Step::Cancel,
        Step::Reserve,
        Step::Change,
        Step::CancelOnBookingDay,
        Step::CheckIn,
        Step::CheckOutOnArrivalDay,
        Step::NoShow,
    ];

    /// In the keys of calls, so that it stays as it is.
    pub fn name(self) -> &'static str {
        match self {
            Step::CheckOut => "CheckOut",
            Step::Cancel => "Cancel",
            Step::Reserve => "Reserve",
            Step::Change => "Change",
            Step::CancelOnBookingDay => "CancelOnBookingDay",
            Step::CheckIn => "CheckIn",
            Step::CheckOutOnArrivalDay => "CheckOutOnArrivalDay",
            Step::NoShow => "NoShow",
        }
    }
}

/// Rows by what is done with them, in the order of the file.
pub(super) type Steps<'r> = BTreeMap<Step, Vec<&'r Row>>;

/// A day of one hotel. Room types don't touch one another.
pub(super) type Day<'r> = BTreeMap<&'r RoomTypeId, Steps<'r>>;

/// The days on which something happens to these rows of one hotel.
pub(super) fn days<'r>(rows: impl IntoIterator<Item = &'r Row>) -> BTreeMap<Date, Day<'r>> {
    let mut days: BTreeMap<Date, Day<'r>> = BTreeMap::new();
    for row in rows {
        for (date, step) in steps(row) {
            days.entry(date)
                .or_default()
                .entry(&row.room_type)
                .or_default()
                .entry(step)
                .or_default()
                .push(row);
        }
    }
    days
}

/// The life of a row.
fn steps(row: &Row) -> Vec<(Date, Step)> {
    let mut steps = vec![(row.booked, Step::Reserve)];
    let until = match row.end {
        End::Canceled(date) => date.min(row.arrival),
        End::CheckedOut(_) | End::NoShow(_) => row.arrival,
    };
    if row.changed {
        // The data says that it was changed, and not when: half-way.
        steps.push((row.booked.plus(row.booked.nights_to(until) / 2), Step::Change));
    }
    match row.end {
        End::Canceled(date) if date == row.booked => steps.push((date, Step::CancelOnBookingDay)),
        End::Canceled(date) => steps.push((date, Step::Cancel)),
        End::NoShow(date) => steps.push((date, Step::NoShow)),
        End::CheckedOut(date) => {
            let on_arrival = date == row.arrival;
            let out = if on_arrival { Step::CheckOutOnArrivalDay } else { Step::CheckOut };
            steps.extend([(row.arrival, Step::CheckIn), (date, out)]);
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::day;
    use super::super::rows::{Hotel, Row};
    use super::*;

    fn row(booked: &str, arrival: &str, changed: bool, end: End) -> Row {
        Row {
            number: 1,
            hotel: Hotel::City,
            room_type: RoomTypeId::new("A").unwrap(),
            booked: day(booked),
            arrival: day(arrival),
            departure: day(arrival).plus(3),
            occupancy: 2,
            adr: 75.0,
            changed,
            end,
        }
    }

    #[test]
    fn a_row_lives_its_life_in_order() {
        use Step::*;
        let (first, third, fifth) = ("2016-05-01", "2016-05-03", "2016-05-05");
        for (row, expected) in [
            (
                row(first, fifth, true, End::CheckedOut(day("2016-05-08"))),
                vec![(first, Reserve), (third, Change), (fifth, CheckIn), ("2016-05-08", CheckOut)],
            ),
            (
                row(first, fifth, true, End::Canceled(day("2016-05-02"))),
                vec![(first, Reserve), (first, Change), ("2016-05-02", Cancel)],
            ),
            (
                row(first, fifth, true, End::Canceled(day(first))),
                vec![(first, Reserve), (first, Change), (first, CancelOnBookingDay)],
            ),
            (
                row(first, first, false, End::CheckedOut(day(first))),
                vec![(first, Reserve), (first, CheckIn), (first, CheckOutOnArrivalDay)],
            ),
            (row(first, third, false, End::NoShow(day(third))), vec![(first, Reserve), (third, NoShow)]),
        ] {
            let found = steps(&row);
            let expected: Vec<(Date, Step)> =
                expected.into_iter().map(|(date, step)| (day(date), step)).collect();
            assert_eq!(found, expected);
            // By day, then by the order of a day: as the row lives.
            assert!(found.is_sorted(), "{found:?}");
        }
    }

    #[test]
    fn rows_of_a_day_stay_in_the_order_of_the_file() {
        let mut rows = Vec::new();
        for number in 1..=3 {
            let end = End::NoShow(day("2016-05-09"));
            rows.push(Row { number, ..row("2016-05-01", "2016-05-09", false, end) });
        }
        rows[1].room_type = RoomTypeId::new("B").unwrap();
        let days = days(&rows);
        let first = &days[&day("2016-05-01")];
        let numbers = |id: &str| -> Vec<usize> {
            first[&RoomTypeId::new(id).unwrap()][&Step::Reserve].iter().map(|row| row.number).collect()
        };
        assert_eq!((numbers("A"), numbers("B")), (vec![1, 3], vec![2]));
        assert_eq!(days.len(), 2);
    }
}
