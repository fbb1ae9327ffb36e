//! The counts in an answer: what is billed, which is not all that was processed.
//! Source: <https://docs.cohere.com/reference/chat#response.body.usage>.

use penstock_schemas::usage::Usage;
use serde_json::Value;

/// Reads `usage`, or `meta`: the billed units where there are any, else the tokens.
pub(super) fn read(value: &Value) -> Option<Usage> {
    let count = |of: &str, name: &str| value.get(of)?.get(name).and_then(whole_number);
    let tokens = |name: &str| count("billed_units", name).or_else(|| count("tokens", name));
    let usage = Usage {
        input: tokens("input_tokens"),
        input_image: count("billed_units", "image_tokens"),
        output: tokens("output_tokens"),
        searches: count("billed_units", "search_units"),
        images: None,
        ..Usage::default()
    };
    (usage != Usage::default()).then_some(usage)
}

/// They are written as floats.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie within the exact integers")]
fn whole_number(value: &Value) -> Option<u64> {
    let number = value.as_f64().filter(|number| (0.0..9e15).contains(number))?;
    value.as_u64().or(Some(number.round() as u64))
}
