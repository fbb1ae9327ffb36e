//! The question how traffic went over time, and its answer: for the admin API and the dashboard. Knows nothing of where the rows
//! are kept.

use crate::UnixMicros;
use crate::spend::{ReportReply, parse_time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Traffic between two times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityQuery {
    /// From when on.
    pub since: UnixMicros,
    /// Until when, exclusive.
    pub until: UnixMicros,
    /// Only of these projects; empty: of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<String>,
}

/// Steps that activity is counted in, in seconds: the first that makes at most [`MOST_STEPS`] of them.
const STEPS: [u64; 9] = [10, 60, 300, 900, 3_600, 10_800, 43_200, 86_400, 604_800];

/// The most steps of an [`ActivityReport`] of up to twenty years.
pub const MOST_STEPS: u64 = 121;

impl ActivityQuery {
    /// Reads the times as people write them; without them: the last hour.
    ///
    /// # Errors
    /// Says which part is wrong and what it may be.
    pub fn parse(since: Option<&str>, until: Option<&str>, now: UnixMicros) -> Result<Self, String> {
        let since = parse_time("since", since.unwrap_or("1h"), now)?;
        let until = until.map_or(Ok(now), |text| parse_time("until", text, now))?;
        if since >= until {
            return Err("`since` must be before `until`".to_owned());
        }
        Ok(Self { since, until, projects: Vec::new() })
    }

    /// The step that it is counted in, in seconds.
    pub fn step(&self) -> u64 {
        let seconds = self.until.0.saturating_sub(self.since.0) / 1_000_000;
        STEPS.into_iter().find(|step| seconds / step < MOST_STEPS).unwrap_or(STEPS[STEPS.len() - 1])
    }
}

/// The numbers of one step of time, or of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActivitySums {
    /// Requests that came.
    pub requests: u64,
    /// Of these, the ones that were refused, broke off, or that no provider answered; not the ones whose caller left.
    pub failed: u64,
    /// Of these, the ones that were answered by the cache, or by the same request of somebody else that was under way.
    pub cached: u64,
    /// Calls to providers.
    pub attempts: u64,
    /// Input tokens of all classes.
    pub input_tokens: u64,
    /// Output tokens of all classes.
    pub output_tokens: u64,
    /// Dollars, as an exact decimal.
    pub cost_usd: String,
    /// Dollars that answers from the cache would have cost, as an exact decimal.
    #[serde(default)]
    pub saved_usd: String,
    /// Until the first content went out, in microseconds; of half the requests and of 95 %. `None`: there was none.
    pub first_token_p50_us: Option<u64>,
    /// See above.
    pub first_token_p95_us: Option<u64>,
    /// Until the end of a whole answer, the same.
    pub total_p50_us: Option<u64>,
    /// See above.
    pub total_p95_us: Option<u64>,
}

/// One step of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActivityStep {
    /// When it begins, RFC 3339.
    pub at: String,
    /// Its numbers.
    #[serde(flatten)]
    pub sums: ActivitySums,
}

/// What calls to one target were like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetActivity {
    /// `provider/model`.
    pub target: String,
    /// Calls to it.
    pub attempts: u64,
    /// Of these, the ones that failed; not the ones whose caller left.
    pub failed: u64,
    /// Dollars, as an exact decimal.
    pub cost_usd: String,
    /// Until its first content, in microseconds; of half the calls and of 95 %.
    pub first_token_p50_us: Option<u64>,
    /// See above.
    pub first_token_p95_us: Option<u64>,
    /// Until the end of a whole answer, the same.
    pub total_p50_us: Option<u64>,
    /// See above.
    pub total_p95_us: Option<u64>,
}

/// Requests that failed for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureCount {
    /// The reason, such as `rate_limited`.
    pub failure: String,
    /// How many.
    pub requests: u64,
}

/// An answer from the bus to an [`ActivityQuery`].
pub type ActivityReply = ReportReply<ActivityReport>;

/// The answer to an [`ActivityQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActivityReport {
    /// From when on, RFC 3339.
    pub since: String,
    /// Until when, RFC 3339.
    pub until: String,
    /// How long a step is.
    pub step_seconds: u64,
    /// The steps in which something happened, the first first.
    pub steps: Vec<ActivityStep>,
    /// All of it.
    pub total: ActivitySums,
    /// By target, the one with the most calls first; at most 100.
    pub targets: Vec<TargetActivity>,
    /// By reason, the most frequent first.
    pub failures: Vec<FailureCount>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMicros = UnixMicros(1_795_374_000_000_000);

    #[test]
    fn a_step_makes_a_picture_of_every_time() {
        for since in ["10m", "1h", "1d", "7d", "30d", "365d", "3650d"] {
            let query = ActivityQuery::parse(Some(since), None, NOW).unwrap();
            let steps = (query.until.0 - query.since.0) / 1_000_000 / query.step();
            assert!((10..=MOST_STEPS * 5).contains(&steps), "{since}: {steps}");
        }
        assert_eq!(ActivityQuery::parse(None, None, NOW).unwrap().step(), 60);
    }
}
