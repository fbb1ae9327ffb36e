//! Token counts as Bedrock spells them: what the cache gave and took stands beside the input tokens, not in them.
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html>.

use crate::provider::Observed;
use penstock_schemas::usage::Usage;
use serde::Deserialize;

/// The counts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
    /// How much was written for how long.
    cache_details: Option<Vec<CacheDetail>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CacheDetail {
    ttl: Option<String>,
    input_tokens: Option<u64>,
}

impl TokenUsage {
    /// Adds the counts to what is known; nothing when the input was not counted.
    pub(super) fn observe(&self, observed: &mut Observed) {
        let Some(input) = self.input_tokens else { return };
        let counts = [
            self.input_tokens,
            self.output_tokens,
            self.total_tokens,
            self.cache_read_input_tokens,
            self.cache_write_input_tokens,
        ];
        // What is larger than any real count would overflow the sums.
        if counts.into_iter().flatten().any(|count| count > 1 << 53) {
            return;
        }
        let details = self.cache_details.as_deref().unwrap_or_default();
        let long = details.iter().filter(|detail| detail.ttl.as_deref() == Some("1h"));
        let long = long.map(|detail| detail.input_tokens.unwrap_or(0)).fold(0, u64::saturating_add);
        let written = self.cache_write_input_tokens;
        let usage = Usage {
            input: Some(input),
            output: self.output_tokens,
            cache_read: self.cache_read_input_tokens,
            cache_write: written.map(|written| written.saturating_sub(long)),
            cache_write_1h: Some(long.min(written.unwrap_or(0))).filter(|long| *long > 0),
            ..Usage::default()
        };
        let all = usage.input_total() + usage.output_total();
        let uncached = input + usage.output_total();
        // Some models' totals leave the cache out.
        let adds_up = self.total_tokens.is_none_or(|total| total == all || total == uncached);
        observed.usage = Some(usage);
        observed.usage_mismatch = !adds_up || long > written.unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn observed(usage: Value) -> (Value, bool) {
        let mut observed = Observed::default();
        serde_json::from_value::<TokenUsage>(usage).unwrap().observe(&mut observed);
        (serde_json::to_value(observed.usage).unwrap(), observed.usage_mismatch)
    }

    #[test]
    fn the_cache_stands_beside_the_input() {
        for (usage, classes, mismatch) in [
            (
                json!({"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}),
                json!({"input": 10, "output": 5}),
                false,
            ),
            (
                json!({"inputTokens": 10, "outputTokens": 5, "totalTokens": 135, "cacheReadInputTokens": 100,
                    "cacheWriteInputTokens": 20, "cacheDetails": [{"ttl": "1h", "inputTokens": 15}, {"ttl": "5m", "inputTokens": 5}]}),
                json!({"input": 10, "cache_read": 100, "cache_write": 5, "cache_write_1h": 15, "output": 5}),
                false,
            ),
            (
                json!({"inputTokens": 10, "outputTokens": 5, "totalTokens": 15, "cacheReadInputTokens": 100,
                    "cacheWriteInputTokens": 0}),
                json!({"input": 10, "cache_read": 100, "cache_write": 0, "output": 5}),
                false,
            ),
            (json!({"inputTokens": 10, "outputTokens": 5, "totalTokens": 16}), json!({"input": 10, "output": 5}), true),
            (json!({"outputTokens": 5}), json!(null), false),
            (json!({"inputTokens": u64::MAX, "outputTokens": 5}), json!(null), false),
        ] {
            assert_eq!(observed(usage.clone()), (classes, mismatch), "{usage}");
        }
    }
}
