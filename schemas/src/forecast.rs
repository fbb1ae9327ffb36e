//! Where spending leads to: from what was spent in the last days to what will have been spent when the cycle ends. Pure:
//! knows neither the ledger nor the clock.

use crate::UnixMicros;
use crate::budget::Unit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The days that a forecast looks back.
pub const DAYS: usize = 7;

/// In microseconds.
const DAY: u64 = 86_400_000_000;

/// What was spent, in one unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Since the cycle began.
    pub so_far: u64,
    /// In the last 24 hours, the 24 hours before them, and so on.
    pub days: [u64; DAYS],
}

/// Where it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// What a day costs.
    pub per_day: u64,
    /// What will have been spent at the end of the cycle, if it has one.
    pub at_end: Option<u64>,
}

impl Spent {
    /// What a day costs: the mean of the last days, the latest with the most weight (7, 6, … 1). Days before the first with
    /// any spending say nothing.
    pub fn per_day(&self) -> u64 {
        let known = self.days.iter().rposition(|day| *day > 0).map_or(0, |last| last + 1);
        let weighted = self.days[..known].iter().zip((1..=DAYS as u128).rev());
        let (sum, weights) =
            weighted.fold((0, 0), |(sum, weights), (day, weight)| (sum + u128::from(*day) * weight, weights + weight));
        u64::try_from(sum.checked_div(weights).unwrap_or(0)).unwrap_or(u64::MAX)
    }

    /// Where it leads to, until `end`.
    pub fn forecast(&self, now: UnixMicros, end: Option<UnixMicros>) -> Forecast {
        let per_day = self.per_day();
        let more = |end: UnixMicros| u128::from(per_day) * u128::from(end.0.saturating_sub(now.0)) / u128::from(DAY);
        let at_end = end.map(|end| self.so_far.saturating_add(u64::try_from(more(end)).unwrap_or(u64::MAX)));
        Forecast { per_day, at_end }
    }

    /// When a limit will be spent, if spending goes on like this; `None` when never. Now, when it is.
    pub fn exceeds(&self, limit: u64, now: UnixMicros) -> Option<UnixMicros> {
        let left = limit.saturating_sub(self.so_far);
        if left == 0 {
            return Some(now);
        }
        let wait = (u128::from(left) * u128::from(DAY)).checked_div(u128::from(self.per_day()))?;
        Some(UnixMicros(now.0.saturating_add(u64::try_from(wait).ok()?)))
    }

    /// When a limit will be spent, if that is at least a day before `end`, and has not happened yet.
    pub fn exceeds_early(&self, limit: u64, now: UnixMicros, end: Option<UnixMicros>) -> Option<UnixMicros> {
        if self.so_far >= limit {
            return None;
        }
        let at = self.exceeds(limit, now)?;
        end.filter(|end| at.0.saturating_add(DAY) <= end.0).map(|_| at)
    }
}

/// Where does spending lead to?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastQuery {
    /// What to break this month down by, as in `SpendQuery`; or only `budget`: each budget, in its own cycle.
    pub by: Vec<String>,
    /// Only of these projects; empty: of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<String>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForecastRow {
    /// What the row is for: a value for each of the query's `by`.
    #[serde(rename = "for")]
    pub by: Map<String, Value>,
    /// The cycle's window: `2026-11`.
    pub window: String,
    /// When it ends, RFC 3339; absent: never.
    pub until: Option<String>,
    /// What the amounts are: dollars or tokens.
    pub unit: Unit,
    /// Since the window began; dollars as an exact decimal.
    pub spent: String,
    /// A day's spending, of the last days.
    pub per_day: String,
    /// At the end of the window.
    pub projected: Option<String>,
    /// The budget's limit.
    pub limit: Option<String>,
    /// When the limit will be spent, RFC 3339; absent: not in this window.
    pub spent_at: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForecastReport {
    /// As of when, RFC 3339.
    pub at: String,
    /// What it is broken down by.
    pub by: Vec<String>,
    /// The dearest first; budgets by name.
    pub rows: Vec<ForecastRow>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMicros = UnixMicros(1_795_000_000_000_000);

    fn in_days(days: u64) -> UnixMicros {
        UnixMicros(NOW.0 + days * DAY)
    }

    #[test]
    fn a_day_costs_what_the_last_days_did_the_latest_most() {
        for (days, per_day) in [
            ([0; 7], 0),
            ([100; 7], 100),
            // One day is known.
            ([100, 0, 0, 0, 0, 0, 0], 100),
            // (7 × 100 + 6 × 0 + 5 × 80) / 18.
            ([100, 0, 80, 0, 0, 0, 0], 61),
            ([0, 0, 0, 0, 0, 0, 280], 10),
            ([280, 0, 0, 0, 0, 0, 1], 70),
            ([u64::MAX; 7], u64::MAX),
        ] {
            assert_eq!(Spent { so_far: 0, days }.per_day(), per_day, "{days:?}");
        }
    }

    #[test]
    fn spending_is_carried_on_to_the_end_of_the_cycle() {
        let spent = Spent { so_far: 500, days: [100; 7] };
        let at_end = |end| spent.forecast(NOW, end).at_end;
        assert_eq!(at_end(Some(in_days(10))), Some(1500));
        assert_eq!(at_end(Some(UnixMicros(NOW.0 + DAY / 2))), Some(550));
        assert_eq!((at_end(Some(UnixMicros(NOW.0 - 1))), at_end(None)), (Some(500), None));
        let huge = Spent { so_far: u64::MAX, days: [u64::MAX; 7] };
        assert_eq!(huge.forecast(NOW, Some(in_days(400))).at_end, Some(u64::MAX));
    }

    #[test]
    fn a_limit_that_will_be_spent_days_before_the_end_is_told() {
        let spent = Spent { so_far: 500, days: [100; 7] };
        for (limit, end, early) in [
            // Spent after 5 days.
            (1000, Some(in_days(10)), Some(in_days(5))),
            (1000, Some(in_days(6)), Some(in_days(5))),
            (1000, Some(UnixMicros(in_days(6).0 - 1)), None),
            (1000, Some(in_days(3)), None),
            (1000, None, None),
            // That it is spent is another alert.
            (500, Some(in_days(10)), None),
            (u64::MAX, Some(in_days(10)), None),
        ] {
            assert_eq!(spent.exceeds_early(limit, NOW, end), early, "{limit} {end:?}");
        }
        assert_eq!(Spent { so_far: 5, days: [0; 7] }.exceeds(10, NOW), None);
        assert_eq!(spent.exceeds(400, NOW), Some(NOW));
    }
}
