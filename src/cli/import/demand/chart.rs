//! Occupancy by month, for a terminal.

use std::collections::BTreeMap;

use super::define::month;
use super::rows::{Hotel, Row};
use crate::client::{Client, ClientError};
use crate::ledger::{AVAILABILITY_NIGHTS_MAX, Date};

/// Columns of a full bar.
const WIDTH: u64 = 40;

/// The nights of a month, all types together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Month {
    pub first: Date,
    pub sold: u64,
    pub rooms: u64,
    /// Nights of a type on which more was sold than it has rooms.
    pub over: u64,
}

/// What the cluster says it sold, from the first arrival to the last departure.
pub(super) async fn months(client: &Client, hotel: Hotel, rows: &[Row]) -> Result<Vec<Month>, ClientError> {
    let stays = || rows.iter().filter(|row| row.hotel == hotel && row.arrival < row.departure);
    let first = stays().map(|row| row.arrival).min();
    let last = stays().map(|row| row.departure).max();
    let (Some(mut from), Some(last)) = (first, last) else { return Ok(Vec::new()) };
    let mut months: BTreeMap<Date, Month> = BTreeMap::new();
    while from < last {
        let to = from.plus(AVAILABILITY_NIGHTS_MAX).min(last);
        let availability = client.availability(&hotel.property(), from, to).await?.value;
        for night in availability.room_types.values().flatten() {
            let first = month(night.date);
            let month = months.entry(first).or_insert(Month { first, sold: 0, rooms: 0, over: 0 });
            month.sold += u64::from(night.sold);
            month.rooms += u64::from(night.rooms);
            month.over += u64::from(night.sold > night.rooms);
        }
        from = to;
    }
    Ok(months.into_values().collect())
}

pub(super) fn chart(hotel: Hotel, months: &[Month]) -> String {
    let mut lines = vec![format!("{}: room nights sold, by month", hotel.property())];
    lines.extend(months.iter().map(line));
    let over: u64 = months.iter().map(|month| month.over).sum();
    lines.push(match over {
        0 => "no night of any type is sold over its rooms".to_owned(),
        _ => format!("{over} nights of a type are sold over its rooms"),
    });
    lines.join("\n")
}

fn line(month: &Month) -> String {
    let Month { first, sold, rooms, .. } = month;
    // Eighths of a column.
    let eighths = (sold * WIDTH * 8).checked_div(*rooms).unwrap_or(0).min(WIDTH * 8);
    let part = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][(eighths % 8) as usize];
    let bar = format!("{}{part}", "█".repeat((eighths / 8) as usize));
    let percent = (sold * 100).checked_div(*rooms).unwrap_or(0);
    format!("{} {percent:>4} % {bar}", &first.to_string()[..7]).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::day;
    use super::*;

    #[test]
    fn bars_grow_with_what_is_sold() {
        let month = |first, sold, rooms, over| Month { first: day(first), sold, rooms, over };
        let months = [
            month("2015-07-01", 0, 310, 0),
            month("2015-08-01", 155, 310, 0),
            month("2015-09-01", 3, 310, 0),
            month("2015-10-01", 310, 310, 0),
            month("2015-11-01", 0, 0, 0),
        ];
        let half = "█".repeat(20);
        let full = "█".repeat(40);
        let expected = format!(
            "city-hotel: room nights sold, by month\n2015-07    0 %\n2015-08   50 % {half}\n2015-09    0 % ▍\n2015-10  100 % {full}\n2015-11    0 %\nno night of any type is sold over its rooms"
        );
        assert_eq!(chart(Hotel::City, &months), expected);
        let over = chart(Hotel::City, &[month("2015-07-01", 400, 310, 2)]);
        assert!(
            over.contains(&full) && over.ends_with("2 nights of a type are sold over its rooms"),
            "{over}"
        );
    }
}
