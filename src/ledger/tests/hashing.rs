//! The state hash sees every field of every record.

use super::golden::record_samples;
use super::support::*;
use crate::ledger::digest::digest_of;
use crate::ledger::*;

/// Changes each leaf of a JSON value in turn and gives the values that still read as a record.
fn mutants(value: &serde_json::Value) -> Vec<serde_json::Value> {
    use serde_json::Value;
    let mut found = Vec::new();
    match value {
        Value::Null => {}
        Value::Bool(value) => found.push(Value::Bool(!value)),
        Value::Number(number) => {
            let number: i128 = number.to_string().parse().unwrap();
            found.push(serde_json::from_str(&(number - 1).to_string()).unwrap());
        }
        // A text may be a name, an id, a date, a currency, or one of a few words.
        Value::String(text) => {
            let next = text.parse::<Date>().ok().map(|date| date.plus(1).to_string());
            let words = [
                "held",
                "confirmed",
                "clock",
                "manual",
                "panic",
                "invariant",
                "hold_expired",
                "invalid_stay",
                "closed",
                "tentative",
                "waiting",
                "lapsed",
                "canceled",
            ];
            let words = words.iter().filter(|word| text != **word).map(|word| (*word).to_owned());
            let other = if text.ends_with('1') { '2' } else { '1' };
            let mut last = text.clone();
            last.pop();
            let currency = if text == "EUR" { "USD" } else { "EUR" };
            let texts = next.into_iter().chain([format!("{last}{other}"), currency.to_owned()]).chain(words);
            found.extend(texts.map(Value::String));
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                for mutant in mutants(item) {
                    let mut items = items.clone();
                    items[n] = mutant;
                    found.push(Value::Array(items));
                }
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                for mutant in mutants(field) {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), mutant);
                    found.push(Value::Object(fields));
                }
            }
        }
    }
    found
}

/// The paths of the leaves of a JSON value.
fn leaves(value: &serde_json::Value, path: String, found: &mut Vec<(String, serde_json::Value)>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                leaves(field, format!("{path}.{name}"), found);
            }
        }
        serde_json::Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                leaves(item, format!("{path}.{n}"), found);
            }
        }
        leaf => found.push((path, leaf.clone())),
    }
}

#[test]
fn every_field_of_every_record_changes_the_hash() {
    let mut all = std::collections::BTreeSet::new();
    // JSON values hold no more than 64 bits.
    for (name, record) in record_samples(u64::MAX.into()) {
        assert!(all.insert(digest_of(&record)), "{name}: another record has its hash");
        let value = serde_json::to_value(&record).unwrap();
        let mut fields = Vec::new();
        leaves(&value, String::new(), &mut fields);
        let mut changed = std::collections::BTreeSet::new();
        let mut hashes = std::collections::BTreeMap::from([(digest_of(&record), record.clone())]);
        for mutant in mutants(&value) {
            let Ok(other) = serde_json::from_value::<Record>(mutant.clone()) else { continue };
            let first = hashes.entry(digest_of(&other)).or_insert_with(|| other.clone());
            assert_eq!(*first, other, "{name}: two records have one hash");
            if other == record {
                continue;
            }
            let mut others = Vec::new();
            leaves(&mutant, String::new(), &mut others);
            let differs = fields.iter().zip(&others).filter(|(ours, theirs)| ours != theirs);
            changed.extend(differs.map(|((path, _), _)| path.clone()));
        }
        // No other outcome is a bare word like `done`, no other change of a room like `unpin`: that their tags count is seen by comparing all records.
        let missed: Vec<&String> = fields
            .iter()
            .filter(|(_, leaf)| !leaf.is_null() && *leaf != "done" && *leaf != "unpin" && *leaf != "removed")
            .map(|(path, _)| path)
            .collect();
        let missed: Vec<_> = missed.into_iter().filter(|path| !changed.contains(*path)).collect();
        assert!(missed.is_empty(), "{name}: nothing changed {missed:?}");
    }
}

#[test]
fn position_and_time_change_the_hash() {
    let mut house = House::new();
    let before = house.ledger.state_hash();
    house.run(Command::EndDue(EndDue {}));
    let next = house.ledger.state_hash();
    assert_ne!(next, before);
    let mut later = House::new();
    later.later(1);
    later.run(Command::EndDue(EndDue {}));
    assert_ne!(later.ledger.state_hash(), next);
}

#[test]
fn where_the_history_begins_changes_the_hash_and_only_moves_forward() {
    let forget = |house: &mut House, lsn: u64| {
        let mark = Mark { lsn: Lsn(lsn), chain: EventChain(lsn.into()) };
        assert_eq!(house.run(Command::ForgetHistory(mark)), Outcome::Done);
        house.ledger.history_from().map(|mark| mark.lsn.0)
    };
    let (mut house, mut other) = (House::new(), House::new());
    other.run(Command::EndDue(EndDue {}));
    assert_eq!(forget(&mut house, 5), Some(5));
    assert_ne!(house.ledger.state_hash(), other.ledger.state_hash());
    assert_eq!(house.restored().ledger.state_hash(), house.ledger.state_hash());
    assert_eq!(house.restored().ledger.history_from(), house.ledger.history_from());
    let own = house.ledger.lsn().0 + 1;
    for (lsn, expected) in [(4, 5), (0, 5), (6, 6), (own + 3, 6), (u64::MAX, 6)] {
        assert_eq!(forget(&mut house, lsn), Some(expected), "{lsn}");
    }
}
