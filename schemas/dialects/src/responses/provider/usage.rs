//! Token counts out of a response's `usage`, and the searches it paid for. Knows no prices.
//! Source: <https://platform.openai.com/docs/api-reference/responses/object#responses/object-usage>.

use super::answer::{self, list};
use crate::provider::Observed;
use penstock_schemas::chat::{CompletionUsage, OutputDetails, PromptDetails};
use penstock_schemas::usage::Usage;
use serde_json::{Map, Value};

/// Larger than any real count: what lies above is none, so that sums cannot overflow.
const ABSURD: u64 = 1 << 53;

/// Notes what a response says of itself besides its output; `searches` is how many of its items are web searches.
pub(super) fn observe(response: &Value, searches: u64, observed: &mut Observed) {
    let word = |name: &str| response.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(id) = word("id") {
        observed.provider_request_id = Some(id.to_owned());
    }
    if let Some(model) = word("model") {
        observed.model_version = Some(model.to_owned());
    }
    // What was asked for stands there while it runs; the last word counts.
    observed.note_tier(word("service_tier"));
    let cut = response.pointer("/incomplete_details/reason").and_then(Value::as_str);
    observed.finish_reason = cut.or(word("status").filter(|status| *status != "in_progress")).map(ToOwned::to_owned);
    list(response, "output").iter().for_each(|item| answer::note_tool(item, observed));
    let paid = response.pointer("/tool_usage/web_search/num_requests").and_then(Value::as_u64);
    let searches = paid.unwrap_or(searches);
    if let Some((mut usage, mismatch)) = response.get("usage").and_then(read) {
        let items = response.get("output").and_then(Value::as_array);
        let of_type = |wanted: &str| {
            let is_it = |item: &&Value| item.get("type").is_some_and(|kind| kind == wanted);
            Some(items?.iter().filter(is_it).count() as u64).filter(|count| *count > 0)
        };
        usage.searches = (searches > 0).then_some(searches);
        usage.code_executions = of_type("code_interpreter_call");
        usage.file_searches = of_type("file_search_call");
        // Made by another model, whose prices are none of this one's.
        usage.images = of_type("image_generation_call");
        (observed.usage, observed.usage_mismatch) = (Some(usage), mismatch);
    }
}

/// Disjoint classes, and whether the figures contradict each other.
fn read(usage: &Value) -> Option<(Usage, bool)> {
    let count = |place: &str| usage.pointer(place).and_then(Value::as_u64).filter(|count| *count < ABSURD);
    let cached = count("/input_tokens_details/cached_tokens");
    let total = count("/total_tokens").unwrap_or(0);
    let input = count("/input_tokens")?;
    // Some count what the cache gave beside the input instead of in it, which shows in their totals.
    let is_beside = |cached: &u64| *cached > 0 && total == input + cached + count("/output_tokens").unwrap_or(0);
    let prompt_tokens = input + cached.filter(is_beside).unwrap_or(0);
    let counts = CompletionUsage {
        prompt_tokens,
        completion_tokens: count("/output_tokens").unwrap_or(0),
        total_tokens: total,
        prompt_tokens_details: Some(PromptDetails {
            cached_tokens: cached,
            cache_write_tokens: count("/input_tokens_details/cache_write_tokens").filter(|count| *count > 0),
            audio_tokens: None,
            extra: Map::new(),
        }),
        completion_tokens_details: Some(OutputDetails {
            reasoning_tokens: count("/output_tokens_details/reasoning_tokens"),
            audio_tokens: None,
            extra: Map::new(),
        }),
        extra: Map::new(),
    };
    let classes = counts.classes();
    let totals = Usage { input: Some(prompt_tokens), output: Some(counts.completion_tokens), ..Usage::default() };
    let adds_up = counts.total_tokens == 0 || counts.total_tokens == prompt_tokens + counts.completion_tokens;
    Some((classes.unwrap_or(totals), classes.is_none() || !adds_up))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn images_that_a_tool_made_are_counted_beside_the_tokens() {
        let output = json!([{"type": "image_generation_call"}, {"type": "message"}, {"type": "image_generation_call"}]);
        let response = json!({"usage": {"input_tokens": 3, "output_tokens": 2}, "output": output});
        let mut observed = Observed::default();
        observe(&response, 0, &mut observed);
        let found = observed.usage.map(|usage| (usage.input, usage.output, usage.images));
        assert_eq!(found, Some((Some(3), Some(2), Some(2))));
    }
}
