//! Looking through all plans of a small house.
//!
//! The stays of the nights around are given rooms one after the other, by arrival: first the room that each has, then
//! the others by id. Where none is left, the choice before is taken back. What a plan may still become depends only on
//! the rooms that are taken beyond the next arrival, so no such picture is looked into twice. Exact, unless the fixed
//! number of steps ends it.

use std::collections::BTreeSet;

use super::sketch::{Sketch, Span};
use crate::ledger::date::Date;

/// Rooms of the largest type that is looked through.
pub const ROOMS_MAX: usize = 64;

/// Stays that are given rooms, at most.
const STAYS_MAX: usize = 512;

/// Stays that are given a room, in one search; what is taken back and given again counts again.
const STEPS_MAX: usize = 4_096;

/// Stays that are read and put in their order for the price of a step.
const STAYS_A_STEP: usize = 4;

pub struct Backtrack {
    /// Those that may move, and the one that is looked for, by arrival.
    stays: Vec<Looking>,
    /// What can't move, by room.
    fixed: Vec<Vec<Span>>,
    /// Until when each room is taken by the stays before.
    taken_until: Vec<Date>,
    /// The room of each stay before.
    chosen: Vec<usize>,
    /// Pictures from which nothing came.
    dead: BTreeSet<(usize, Vec<Date>)>,
    steps: usize,
}

/// A stay that looks for a room.
#[derive(Clone, Copy)]
struct Looking {
    from: Date,
    to: Date,
    /// What it is in the sketch; none for the new stay.
    span: Option<Span>,
}

/// Finds a plan in which a room is free on `[from, to)`, that which was named or any, and brings the sketch to it. Adds the
/// steps that it took to `steps`, or what was as dear.
pub fn run(
    sketch: &mut Sketch<'_>,
    from: Date,
    to: Date,
    named: Option<usize>,
    steps: &mut usize,
) -> Option<usize> {
    let rooms = sketch.room_type.rooms.len();
    if rooms > ROOMS_MAX {
        return None;
    }
    let (mut stays, mut fixed) = (Vec::new(), vec![Vec::new(); rooms]);
    for (place, fixed) in fixed.iter_mut().enumerate() {
        for span in sketch.spans(place).iter() {
            match span.stay {
                Some(_) => stays.push(Looking { from: span.from, to: span.to, span: Some(*span) }),
                None => fixed.push(*span),
            }
        }
    }
    match named {
        Some(place) => {
            // Whoever is there can't stay.
            let at = fixed[place].partition_point(|span| span.from < from);
            fixed[place].insert(at, Span { from, to, stay: None, home: place });
        }
        None => stays.push(Looking { from, to, span: None }),
    }
    *steps += stays.len() / STAYS_A_STEP;
    stays.sort_by_key(|stay| (stay.from, stay.span.map(|span| span.home)));
    let stays = around(stays, from, to);
    if stays.len() > STAYS_MAX {
        return None;
    }
    let (taken_until, chosen) = (vec![Date::MIN; rooms], vec![0; stays.len()]);
    let mut search = Backtrack { stays, fixed, taken_until, chosen, dead: BTreeSet::new(), steps: STEPS_MAX };
    let is_found = search.give(0);
    *steps += STEPS_MAX - search.steps;
    if !is_found {
        return None;
    }
    Some(search.carry_out(sketch).or(named).expect("the new stay is among them unless its room is named"))
}

/// Those that have to do with the nights `[from, to)`: what lies before a night across which nobody stays, or behind
/// one, has nothing to do with them.
fn around(stays: Vec<Looking>, from: Date, to: Date) -> Vec<Looking> {
    let mut runs: Vec<Vec<Looking>> = Vec::new();
    let mut end = Date::MIN;
    for stay in stays {
        match runs.last_mut().filter(|_| stay.from < end) {
            Some(run) => run.push(stay),
            None => runs.push(vec![stay]),
        }
        end = end.max(stay.to);
    }
    let touches = |run: &Vec<Looking>| run.iter().any(|stay| stay.from < to && from < stay.to);
    runs.into_iter().filter(touches).flatten().collect()
}

impl Backtrack {
    /// Gives rooms to the stays from the `n`th on.
    fn give(&mut self, n: usize) -> bool {
        let Some(Looking { from, to, span }) = self.stays.get(n).copied() else { return true };
        let picture: Vec<Date> = self.taken_until.iter().map(|until| (*until).max(from)).collect();
        if self.dead.contains(&(n, picture.clone())) {
            return false;
        }
        let home = span.map(|span| span.home);
        let others = (0..self.taken_until.len()).filter(|place| Some(*place) != home);
        // Of rooms that nothing will ever tell apart, the first stands for all.
        let mut tried_open = false;
        for place in home.into_iter().chain(others) {
            if self.taken_until[place] > from || self.is_fixed(place, from, to) {
                continue;
            }
            let is_open = !self.is_fixed(place, from, Date::MAX);
            if is_open && tried_open {
                continue;
            }
            tried_open |= is_open;
            let Some(steps) = self.steps.checked_sub(1) else { return false };
            self.steps = steps;
            let before = std::mem::replace(&mut self.taken_until[place], to);
            self.chosen[n] = place;
            if self.give(n + 1) {
                return true;
            }
            self.taken_until[place] = before;
        }
        if self.steps > 0 {
            self.dead.insert((n, picture));
        }
        false
    }

    fn is_fixed(&self, place: usize, from: Date, to: Date) -> bool {
        let next = self.fixed[place].partition_point(|span| span.to <= from);
        self.fixed[place].get(next).is_some_and(|span| span.from < to)
    }

    /// Brings the sketch to the plan, and gives the room of the new stay.
    fn carry_out(&self, sketch: &mut Sketch<'_>) -> Option<usize> {
        let mut new = None;
        let moving = self.stays.iter().zip(&self.chosen);
        let moving = moving.filter_map(|(stay, place)| match stay.span {
            Some(span) => (span.home != *place).then_some((span, *place)),
            None => {
                new = Some(*place);
                None
            }
        });
        sketch.rearrange(moving.collect());
        new
    }
}
