//! Which lines of a batch go through their provider's own batch API, and why. Decides; does nothing.

use crate::models::Models;
use crate::stage::route;
use penstock_schemas::batch::Batch;
use penstock_schemas::native_batch::NativeBatchCard;
use penstock_schemas::native_lane::{NativeLane, NativeWish};
use std::collections::BTreeMap;
use std::time::Duration;

/// The fewest lines that are worth it: fewer are answered one by one in less time than a provider takes to begin.
const LINES: u64 = 100;

/// Lanes that a batch shows; models beyond them are queued. Those that are native come first.
const LANES: usize = 32;

/// What the choice for a lane depends on.
struct Case<'a> {
    wish: NativeWish,
    lines: u64,
    window: Duration,
    card: Option<&'a NativeBatchCard>,
    has_price: bool,
}

/// The lanes of a batch whose lines name these models so often.
pub(in crate::batch) fn lanes(batch: &Batch, lines: &BTreeMap<String, u64>, models: &Models) -> Vec<NativeLane> {
    let lane = |(model, lines): (&String, &u64)| {
        let target = route::first_target(model, models).ok()?;
        let card = models.native_batch(&target.provider);
        let price = models.card(&target).and_then(|card| card.price.clone());
        let case = Case {
            wish: batch.native_wish,
            lines: *lines,
            window: batch.expires_at.since(batch.begins_at()),
            card: card.as_ref(),
            has_price: price.is_some_and(|price| price.prices.batch.is_some()),
        };
        let (is_native, why) = match choose(&case) {
            Ok(why) => (true, why.to_owned()),
            Err(why) => (false, why),
        };
        let model = model.clone();
        Some(NativeLane {
            model,
            target,
            lines: *lines,
            is_native,
            why,
            read: 0,
            offset: 0,
            is_read: false,
            groups: Vec::new(),
            done: 0,
            queued: 0,
            waiting: None,
        })
    };
    let mut lanes: Vec<NativeLane> = lines.iter().filter_map(lane).collect();
    lanes.sort_by_key(|lane| (!lane.is_native, std::cmp::Reverse(lane.lines)));
    lanes.truncate(LANES);
    lanes
}

/// Why the lines go through the provider's own batch API; or why they do not.
fn choose(case: &Case<'_>) -> Result<&'static str, String> {
    if case.wish == NativeWish::Never {
        return Err("the request says `never`".to_owned());
    }
    let Some(card) = case.card else {
        return Err("the provider has no batch API of its own, or none that is spoken here".to_owned());
    };
    if case.wish == NativeWish::Always {
        return Ok("the request says `always`");
    }
    let hours = u64::from(card.hours);
    if case.window < Duration::from_secs(hours * 3600) {
        return Err(format!("the window is shorter than the {hours} hours that the provider may take"));
    }
    if case.lines < LINES {
        return Err(format!("there are fewer than {LINES} lines: they are answered sooner one by one"));
    }
    if !case.has_price {
        return Err("what the provider's batch API costs for the model is not known".to_owned());
    }
    Ok("the provider's batch API costs less, and the window is as long as it may take")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_through_a_providers_batch_api_where_that_saves_money_and_there_is_time() {
        let card = NativeBatchCard { lines: 1000, bytes: 1 << 20, hours: 24 };
        let case = |wish, lines, hours: u64, has_price| Case {
            wish,
            lines,
            window: Duration::from_secs(hours * 3600),
            card: Some(&card),
            has_price,
        };
        use NativeWish::{Always, Auto, Never};
        let why = |case: Case<'_>| choose(&case).map_or_else(|why| why, |why| format!("+ {why}"));
        assert!(why(case(Auto, LINES, 24, true)).starts_with("+ the provider's batch API costs less"));
        assert!(why(case(Auto, LINES - 1, 24, true)).starts_with("there are fewer than 100 lines"));
        assert!(why(case(Auto, LINES, 23, true)).starts_with("the window is shorter than the 24 hours"));
        assert!(why(case(Auto, LINES, 24, false)).starts_with("what the provider's batch API costs"));
        assert!(why(case(Always, 1, 1, false)).starts_with("+ the request says `always`"));
        assert!(why(case(Never, LINES, 24, true)).starts_with("the request says `never`"));
        let none = Case { card: None, ..case(Always, LINES, 24, true) };
        assert!(why(none).starts_with("the provider has no batch API"));
    }
}
