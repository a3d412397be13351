//! Whether the ledger shows what the model has.

use super::*;

/// The nights that are looked at.
fn nights() -> impl Iterator<Item = Date> {
    day(-12).until(day(30))
}

impl Model {
    /// Every night of every room type.
    pub fn same_nights(&self, house: &House) {
        let shown = house.ledger.availability(&hotel(), day(-12), day(30)).unwrap();
        assert_eq!(shown.len(), self.types.len());
        for RoomType { room_type, .. } in &self.types {
            for (night, shown) in nights().zip(&shown[room_type]) {
                let (held, sold) =
                    (self.stays_on(room_type, night, true), self.stays_on(room_type, night, false));
                let expected = NightAvailability {
                    date: night,
                    rooms: self.rooms_of(room_type).len() as u32,
                    out_of_order: self.closed_on(room_type, night) as u32,
                    held: held as u32,
                    sold: sold as u32,
                    blocked: self.blocked_on(room_type, night) as u64,
                    available: self.capacity(room_type) as i64 - self.taken(room_type, night) as i64,
                };
                assert_eq!(*shown, expected, "{room_type}");
            }
        }
    }

    /// Everything that can be asked for.
    pub fn same(&self, house: &House) {
        self.same_nights(house);
        assert_eq!(house.ledger.property(&hotel()), Some(&self.property));
        let mut stays = self.stays.clone();
        stays.sort_by_key(|stay| stay.id);
        let shown = house.ledger.reservations(&hotel(), &ReservationFilter::default(), None, 10_000).unwrap();
        let shown: Vec<Reservation> = shown.reservations.iter().map(|stay| (**stay).clone()).collect();
        assert_eq!(shown, stays);
        let mut types = self.types.clone();
        types.sort_by_key(|room_type| room_type.room_type.clone());
        assert_eq!(house.ledger.room_types(&hotel()).unwrap(), types.iter().collect::<Vec<_>>());
        self.same_rooms(house);
        self.same_rates_and_rules(house);
        self.same_blocks_and_waitlist(house);
        for arrival in -2..16 {
            self.same_free_rooms(house, arrival, arrival + 1 + arrival.rem_euclid(3));
        }
    }

    fn same_rooms(&self, house: &House) {
        let in_service = self.rooms.iter().filter(|(_, (_, in_service))| *in_service);
        let rooms: Vec<(RoomId, RoomTypeId)> =
            in_service.map(|(room, (room_type, _))| (room.clone(), room_type.clone())).collect();
        let shown = house.ledger.rooms(&hotel()).unwrap();
        let shown: Vec<(RoomId, RoomTypeId)> =
            shown.iter().map(|room| (room.room.clone(), room.room_type.clone())).collect();
        assert_eq!(shown, rooms);
        for night in nights() {
            let shown = house.ledger.out_of_order(&hotel(), night, night.plus(1)).unwrap();
            let shown: Vec<(RoomId, Box<str>)> =
                shown.into_iter().map(|closure| (closure.room, closure.reason)).collect();
            let closed = self.closed.iter().filter(|((_, closed), _)| *closed == night);
            let closed: Vec<(RoomId, Box<str>)> =
                closed.map(|((room, _), reason)| (room.clone(), reason.clone())).collect();
            assert_eq!(shown, closed, "{night}");
        }
    }

    fn same_rates_and_rules(&self, house: &House) {
        for night in nights() {
            let has_some = |prices: &Prices| prices.values().any(|by_occupancy| !by_occupancy.is_empty());
            let set = self.rates.iter().filter(|((_, of), prices)| *of == night && has_some(prices));
            let set: Vec<(RateTarget, Prices)> =
                set.map(|((target, _), prices)| (target.clone(), prices.clone())).collect();
            let shown = house.ledger.rates(&hotel(), night, night.plus(1)).unwrap();
            let shown: Vec<(RateTarget, Prices)> =
                shown.into_iter().map(|shown| (shown.target, shown.prices)).collect();
            assert_eq!(shown, set, "{night}");
            let set =
                self.rules.iter().filter(|((_, of), rules)| *of == night && **rules != Rules::default());
            let set: Vec<(RoomTypeId, Rules)> =
                set.map(|((room_type, _), rules)| (room_type.clone(), rules.clone())).collect();
            let shown = house.ledger.restrictions(&hotel(), night, night.plus(1)).unwrap();
            let shown: Vec<(RoomTypeId, Rules)> =
                shown.into_iter().map(|shown| (shown.room_type, (*shown.rules).clone())).collect();
            assert_eq!(shown, set, "{night}");
        }
    }

    fn same_blocks_and_waitlist(&self, house: &House) {
        let picked_up = |block: &Block| {
            block.from.until(block.to).map(|night| self.picked_up(&block.block, night)).collect()
        };
        let of = |(block, released): &(Block, bool)| BlockShown {
            created: false,
            block: Arc::new(block.clone()),
            picked_up: picked_up(block),
            released: *released,
        };
        let blocks: Vec<BlockShown> = self.blocks.values().map(of).collect();
        assert_eq!(house.ledger.blocks(&hotel()).unwrap(), blocks);
        let mut waitlist = self.waitlist.clone();
        waitlist.sort_by_key(|entry| entry.id);
        let (shown, _) = house.ledger.waitlist(&hotel(), None, 10_000).unwrap();
        let shown: Vec<WaitlistEntry> = shown.iter().map(|entry| (**entry).clone()).collect();
        assert_eq!(shown, waitlist);
    }

    /// Exactly the rooms that a reservation by name gets are listed, with its price.
    fn same_free_rooms(&self, house: &House, arrival: i32, departure: i32) {
        let occupancy = 1 + arrival.rem_euclid(2) as u32;
        let query = FreeRoomsQuery { occupancy, ..free_rooms(arrival, departure) };
        let shown = house.ledger.free_rooms(&query).unwrap();
        let shown: Vec<(RoomId, Price)> = shown.into_iter().map(|free| (free.room, free.price)).collect();
        let mut free = Vec::new();
        for (room, (_, in_service)) in &self.rooms {
            if !in_service || day(arrival) < self.today() {
                continue;
            }
            let by_name = reserve(0, Wanted::Room(room.clone()), arrival, departure);
            if let Ok(made) = self.clone().reserve(&Reserve { occupancy, ..by_name }, None) {
                free.push((room.clone(), made.price.clone()));
            }
        }
        // What is free on nights that are past nobody can reserve.
        if day(arrival) >= self.today() {
            assert_eq!(shown, free, "{arrival} to {departure}");
        }
    }
}
