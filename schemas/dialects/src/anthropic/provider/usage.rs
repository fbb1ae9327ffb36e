//! Token counts out of Anthropic's `usage`: input tokens are outside of what the cache read and wrote, output tokens hold
//! those of thinking. What it took to sum a conversation up, or to ask an adviser, stands beside them.
//! Sources: <https://platform.claude.com/docs/en/api/messages#usage>,
//! <https://platform.claude.com/docs/en/build-with-claude/compaction#understanding-usage>.

use crate::provider::Observed;
use penstock_schemas::usage::Usage;
use serde_json::Value;

/// Counts as they are reported, a stream's later ones in the place of its earlier ones.
#[derive(Debug, Default)]
pub(super) struct Counts {
    input: Option<u64>,
    read: Option<u64>,
    written: Option<u64>,
    written_5m: Option<u64>,
    written_1h: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
    searches: Option<u64>,
    executions: Option<u64>,
    /// Whether it was served faster, or at a place that costs more.
    is_dearer: bool,
    /// Of the passes that the other counts do not hold: what they read, read of the cache and wrote into it, and said.
    beside: Option<[u64; 4]>,
}

/// Each pass but those that answer, added up.
fn beside(passes: &[Value]) -> [u64; 4] {
    const CLASSES: [&str; 4] =
        ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens"];
    let others = passes.iter().filter(|pass| pass["type"] != "message");
    others.fold([0; 4], |mut sum, pass| {
        for (sum, class) in sum.iter_mut().zip(CLASSES) {
            *sum += pass[class].as_u64().filter(|count| *count < 1 << 53).unwrap_or(0);
        }
        sum
    })
}

impl Counts {
    /// Notes what a `usage` object says; the counts of a stream's `message_delta` are cumulative.
    pub(super) fn note(&mut self, usage: &Value) {
        let set = |place: &mut Option<u64>, path: &[&str]| {
            // What is larger than any real count is none, so that sums cannot overflow.
            let value = path.iter().try_fold(usage, |value, name| value.get(name));
            if let Some(count) = value.and_then(Value::as_u64).filter(|count| *count < 1 << 53) {
                *place = Some(count);
            }
        };
        set(&mut self.input, &["input_tokens"]);
        set(&mut self.read, &["cache_read_input_tokens"]);
        set(&mut self.written, &["cache_creation_input_tokens"]);
        set(&mut self.written_5m, &["cache_creation", "ephemeral_5m_input_tokens"]);
        set(&mut self.written_1h, &["cache_creation", "ephemeral_1h_input_tokens"]);
        set(&mut self.output, &["output_tokens"]);
        set(&mut self.thinking, &["output_tokens_details", "thinking_tokens"]);
        set(&mut self.searches, &["server_tool_use", "web_search_requests"]);
        set(&mut self.executions, &["server_tool_use", "code_execution_requests"]);
        let word = |name: &str| usage.get(name).and_then(Value::as_str);
        let is_elsewhere = |place: &str| !matches!(place, "" | "global" | "not_available");
        self.is_dearer |= word("speed") == Some("fast") || word("inference_geo").is_some_and(is_elsewhere);
        if let Some(passes) = usage.get("iterations").and_then(Value::as_array) {
            self.beside = Some(beside(passes));
        }
    }

    /// The disjoint classes, if the input was counted.
    pub(super) fn observe(&self, observed: &mut Observed) {
        if self.input.is_none() && self.output.is_none() {
            return;
        }
        observed.is_dearer = self.is_dearer.then_some(true);
        let by_age = self.written_5m.unwrap_or(0) + self.written_1h.unwrap_or(0);
        let is_told_by_age = self.written_5m.is_some() || self.written_1h.is_some();
        let ages_agree = !is_told_by_age || self.written.is_none_or(|written| written == by_age);
        let (cache_write, cache_write_1h) =
            if is_told_by_age && ages_agree { (self.written_5m, self.written_1h) } else { (self.written, None) };
        let thinks_less = self.thinking.is_none_or(|thinking| thinking <= self.output.unwrap_or(0));
        let thinking = self.thinking.filter(|_| thinks_less);
        observed.usage_mismatch = !ages_agree || !thinks_less;
        let [input, read, written, output] = self.beside.unwrap_or_default();
        let with = |count: Option<u64>, more: u64| if more == 0 { count } else { Some(count.unwrap_or(0) + more) };
        observed.usage = Some(Usage {
            input: with(self.input, input),
            cache_read: with(self.read, read),
            cache_write: with(cache_write, written),
            cache_write_1h,
            output: with(self.output.map(|said| said - thinking.unwrap_or(0)), output),
            reasoning: thinking,
            searches: self.searches,
            code_executions: self.executions,
            ..Usage::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn observed(reports: &[Value]) -> (Value, bool) {
        let mut counts = Counts::default();
        reports.iter().for_each(|report| counts.note(report));
        let mut observed = Observed::default();
        counts.observe(&mut observed);
        (serde_json::to_value(observed.usage).unwrap(), observed.usage_mismatch)
    }

    #[test]
    fn counts_are_disjoint_and_later_ones_count() {
        let whole = json!({"input_tokens": 10, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 5,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}, "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 4}, "server_tool_use": {"web_search_requests": 2}});
        let classes = json!({"input": 10, "cache_read": 5, "cache_write": 10, "cache_write_1h": 20, "output": 5,
            "reasoning": 4, "searches": 2});
        assert_eq!(observed(&[whole]), (classes, false));
        let start = json!({"input_tokens": 10, "cache_creation_input_tokens": 0, "output_tokens": 1});
        let end = json!({"output_tokens": 12, "cache_read_input_tokens": null});
        assert_eq!(observed(&[start, end]), (json!({"input": 10, "cache_write": 0, "output": 12}), false));
    }

    #[test]
    fn figures_that_contradict_each_other_are_flagged_and_charged_in_full() {
        let ages = json!({"input_tokens": 1, "cache_creation_input_tokens": 9, "output_tokens": 2,
            "cache_creation": {"ephemeral_5m_input_tokens": 1}});
        assert_eq!(observed(&[ages]), (json!({"input": 1, "cache_write": 9, "output": 2}), true));
        let thinking = json!({"input_tokens": 1, "output_tokens": 2, "output_tokens_details": {"thinking_tokens": 3}});
        assert_eq!(observed(&[thinking]), (json!({"input": 1, "output": 2}), true));
        assert_eq!(observed(&[json!({"input_tokens": -1}), json!(null), json!("x")]), (json!(null), false));
    }

    #[test]
    fn what_it_took_to_sum_a_conversation_up_counts_too() {
        let passes = json!([
            { "type": "compaction", "input_tokens": 18000, "cache_creation_input_tokens": 7, "output_tokens": 350 },
            { "type": "message", "input_tokens": 10, "output_tokens": 5 },
            { "type": "compaction", "input_tokens": 2000, "cache_read_input_tokens": 3, "output_tokens": -1 },
        ]);
        let whole = json!({ "input_tokens": 10, "output_tokens": 5, "iterations": passes });
        let counted = json!({ "input": 20010, "cache_read": 3, "cache_write": 7, "output": 355 });
        assert_eq!(observed(std::slice::from_ref(&whole)), (counted.clone(), false));
        // A stream's are cumulative.
        assert_eq!(observed(&[whole.clone(), whole]), (counted, false));
        let alone = json!({ "input_tokens": 10, "output_tokens": 5, "iterations": [{ "type": "message", "output_tokens": 5 }] });
        assert_eq!(observed(&[alone]), (json!({ "input": 10, "output": 5 }), false));
    }
}
