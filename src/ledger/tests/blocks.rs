//! Blocks: what they take, what is picked up, what comes back; and rooms that are retired.

use super::support::*;
use crate::ledger::*;

/// Held, sold, blocked and available doubles on the days `[from, to)`.
fn nights(house: &House, from: i32, to: i32) -> Vec<(u32, u32, u64, i64)> {
    let all = house.ledger.availability(&hotel(), day(from), day(to)).unwrap();
    all[&kind("double")]
        .iter()
        .map(|night| (night.held, night.sold, night.blocked, night.available))
        .collect()
}

fn picked_up(house: &House, id: &str) -> Vec<u32> {
    let blocks = house.ledger.blocks(&hotel()).unwrap();
    blocks.into_iter().find(|shown| shown.block.block.as_str() == id).unwrap().picked_up
}

fn record_of(house: &House, id: &str) -> BlockRecord {
    let book = house.ledger.book(&hotel()).unwrap();
    book.blocks.get(&BlockId::new(id).unwrap()).unwrap().record.clone().unwrap()
}

fn from_block(n: u128, arrival: i32, departure: i32) -> Reserve {
    Reserve { block: Some(BlockId::new("fair").unwrap()), ..by_type(n, "double", arrival, departure) }
}

fn refused(outcome: Outcome) -> Refusal {
    let Outcome::Refused(refusal) = outcome else { panic!("{outcome:?}") };
    refusal
}

fn full(nights: &[i32]) -> Refusal {
    Refusal::NoAvailability { nights: nights.iter().map(|night| day(*night)).collect(), fragmented: false }
}

fn sound(house: &House) {
    house.ledger.audit().unwrap();
    let restored = house.restored();
    restored.ledger.audit().unwrap();
    assert_eq!(restored.ledger.state_hash(), house.ledger.state_hash());
}

#[test]
fn a_definite_block_takes_rooms_until_they_are_picked_up() {
    let mut house = House::new();
    let Outcome::Block(shown) = house.run(put_block("fair", 10, 13, 2)) else { panic!() };
    assert_eq!((shown.created, &shown.picked_up[..]), (true, &[0, 0, 0][..]));
    assert_eq!(nights(&house, 9, 11), [(0, 0, 0, 3), (0, 0, 2, 1)]);
    house.reserved(by_type(1, "double", 10, 11));
    assert_eq!(refused(house.run(by_type(2, "double", 9, 12))), full(&[10]));
    assert_eq!(house.free(10, 11), ["201"]);

    // A pick-up has what the block keeps, where nothing else is left too.
    house.reserved(from_block(3, 10, 12));
    assert_eq!(nights(&house, 10, 13), [(0, 2, 1, 0), (0, 1, 1, 1), (0, 0, 2, 1)]);
    let hold = Reserve { hold_seconds: Some(60), ..from_block(4, 10, 11) };
    house.reserved(hold);
    assert_eq!(picked_up(&house, "fair"), [2, 1, 0]);
    assert_eq!(refused(house.run(from_block(5, 10, 12))), full(&[10]));
    assert_eq!(refused(house.run(from_block(5, 12, 14))), full(&[13]));
    let suite = Reserve { wanted: Wanted::RoomType(kind("suite")), ..from_block(5, 12, 13) };
    assert_eq!(refused(house.run(suite)), full(&[12]));
    sound(&house);

    // What is given back returns to the block.
    house.later(60_000);
    house.changed(Command::Cancel(change(3)));
    assert_eq!(picked_up(&house, "fair"), [0, 0, 0]);
    assert_eq!(nights(&house, 10, 12), [(0, 1, 2, 0), (0, 0, 2, 1)]);
    sound(&house);
}

#[test]
fn a_pick_up_by_name_moves_who_is_planned_there() {
    let mut house = House::new();
    house.run(put_block("fair", 10, 12, 1));
    house.reserved(by_type(1, "double", 10, 12));
    house.reserved(by_type(2, "double", 10, 12));
    assert_eq!(house.get(1).room, Some(room("101")));
    let named = Reserve { wanted: Wanted::Room(room("101")), ..from_block(3, 10, 12) };
    house.reserved(named);
    assert_eq!(house.get(3).block, Some(BlockId::new("fair").unwrap()));
    assert_eq!(nights(&house, 10, 12), [(0, 3, 0, 0), (0, 3, 0, 0)]);
    sound(&house);
}

#[test]
fn a_changed_pick_up_stays_within_its_block() {
    let mut house = House::new();
    house.run(put_block("fair", 10, 14, 2));
    house.reserved(from_block(1, 10, 12));
    let longer = |to| Amend { departure: Some(day(to)), ..amend(1) };
    house.changed(longer(14).into());
    assert_eq!(picked_up(&house, "fair"), [1, 1, 1, 1]);
    assert_eq!(refused(house.run(longer(15))), full(&[14]));
    let suite = Amend { room_type: Some(kind("suite")), ..amend(1) };
    assert_eq!(refused(house.run(suite)), full(&[10, 11, 12, 13]));
    // Be it that the block keeps nothing any more: it would have picked up what it never had.
    for status in [BlockStatus::Tentative, BlockStatus::Canceled] {
        house.run(PutBlock { status, ..put_block("fair", 10, 14, 2) });
        assert_eq!(refused(house.run(longer(15))), full(&[14]));
        house.changed(longer(13).into());
        house.changed(longer(14).into());
        house.run(put_block("fair", 10, 14, 2));
    }
    sound(&house);
}

/// Whatever it keeps now: more than its rooms were never its guests'.
#[test]
fn a_block_that_keeps_nothing_any_more_is_picked_up_no_further_than_it_had_rooms() {
    let fair = |to| put_block("fair", 10, to, 1);
    let ends: [fn(PutBlock) -> PutBlock; 3] = [
        |block| PutBlock { status: BlockStatus::Tentative, ..block },
        |block| PutBlock { status: BlockStatus::Canceled, ..block },
        |block| PutBlock { release_date: Some(day(0)), ..block },
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let mut house = House::new();
        house.run(fair(14));
        house.reserved(from_block(1, 10, 12));
        house.reserved(from_block(2, 12, 14));
        assert!(matches!(house.run(end(fair(14))), Outcome::Block(_)));
        let longer = |to| Amend { departure: Some(day(to)), ..amend(1) };
        assert_eq!(refused(house.run(longer(14))), full(&[12, 13]), "case {n}");
        let taken_over = ImportedStay {
            room: Some(room("103")),
            block: Some(BlockId::new("fair").unwrap()),
            ..imported(3, "double", 13, 15)
        };
        let member = Refusal::Member { index: 0, refusal: Box::new(full(&[13, 14])) };
        assert_eq!(refused(house.run(import(vec![taken_over]))), member, "case {n}");
        // What one has given back another may have.
        house.changed(Command::Cancel(change(2)));
        house.changed(longer(14).into());
        assert_eq!(picked_up(&house, "fair"), [1, 1, 1, 1]);
        sound(&house);

        // Nor does one come back from an upgrade to what others have picked up since.
        let mut house = House::new();
        house.run(fair(12));
        house.reserved(from_block(1, 10, 12));
        house.changed(assign(1, "201"));
        house.reserved(from_block(2, 10, 12));
        house.run(end(fair(12)));
        let back = Amend { room_type: Some(kind("double")), room: Some(RoomChange::Unpin), ..amend(1) };
        assert_eq!(refused(house.run(back)), full(&[10, 11]), "case {n}");
        house.changed(longer(11).into());
        sound(&house);
    }
}

/// What the block and its pick-ups have of the type is the same before and after: it is nobody else's.
#[test]
fn an_upgraded_pick_up_counts_where_it_goes_and_its_room_returns_to_the_block() {
    let mut house = House::new();
    house.run(put_block("fair", 10, 12, 3));
    house.reserved(from_block(1, 10, 12));
    house.changed(assign(1, "201"));
    assert_eq!(picked_up(&house, "fair"), [0, 0]);
    assert_eq!(nights(&house, 10, 11), [(0, 0, 3, 0)]);
    assert_eq!(refused(house.run(by_type(2, "double", 10, 12))), full(&[10, 11]));
    sound(&house);
    // It asks nothing of the block, be that picked up by others, and stays within its dates.
    (3..=5).for_each(|n| drop(house.reserved(from_block(n, 10, 12))));
    house.changed(Amend { room: Some(RoomChange::Unpin), ..amend(1) }.into());
    house.changed(Amend { departure: Some(day(11)), ..amend(1) }.into());
    house.changed(Amend { departure: Some(day(12)), ..amend(1) }.into());
    assert_eq!(refused(house.run(Amend { departure: Some(day(13)), ..amend(1) })), full(&[12]));
    assert_eq!(refused(house.run(Amend { room_type: Some(kind("double")), ..amend(1) })), full(&[10, 11]));
    assert_eq!(
        refused(house.run(put_block("fair", 10, 12, 2))),
        Refusal::CapacityBelowSold { nights: vec![day(10), day(11)] }
    );
    house.changed(Command::Cancel(change(1)));
    assert_eq!((picked_up(&house, "fair"), nights(&house, 10, 11)), (vec![3, 3], vec![(0, 3, 0, 0)]));
    sound(&house);
}

/// One that is upgraded goes back to the type while something of the block is left.
#[test]
fn an_upgraded_pick_up_returns_to_its_type() {
    let mut house = House::new();
    house.run(put_block("fair", 10, 12, 3));
    house.reserved(from_block(1, 10, 12));
    house.changed(assign(1, "201"));
    house.reserved(from_block(2, 10, 12));
    house
        .changed(Amend { room_type: Some(kind("double")), room: Some(RoomChange::Unpin), ..amend(1) }.into());
    assert_eq!((picked_up(&house, "fair"), nights(&house, 10, 11)), (vec![2, 2], vec![(0, 2, 1, 0)]));
    sound(&house);
}

/// Who has a room of a type that the block changes to is a pick-up of that from then on.
#[test]
fn a_block_that_changes_its_type_counts_who_was_upgraded_to_that() {
    let mut house = House::new();
    house.run(put_block("fair", 10, 12, 1));
    house.reserved(from_block(1, 10, 12));
    house.changed(assign(1, "201"));
    let suites = |rooms| PutBlock { room_type: kind("suite"), ..put_block("fair", 10, 12, rooms) };
    assert_eq!(refused(house.run(suites(0))), Refusal::CapacityBelowSold { nights: vec![day(10), day(11)] });
    let before = record_of(&house, "fair");
    house.run(suites(1));
    assert_eq!(picked_up(&house, "fair"), [1, 1]);
    // So the event of that change tells it.
    let after = record_of(&house, "fair");
    assert_eq!(crate::ledger::as_changed(&after, &after).picked_up, [1, 1]);
    assert_eq!(crate::ledger::as_changed(&before, &after).picked_up, [0, 0]);
    sound(&house);
}

#[test]
fn only_a_definite_block_can_be_taken_from() {
    let mut house = House::new();
    assert_eq!(refused(house.run(from_block(1, 10, 12))), Refusal::BlockNotFound);
    for status in [BlockStatus::Tentative, BlockStatus::Canceled] {
        house.run(PutBlock { status, ..put_block("fair", 10, 12, 3) });
        assert_eq!(nights(&house, 10, 11), [(0, 0, 0, 3)]);
        let refusal = refused(house.run(from_block(1, 10, 10)));
        assert_eq!(refusal, Refusal::BlockNotDefinite { state: status });
    }
    house.reserved(by_type(2, "double", 11, 13));
    assert_eq!(refused(house.run(put_block("fair", 10, 12, 3))), full(&[11]));
    house.run(put_block("fair", 10, 12, 2));
    house.reserved(from_block(3, 10, 12));
    house.reserved(from_block(4, 11, 12));
    let below =
        |nights: &[i32]| Refusal::CapacityBelowSold { nights: nights.iter().map(|n| day(*n)).collect() };
    assert_eq!(refused(house.run(put_block("fair", 10, 12, 1))), below(&[11]));
    assert_eq!(refused(house.run(put_block("fair", 11, 12, 2))), below(&[10]));
    let suites = PutBlock { room_type: kind("suite"), ..put_block("fair", 10, 12, 2) };
    assert_eq!(refused(house.run(suites.clone())), below(&[10, 11]));
    // Nor does it change under those who picked up while it keeps nothing.
    house.run(PutBlock { status: BlockStatus::Canceled, ..put_block("fair", 10, 12, 2) });
    assert_eq!(refused(house.run(suites)), below(&[10, 11]));
    house.run(put_block("fair", 10, 12, 2));
    // What a block keeps is sold as little as what a guest has.
    house.run(put_room_type("double", 1));
    house.run(put_block("fair", 10, 12, 3));
    assert_eq!(refused(house.run(put_room_type("double", 0))), below(&[11]));
    sound(&house);
}

#[test]
fn blocks_are_released_by_the_business_date_in_turns() {
    for on_clock in [false, true] {
        let mut house = if on_clock { House::on_clock() } else { House::new() };
        house.run(put_room_type("double", 1_000));
        for n in 0..300 {
            let block = PutBlock { release_date: Some(day(5)), ..put_block(&format!("b{n}"), 10, 12, 2) };
            assert!(matches!(house.run(block), Outcome::Block(_)));
        }
        let fair = PutBlock { release_date: Some(day(6)), ..put_block("fair", 10, 12, 2) };
        house.run(fair.clone());
        house.reserved(from_block(1, 10, 12));
        let to = |date: i32| match on_clock {
            true => House::roll(date),
            false => Command::NightAudit(NightAudit { property: hotel(), business_date: day(date) }),
        };
        house.run(to(4));
        assert_eq!(nights(&house, 10, 11), [(0, 1, 601, 401)]);
        house.run(to(5));
        assert_eq!(nights(&house, 10, 11), [(0, 1, 89, 913)]);
        assert_eq!(house.ledger.next_due(), Some(house.ledger.stamp()));
        sound(&house);
        house.run(Command::EndDue(EndDue {}));
        assert_eq!(nights(&house, 10, 11), [(0, 1, 1, 1_001)]);
        assert_eq!(house.ledger.next_due(), None);
        let is_released = |house: &House| {
            let blocks = house.ledger.blocks(&hotel()).unwrap();
            blocks.iter().find(|shown| shown.block.block.as_str() == "fair").unwrap().released
        };
        assert!(!is_released(&house));
        house.run(to(6));
        assert!(is_released(&house));
        assert_eq!(nights(&house, 10, 11), [(0, 1, 0, 1_002)]);
        // What was picked up stays; nothing is left to be.
        assert_eq!(refused(house.run(from_block(2, 10, 11))), full(&[10]));
        house.changed(Command::Cancel(change(1)));
        assert_eq!(nights(&house, 10, 11), [(0, 0, 0, 1_003)]);
        // A later date takes it back.
        house.run(PutBlock { release_date: Some(day(7)), ..fair });
        assert!(!is_released(&house));
        assert_eq!(nights(&house, 10, 11), [(0, 0, 2, 1_001)]);
        sound(&house);
    }
}

#[test]
fn the_key_of_a_block_answers_with_the_block_as_it_was_made() {
    let mut house = House::new();
    let made = Submission { key: Some(key(1, 1)), command: put_block("fair", 10, 12, 2).into() };
    let first = house.submit(&made).outcome;
    house.reserved(from_block(1, 10, 12));
    let fewer = Submission { key: Some(key(2, 2)), command: put_block("fair", 10, 12, 1).into() };
    let second = house.submit(&fewer).outcome;
    let Outcome::Block(shown) = &second else { panic!() };
    assert_eq!((shown.created, &shown.picked_up[..]), (false, &[1, 1][..]));
    let mut house = house.restored();
    house.changed(Command::Cancel(change(1)));
    for (submission, outcome) in [(made, first), (fewer, second)] {
        let again = house.submit(&submission);
        assert_eq!((again.outcome, again.replayed), (outcome, true));
    }
}

#[test]
fn a_block_that_is_made_when_its_release_date_has_come_is_released_from_the_first() {
    let mut house = House::new();
    let at_once = PutBlock { release_date: Some(day(0)), ..put_block("fair", 10, 12, 2) };
    let made = Submission { key: Some(key(1, 1)), command: at_once.into() };
    let first = house.submit(&made).outcome;
    let Outcome::Block(shown) = &first else { panic!() };
    assert_eq!((shown.created, shown.released), (true, true));
    assert!(house.ledger.blocks(&hotel()).unwrap()[0].released);
    // So it is told to a retry, whatever has become of it.
    house.run(put_block("fair", 10, 12, 1));
    assert!(!house.ledger.blocks(&hotel()).unwrap()[0].released);
    let again = house.restored().submit(&made);
    assert_eq!((again.outcome, again.replayed), (first, true));
    sound(&house);
}

#[test]
fn a_retired_room_is_gone_and_what_was_planned_for_it_moves() {
    let mut house = House::new();
    house.reserved(by_type(1, "double", 10, 12));
    house.run(put_out_of_order("101", 20, 22));
    house.run(put_rates(RateTarget::Room(room("101")), day(0), day(90), prices(&[("EUR", 2, 1)])));
    assert_eq!(house.get(1).room, Some(room("101")));
    assert_eq!(house.run(retire_room("101")), Outcome::Removed);
    assert_eq!(house.get(1).room, Some(room("102")));
    assert_eq!(house.free(20, 22), ["102", "103", "201"]);
    assert_eq!(nights(&house, 10, 11), [(0, 1, 0, 1)]);
    assert_eq!(house.ledger.rooms(&hotel()).unwrap().len(), 3);
    for command in [retire_room("101"), put_out_of_order("101", 1, 2).into(), by_room(2, "101", 3, 4).into()]
    {
        assert_eq!(refused(house.run(command)), Refusal::RoomNotFound);
    }
    sound(&house);

    // It comes back as if it were new.
    assert!(matches!(house.run(put_room("101", "suite")), Outcome::Room { created: true, .. }));
    assert_eq!(house.free(10, 12), ["101", "102", "103", "201"]);
    sound(&house);
}

/// Who looks for other rooms looks no further than somebody can have one.
#[test]
fn a_room_that_is_out_of_order_in_eight_thousand_years_is_emptied_soon() {
    let mut house = House::new();
    let (from, to) = (date("9999-12-01"), date("9999-12-02"));
    house.run(PutOutOfOrder { from, to, ..put_out_of_order("103", 10, 11) });
    house.reserved(by_type(1, "double", 10, 12));
    house.reserved(by_room(2, "102", 12, 14));
    assert_eq!(house.reserved(by_type(3, "double", 10, 14)).room, Some(room("103")));
    let began = std::time::Instant::now();
    assert_eq!(house.run(retire_room("103")), Outcome::Removed);
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
    let places = [1, 3].map(|n| house.get(n).room.clone().map(|room| room.to_string()));
    assert_eq!(places, [Some("102".to_owned()), Some("101".to_owned())]);
    sound(&house);
}

#[test]
fn a_room_that_is_sold_is_not_retired() {
    let mut house = House::new();
    house.reserved(by_room(1, "101", 10, 12));
    let below =
        |nights: &[i32]| Refusal::CapacityBelowSold { nights: nights.iter().map(|n| day(*n)).collect() };
    assert_eq!(refused(house.run(retire_room("101"))), below(&[10, 11]));
    house.reserved(by_type(2, "double", 11, 13));
    house.reserved(by_type(3, "double", 11, 13));
    assert_eq!(refused(house.run(retire_room("103"))), below(&[11]));
    // A room that can't be sold anyway can be done without.
    house.run(put_room("104", "double"));
    house.run(put_out_of_order("104", 11, 12));
    assert_eq!(house.run(retire_room("104")), Outcome::Removed);
    sound(&house);

    // The guest who has not left is there still, whatever the dates say.
    let mut house = House::new();
    house.reserved(by_room(1, "101", 0, 2));
    house.changed(Command::CheckIn(change(1)));
    house.run(Command::NightAudit(NightAudit { property: hotel(), business_date: day(3) }));
    assert_eq!(refused(house.run(retire_room("101"))), below(&[3]));
    house.changed(Command::CheckOut(change(1)));
    assert_eq!(house.run(retire_room("101")), Outcome::Removed);
    assert_eq!(house.get(1).room, Some(room("101")));
    sound(&house);
}

/// The room is nowhere in the request, and not there all the same: 404 comes before whatever is wrong with the dates.
#[test]
fn a_stay_that_would_keep_a_retired_room_is_told_so_first() {
    let mut house = House::on_clock();
    house.reserved(by_room(1, "101", 0, 2));
    house.run(House::roll(3));
    assert_eq!(house.run(retire_room("101")), Outcome::Removed);
    let closed = Rules { closed: true, ..Rules::default() };
    house.run(put_restrictions("double", 3, 10, closed));
    for (departure, occupancy) in [(5, None), (1, None), (2_000, None), (2, Some(9))] {
        let change = Amend { departure: Some(day(departure)), occupancy, ..amend(1) };
        assert_eq!(house.refused(change), Refusal::RoomNotFound, "{departure} {occupancy:?}");
    }
    // Without that room the dates are judged.
    let unpinned = Amend { departure: Some(day(1)), room: Some(RoomChange::Unpin), ..amend(1) };
    assert_eq!(house.refused(unpinned), Refusal::InvalidStay);
    let unpinned = Amend { room: Some(RoomChange::Unpin), ..amend(1) };
    let stay = house.changed(unpinned.into());
    assert!(!stay.room_pinned);
    sound(&house);
}

#[test]
fn a_retired_room_answers_the_key_that_made_it() {
    let mut house = House::new();
    let made = Submission { key: Some(key(1, 1)), command: put_room("105", "double").into() };
    let first = house.submit(&made).outcome;
    house.run(retire_room("105"));
    let again = Submission { key: Some(key(2, 2)), command: put_room("105", "suite").into() };
    for _ in 0..2 {
        let answer = house.submit(&made);
        assert_eq!((answer.outcome, answer.replayed), (first.clone(), true));
        let Outcome::Room { created, room } = house.submit(&again).outcome else { panic!() };
        assert_eq!((created, room.room_type.as_str()), (true, "suite"));
        sound(&house);
        house = house.restored();
    }
}

/// Many blocks end on the day on which rooms come free for a stay that has none.
#[test]
fn releases_take_no_room_from_who_waits_for_one() {
    let mut house = House::on_clock();
    house.run(put_room_type("double", 1));
    for (n, id) in [(1, "101"), (2, "102"), (3, "103")] {
        house.reserved(by_room(n, id, 0, 1));
    }
    assert_eq!(house.reserved(by_type(4, "double", 0, 3)).room, None);
    for n in 0..256 {
        let ends = Some(day(1));
        house.run(PutBlock { release_date: ends, ..put_block(&format!("b{n}"), 10, 12, 0) });
    }
    house.run(House::roll(1));
    assert_eq!(house.get(4).room, Some(room("101")));
    sound(&house);
}

/// An upgrade is no longer of the block's rooms, and outlives that the block moves; so it does in another ledger.
#[test]
fn who_was_upgraded_is_taken_over_though_the_block_has_moved() {
    let mut house = House::new();
    house.run(put_block("fair", 20, 22, 1));
    let upgraded = ImportedStay {
        room: Some(room("201")),
        block: Some(BlockId::new("fair").unwrap()),
        ..imported(1, "suite", 10, 12)
    };
    assert!(matches!(house.run(import(vec![upgraded])), Outcome::Booked(_)));
    sound(&house);
}
