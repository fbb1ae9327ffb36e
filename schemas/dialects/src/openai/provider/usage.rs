//! Token counts out of a `usage` object, as OpenAI and its copies spell them. Knows nothing of prices.
//! Sources: <https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage>, and where a copy differs,
//! beside the field.

use penstock_schemas::chat::{CompletionUsage, OutputDetails, PromptDetails};
use penstock_schemas::money::Picodollars;
use penstock_schemas::usage::Usage;
use serde_json::{Map, Value};

/// Counts, and whether the provider's figures agree with each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Disjoint classes.
    pub(super) usage: Usage,
    /// A part is larger than its whole, or the classes do not add up to the provider's own total.
    pub(super) mismatch: bool,
}

/// Reads a usage object; `None` when it holds no count of the input.
pub(super) fn read(value: &Value) -> Option<Read> {
    let count = |places: &[&str]| places.iter().find_map(|place| whole_number(at(value, place)?));
    // Gateways in front of others' models hand their words on: https://docs.anthropic.com/en/api/messages.
    let prompt = count(&["prompt_tokens", "input_tokens"])?;
    let completion = count(&["completion_tokens", "output_tokens"]).unwrap_or(0);
    let total = count(&["total_tokens"]).filter(|total| *total > 0);
    let reasoning = count(&["completion_tokens_details/reasoning_tokens", "reasoning_tokens"]);
    let cached = count(&[
        "prompt_tokens_details/cached_tokens",
        "prompt_cache_hit_tokens", // DeepSeek: https://api-docs.deepseek.com/guides/kv_cache
        "cached_tokens",           // Moonshot
        "num_cached_tokens",       // Mistral: https://docs.mistral.ai/api/endpoint/chat
    ]);
    // Some count what the cache gave beside the prompt instead of in it, which shows in their totals.
    let written = completion + reasoning_outside(prompt, completion, reasoning, total);
    let beside = cached.filter(|cached| *cached > 0 && total == Some(prompt + cached + written)).unwrap_or(0);
    let prompt = prompt + beside;
    let counts = CompletionUsage {
        prompt_tokens: prompt,
        completion_tokens: written,
        total_tokens: total.unwrap_or(0),
        prompt_tokens_details: Some(PromptDetails {
            cached_tokens: cached,
            cache_write_tokens: count(&[
                "prompt_tokens_details/cache_write_tokens", // OpenRouter: https://openrouter.ai/docs/use-cases/usage-accounting
                "prompt_tokens_details/cache_creation_input_tokens", // Alibaba's model studio
            ]),
            audio_tokens: count(&["prompt_tokens_details/audio_tokens"]),
            extra: Map::new(),
        }),
        completion_tokens_details: Some(OutputDetails {
            reasoning_tokens: reasoning,
            audio_tokens: count(&["completion_tokens_details/audio_tokens"]),
            extra: Map::new(),
        }),
        extra: Map::new(),
    };
    let classes = counts.classes();
    let totals = Usage { input: Some(prompt), output: Some(counts.completion_tokens), ..Usage::default() };
    let mut usage = classes.unwrap_or(totals);
    usage.searches = count(&["num_search_queries"]); // Perplexity: https://docs.perplexity.ai/getting-started/pricing
    let adds_up = total.is_none_or(|total| total == usage.input_total() + usage.output_total());
    Some(Read { usage, mismatch: classes.is_none() || !adds_up })
}

/// What an answer costs in dollars, as OpenRouter says it. With a key of the operator's own at the provider behind it, that is its
/// fee alone, and what that provider charges is beside it.
/// Sources: <https://openrouter.ai/docs/use-cases/usage-accounting>, <https://github.com/tailcallhq/forgecode/issues/1641>.
pub(super) fn cost(usage: &Value) -> Option<Picodollars> {
    let dollars = |place| at(usage, place).and_then(Value::as_f64).and_then(Picodollars::of_dollars);
    let cost = dollars("cost")?;
    let behind = dollars("cost_details/upstream_inference_cost").filter(|_| usage["is_byok"] == true);
    Some(cost + behind.unwrap_or_default())
}

/// Whether a usage has the members and types that OpenAI's has; one that is not there is `null`.
pub(super) fn is_spelt(usage: &Value) -> bool {
    let Value::Object(fields) = usage else { return usage.is_null() };
    let is_count = |name: &&str| fields.get(*name).is_some_and(Value::is_u64);
    let is_part = |name: &&str| match fields.get(*name) {
        None | Some(Value::Null) => true,
        Some(Value::Object(parts)) => parts.values().all(|part| !part.is_null() && !part.is_f64()),
        Some(_) => false,
    };
    COUNTS.iter().all(is_count) && PARTS.iter().all(is_part)
}

/// A usage with the members and types that OpenAI's has, and what else is in it; `None` when it holds no count.
pub(super) fn spelt(usage: &Value) -> Option<Value> {
    let Value::Object(mut fields) = usage.clone() else { return None };
    let count = |name: &str| fields.get(name).and_then(whole_number);
    let prompt = count("prompt_tokens").or_else(|| count("input_tokens"))?;
    let completion = count("completion_tokens").or_else(|| count("output_tokens")).unwrap_or(0);
    let total = count("total_tokens").unwrap_or(prompt + completion);
    for (name, tokens) in COUNTS.iter().zip([prompt, completion, total]) {
        fields.insert((*name).to_owned(), tokens.into());
    }
    for name in PARTS {
        match fields.get_mut(name) {
            None | Some(Value::Null) => {}
            Some(Value::Object(parts)) => {
                parts.retain(|_, part| !part.is_null());
                for part in parts.values_mut().filter(|part| part.is_f64()) {
                    *part = whole_number(part).into();
                }
            }
            Some(_) => drop(fields.shift_remove(name)),
        }
    }
    Some(Value::Object(fields))
}

/// The counts of a usage, and their parts.
const COUNTS: [&str; 3] = ["prompt_tokens", "completion_tokens", "total_tokens"];
const PARTS: [&str; 2] = ["prompt_tokens_details", "completion_tokens_details"];

/// The reasoning tokens that `completion` does not hold. OpenAI counts them in it; xAI and Google's copy do not, which
/// shows in their totals, or in a part that is larger than its whole.
fn reasoning_outside(prompt: u64, completion: u64, reasoning: Option<u64>, total: Option<u64>) -> u64 {
    let reasoning = reasoning.unwrap_or(0);
    let is_outside = match total {
        Some(total) => total == prompt + completion + reasoning,
        None => reasoning > completion,
    };
    if is_outside { reasoning } else { 0 }
}

/// The value at a place such as `prompt_tokens_details/cached_tokens`; `Value::pointer` would allocate for each name.
pub(super) fn at<'a>(value: &'a Value, place: &str) -> Option<&'a Value> {
    place.split('/').try_fold(value, |value, name| value.get(name))
}

/// A count; some copies write it as a float. What is larger than any real one is none, so that sums cannot overflow.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie within the exact integers")]
pub(crate) fn whole_number(value: &Value) -> Option<u64> {
    let number = value.as_f64().filter(|number| (0.0..9e15).contains(number))?;
    value.as_u64().or(Some(number.round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn usage(value: &Value) -> (Value, bool) {
        let read = read(value).unwrap();
        (serde_json::to_value(read.usage).unwrap(), read.mismatch)
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    #[test]
    fn each_spelling_of_the_counts_gives_disjoint_classes() {
        for (what, spelt, classes) in [
            (
                "plain",
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}),
                json!({"input": 10, "output": 5}),
            ),
            (
                "details are parts",
                json!({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
                    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 6},
                    "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 0, "accepted_prediction_tokens": 0}}),
                json!({"input": 30, "cache_read": 64, "input_audio": 6, "output": 20, "reasoning": 30, "output_audio": 0}),
            ),
            (
                "details of null",
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": null,
                    "completion_tokens_details": {"reasoning_tokens": null}}),
                json!({"input": 10, "output": 5}),
            ),
            (
                "hits and misses of the cache",
                json!({"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15,
                    "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 4}),
                json!({"input": 4, "cache_read": 8, "output": 3}),
            ),
            (
                "reasoning outside of the completion",
                json!({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
                    "completion_tokens_details": {"reasoning_tokens": 94}}),
                json!({"input": 32, "output": 9, "reasoning": 94}),
            ),
            (
                "reasoning outside, without a total",
                json!({"prompt_tokens": 32, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 94}}),
                json!({"input": 32, "output": 9, "reasoning": 94}),
            ),
            (
                "written to the cache",
                json!({"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101,
                    "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 70}}),
                json!({"input": 10, "cache_read": 20, "cache_write": 70, "output": 1}),
            ),
            (
                "cached tokens beside the prompt, as the total says",
                json!({"prompt_tokens": 4142, "completion_tokens": 100, "total_tokens": 8570,
                    "prompt_tokens_details": {"cached_tokens": 4328}}),
                json!({"input": 4142, "cache_read": 4328, "output": 100}),
            ),
            (
                "cached tokens beside a prompt that is longer, as the total says",
                json!({"prompt_tokens": 5000, "completion_tokens": 100, "total_tokens": 9100,
                    "prompt_tokens_details": {"cached_tokens": 4000}}),
                json!({"input": 5000, "cache_read": 4000, "output": 100}),
            ),
            (
                "floats, and searches",
                json!({"prompt_tokens": 10.0, "completion_tokens": 5.0, "total_tokens": 15, "num_search_queries": 2}),
                json!({"input": 10, "output": 5, "searches": 2}),
            ),
        ] {
            assert_eq!(usage(&spelt), (classes, false), "{what}");
        }
    }

    #[test]
    fn figures_that_contradict_each_other_are_flagged_and_charged_in_full() {
        let cached =
            json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 11}});
        assert_eq!(usage(&cached), (json!({"input": 10, "output": 5}), true));
        let total = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 16});
        assert_eq!(usage(&total), (json!({"input": 10, "output": 5}), true));
    }

    #[test]
    fn what_holds_no_count_is_no_usage() {
        for value in [
            json!(null),
            json!({}),
            json!("12"),
            json!({"prompt_tokens": null}),
            json!({"prompt_tokens": -1}),
            json!({"prompt_tokens": u64::MAX}),
        ] {
            assert_eq!(read(&value), None, "{value}");
        }
    }
}
