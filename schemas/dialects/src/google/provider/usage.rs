//! Token counts out of `usageMetadata`. Thoughts are outside the candidates, cached tokens inside the prompt, and what a
//! server tool fed to the model is outside the prompt. Knows nothing of prices.
//! Source: <https://ai.google.dev/api/generate-content#UsageMetadata>.

use crate::provider::Observed;
use penstock_schemas::usage::Usage;
use serde_json::Value;

/// Notes the counts; a stream's last ones are the whole stream's.
pub(super) fn observe(metadata: &Value, observed: &mut Observed) {
    if let Some(tier) = tier(metadata) {
        observed.note_tier(Some(tier));
    }
    let count = |name: &str| metadata.get(name).and_then(Value::as_u64).filter(|count| *count < 1 << 50);
    let Some(prompt) = count("promptTokenCount") else { return };
    let (tools, cached) = (count("toolUsePromptTokenCount"), count("cachedContentTokenCount"));
    let (candidates, thoughts) = (count("candidatesTokenCount"), count("thoughtsTokenCount"));
    let total = count("totalTokenCount").filter(|total| *total > 0);
    let input = prompt + tools.unwrap_or(0);
    let all = input + candidates.unwrap_or(0) + thoughts.unwrap_or(0);
    // Copies of this dialect have been seen to count the thoughts twice; their total tells.
    let inside = total.is_some_and(|total| total != all && total == input + candidates.unwrap_or(0));
    let text = if inside { candidates.unwrap_or(0).checked_sub(thoughts.unwrap_or(0)) } else { candidates };
    let audio = modality(metadata, "promptTokensDetails", "AUDIO");
    let cached_audio = modality(metadata, "cacheTokensDetails", "AUDIO").unwrap_or(0);
    let spoken = modality(metadata, "candidatesTokensDetails", "AUDIO");
    let fresh_audio = audio.map(|audio| audio.saturating_sub(cached_audio));
    let fresh = input.checked_sub(cached.unwrap_or(0)).and_then(|left| left.checked_sub(fresh_audio.unwrap_or(0)));
    let written = text.unwrap_or(0).checked_sub(spoken.unwrap_or(0));
    let searches = observed.usage.and_then(|usage| usage.searches);
    observed.usage_mismatch =
        fresh.is_none() || written.is_none() || total.is_some_and(|total| !inside && total != all);
    observed.usage = Some(if fresh.is_none() || written.is_none() {
        let output = Some(candidates.unwrap_or(0) + thoughts.unwrap_or(0));
        Usage { input: Some(input), output, searches, ..Usage::default() }
    } else {
        Usage {
            input: fresh,
            cache_read: cached,
            input_audio: fresh_audio,
            output: written,
            reasoning: thoughts,
            output_audio: spoken,
            searches,
            ..Usage::default()
        }
    });
}

/// The tier that it was served at, in OpenAI's words.
/// Sources: <https://github.com/vercel/ai/pull/15488>, <https://github.com/theopenco/llmgateway/pull/2549>.
fn tier(metadata: &Value) -> Option<&'static str> {
    let said = ["serviceTier", "trafficType"].iter().find_map(|name| metadata.get(name)?.as_str())?;
    let said = said.to_ascii_lowercase();
    Some(match said.trim_start_matches("service_tier_").trim_start_matches("on_demand_") {
        "flex" => "flex",
        "priority" => "priority",
        _ => "default",
    })
}

/// The tokens of one modality, which a gateway between may name twice or in small letters.
fn modality(metadata: &Value, field: &str, name: &str) -> Option<u64> {
    let is_named = |count: &&Value| {
        count.get("modality").and_then(Value::as_str).is_some_and(|modality| modality.eq_ignore_ascii_case(name))
    };
    let counts = metadata.get(field)?.as_array()?.iter().filter(is_named);
    let counts = counts.filter_map(|count| count.get("tokenCount")?.as_u64()).filter(|count| *count < 1 << 50);
    counts.reduce(|one, other| one.saturating_add(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(metadata: &Value) -> (Value, bool) {
        let mut observed = Observed::default();
        observe(metadata, &mut observed);
        (json!(observed.usage), observed.usage_mismatch)
    }

    #[test]
    fn each_class_is_counted_once() {
        for (metadata, classes, mismatch) in [
            (
                json!({"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}),
                json!({"input": 10, "output": 5}),
                false,
            ),
            (
                json!({"promptTokenCount": 100, "cachedContentTokenCount": 64, "toolUsePromptTokenCount": 7,
                    "candidatesTokenCount": 5, "thoughtsTokenCount": 30, "totalTokenCount": 142}),
                json!({"input": 43, "cache_read": 64, "output": 5, "reasoning": 30}),
                false,
            ),
            (
                json!({"promptTokenCount": 100, "cachedContentTokenCount": 50, "totalTokenCount": 100,
                    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 40}, {"modality": "AUDIO", "tokenCount": 60}],
                    "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 20}]}),
                json!({"input": 10, "cache_read": 50, "input_audio": 40, "output": 0}),
                false,
            ),
            (
                json!({"promptTokenCount": 10, "candidatesTokenCount": 50, "thoughtsTokenCount": 30, "totalTokenCount": 60}),
                json!({"input": 10, "output": 20, "reasoning": 30}),
                false,
            ),
            (
                json!({"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 99}),
                json!({"input": 10, "output": 5}),
                true,
            ),
            (
                json!({"promptTokenCount": 10, "cachedContentTokenCount": 11, "candidatesTokenCount": 5}),
                json!({"input": 10, "output": 5}),
                true,
            ),
            (json!({"totalTokenCount": 99}), json!(null), false),
        ] {
            assert_eq!(read(&metadata), (classes, mismatch), "{metadata}");
        }
    }

    #[test]
    fn the_tier_that_an_answer_was_served_at_is_noted_and_costs_what_it_does() {
        for (name, said, is_flex, is_dearer) in [
            ("serviceTier", "flex", true, Some(false)),
            ("serviceTier", "SERVICE_TIER_PRIORITY", false, Some(true)),
            ("serviceTier", "standard", false, Some(false)),
            ("trafficType", "ON_DEMAND_FLEX", true, Some(false)),
            ("trafficType", "ON_DEMAND_PRIORITY", false, Some(true)),
            ("trafficType", "ON_DEMAND", false, Some(false)),
            ("other", "flex", false, None),
        ] {
            let mut observed = Observed::default();
            observe(&json!({"promptTokenCount": 1, name: said}), &mut observed);
            assert_eq!((observed.is_flex, observed.is_dearer), (is_flex, is_dearer), "{name} {said}");
        }
    }

    #[test]
    fn a_modality_that_is_named_twice_or_in_small_letters_counts_whole() {
        let metadata = json!({"d": [{"modality": "TEXT", "tokenCount": 4}, {"modality": "AUDIO", "tokenCount": 2},
            {"modality": "audio", "tokenCount": 3}]});
        let of = |name: &str| modality(&metadata, "d", name);
        assert_eq!((of("AUDIO"), of("TEXT"), of("IMAGE")), (Some(5), Some(4), None));
    }
}
