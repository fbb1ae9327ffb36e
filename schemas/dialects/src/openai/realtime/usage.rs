//! Token counts of a response in a session. Source: `RealtimeResponseUsage` in openai-python: the parts are text, audio and
//! images, each with its cached tokens.

use crate::openai::provider::usage::whole_number;
use penstock_schemas::usage::Usage;
use serde_json::Value;

/// Disjoint classes, and whether the provider's figures contradict each other; then the totals alone. `None` when it holds
/// no count of the input.
pub fn read(value: &Value) -> Option<(Usage, bool)> {
    let count = |place: &str| value.pointer(place).and_then(whole_number);
    let (input, output) = (count("/input_tokens")?, count("/output_tokens").unwrap_or(0));
    let of_input = |part: &str| count(&format!("/input_token_details/{part}"));
    let of_cache = |part: &str| count(&format!("/input_token_details/cached_tokens_details/{part}"));
    let cached = of_input("cached_tokens");
    let totals = Usage { input: Some(input), output: Some(output), ..Usage::default() };
    let (audio, images) = (of_input("audio_tokens"), of_input("image_tokens"));
    let (cached_audio, cached_images) = (of_cache("audio_tokens").unwrap_or(0), of_cache("image_tokens").unwrap_or(0));
    let classes = || {
        // Images from the cache cost more than other input from it: they stay images.
        let cached = match cached {
            None => None,
            Some(all) => Some(all.checked_sub(cached_images)?),
        };
        let input_audio = match audio {
            None => None,
            Some(all) => Some(all.checked_sub(cached_audio)?),
        };
        let text = input.checked_sub(cached.unwrap_or(0) + input_audio.unwrap_or(0) + images.unwrap_or(0))?;
        let output_audio = count("/output_token_details/audio_tokens");
        let written = output.checked_sub(output_audio.unwrap_or(0))?;
        let (input, cache_read, output) = (Some(text), cached, Some(written));
        Some(Usage { input, cache_read, input_audio, input_image: images, output, output_audio, ..Usage::default() })
    };
    let is_told_right = of_input("text_tokens")
        .is_none_or(|text| text.saturating_add(audio.unwrap_or(0)).saturating_add(images.unwrap_or(0)) == input);
    let adds_up = count("/total_tokens").is_none_or(|total| total == input.saturating_add(output));
    match classes() {
        Some(usage) => Some((usage, !(adds_up && is_told_right))),
        None => Some((totals, true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_parts_of_a_response_are_disjoint() {
        let usage = json!({
            "total_tokens": 253, "input_tokens": 132, "output_tokens": 121,
            "input_token_details": { "text_tokens": 109, "audio_tokens": 13, "image_tokens": 10, "cached_tokens": 64,
                "cached_tokens_details": { "text_tokens": 57, "audio_tokens": 4, "image_tokens": 3 } },
            "output_token_details": { "text_tokens": 30, "audio_tokens": 91 },
        });
        let (read, mismatch) = read(&usage).unwrap();
        let classes = json!({ "input": 52, "cache_read": 61, "input_audio": 9, "input_image": 10, "output": 30, "output_audio": 91 });
        assert_eq!((serde_json::to_value(read).unwrap(), mismatch), (classes, false));
        assert_eq!((read.input_total(), read.output_total()), (132, 121));
    }

    #[test]
    fn figures_that_contradict_each_other_are_charged_in_full_and_flagged() {
        for (usage, classes) in [
            (json!({ "input_tokens": 5, "output_tokens": 2, "total_tokens": 9 }), json!({ "input": 5, "output": 2 })),
            (
                json!({ "input_tokens": 5, "output_tokens": 2, "input_token_details": { "cached_tokens": 6 } }),
                json!({ "input": 5, "output": 2 }),
            ),
            (
                json!({ "input_tokens": 5, "output_tokens": 2, "output_token_details": { "audio_tokens": 3 } }),
                json!({ "input": 5, "output": 2 }),
            ),
        ] {
            let (read, mismatch) = read(&usage).unwrap();
            assert_eq!((serde_json::to_value(read).unwrap(), mismatch), (classes, true), "{usage}");
        }
        for none in [json!(null), json!({}), json!({ "output_tokens": 1 })] {
            assert_eq!(read(&none), None);
        }
    }
}
