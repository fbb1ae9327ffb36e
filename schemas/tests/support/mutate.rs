//! Spoils bytes and JSON in every way that the wire has been seen to, the same way on every run. For the tests of whatever
//! reads what others wrote; it is included by its path, so that no package exports it.

use serde_json::{Value, json};

/// Numbers that look random and are the same on every run.
pub(super) struct Dice(u64);

impl Dice {
    /// From a text, such as a file's name.
    pub(super) fn of(text: &str) -> Self {
        let seed = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(seed | 1)
    }

    /// A number below `bound`, which is at least 1.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 1).unwrap_or(0) % bound.max(1)
    }
}

/// The bytes with one thing wrong: a bit, a hole, a repetition, an end that comes too early, something in between.
pub(super) fn bytes(good: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bad = good.to_vec();
    let from = dice.below(good.len());
    let to = (from + dice.below(40)).min(good.len());
    match dice.below(6) {
        0 if !bad.is_empty() => bad[from] ^= 1 << dice.below(8),
        1 => drop(bad.drain(from..to)),
        2 => drop(bad.splice(from..from, good[from..to].to_vec())),
        3 => bad.truncate(from),
        4 => {
            const WORDS: [&str; 8] = ["\0", "\"", "}", "[", "\n\n", "null", "\u{fffd}", "-1e999"];
            let word = WORDS[dice.below(WORDS.len())];
            bad.splice(from..from, word.bytes()).for_each(drop);
        }
        _ => bad.splice(from..to, std::iter::repeat_n(0xff, 3)).for_each(drop),
    }
    bad
}

/// The value with one place in it made something else, or taken away; `None` when it has no such place.
pub(super) fn json(good: &Value, dice: &mut Dice) -> Option<Value> {
    let mut places = Vec::new();
    list(good, String::new(), &mut places);
    let place = places.get(dice.below(places.len()))?;
    let mut bad = good.clone();
    if dice.below(5) == 0 {
        let (parent, name) = place.rsplit_once('/')?;
        match bad.pointer_mut(parent)? {
            Value::Object(fields) => drop(fields.shift_remove(&name.replace("~1", "/").replace("~0", "~"))),
            Value::Array(items) => drop(items.remove(name.parse().ok()?)),
            _ => {}
        }
    } else {
        *bad.pointer_mut(place)? = other(dice);
    }
    Some(bad)
}

/// Something that nobody expects.
fn other(dice: &mut Dice) -> Value {
    let nested = |levels: usize| (0..levels).fold(json!(null), |inner, _| json!([inner]));
    match dice.below(16) {
        0 => json!(null),
        1 => json!(true),
        2 => json!(0),
        3 => json!(-1),
        4 => json!(u64::MAX),
        5 => json!(1e300),
        6 => json!(2.5),
        7 => json!(""),
        8 => json!("x"),
        9 => json!("psr1.anthropic.\u{e9}"),
        10 => json!("data:;base64,"),
        11 => json!([]),
        12 => json!({}),
        13 => json!(["x", 1, null, {}]),
        14 => json!({ "type": "x", "x": [1] }),
        _ => nested(50),
    }
}

/// The places of all values within another, as JSON pointers.
fn list(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                list(inner, format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")), places);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                list(inner, format!("{place}/{index}"), places);
            }
        }
        _ => {}
    }
    if !place.is_empty() {
        places.push(place);
    }
}
