//! What a provider's error object holds besides its message, type, code and parameter: Groq's `failed_generation`,
//! OpenRouter's `metadata`, Azure's `innererror`. Kept for callers, within bounds, and never with the key in it.
//! Sources: <https://console.groq.com/docs/structured-outputs#error-handling>,
//! <https://openrouter.ai/docs/api-reference/errors>,
//! <https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter#annotations>.

use crate::strike::strike;
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value};

/// The most that is kept, in bytes of JSON: a model's failed output may be long, and an error is to be read.
const MOST: usize = 16 * 1024;

/// What the agnostic form has a place for.
const KNOWN: [&str; 5] = ["message", "type", "code", "param", "request_id"];

/// The other members of the error object; nothing where there are none that hold anything.
pub fn of(answer: &Value, key: Option<&str>) -> Option<Box<Map<String, Value>>> {
    let answer = answer.get(0).unwrap_or(answer);
    let error = answer.get("error").and_then(Value::as_object)?;
    let mut left = MOST;
    let mut details = Map::new();
    for (name, value) in error.iter().filter(|(name, value)| !KNOWN.contains(&name.as_str()) && !value.is_null()) {
        let length = name.len() + value.to_string().len();
        if length <= left {
            left -= length;
            details.insert(strike(name, key), clean(value, key));
        }
    }
    (!details.is_empty()).then(|| Box::new(details))
}

/// Strikes the key out of what a provider says of a failure, however it came to say it.
pub fn strike_failure(failure: &mut Failure, key: Option<&str>) {
    failure.message = strike(&failure.message, key);
    for text in [&mut failure.param, &mut failure.provider_code].into_iter().flatten() {
        *text = strike(text, key);
    }
    if let Some(details) = &mut failure.details {
        **details = without(details, key);
    }
}

/// The details without the key, wherever it is quoted.
fn without(details: &Map<String, Value>, key: Option<&str>) -> Map<String, Value> {
    details.iter().map(|(name, value)| (strike(name, key), clean(value, key))).collect()
}

/// The value without the key, wherever it is quoted.
fn clean(value: &Value, key: Option<&str>) -> Value {
    match value {
        Value::String(text) => strike(text, key).into(),
        Value::Array(items) => items.iter().map(|item| clean(item, key)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (strike(name, key), clean(value, key))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::failure::FailureKind;
    use serde_json::json;

    #[test]
    fn what_has_no_place_of_its_own_is_kept_without_the_key_and_within_bounds() {
        let found = |error: Value| of(&json!({ "error": error }), Some("sk-secret-1234")).map(|found| json!(found));
        let failed = json!({"message": "m", "code": "json_validate_failed", "failed_generation": "{\"a\":"});
        assert_eq!(found(failed), Some(json!({"failed_generation": "{\"a\":"})));
        let nested =
            json!({"message": "m", "metadata": {"raw": "key sk-secret-1234 is bad", "n": [1, null]}, "x": null});
        assert_eq!(found(nested), Some(json!({"metadata": {"raw": "key *** is bad", "n": [1, null]}})));
        let named = json!({"sk-secret-1234": {"sk-secret-1234": true}});
        assert_eq!(found(named), Some(json!({"***": {"***": true}})));
        assert_eq!(found(json!({"message": "m", "type": "t", "param": null, "code": 3})), None);
        assert_eq!(found(json!({"long": "x".repeat(MOST), "short": 1})), Some(json!({"short": 1})));
        assert_eq!(of(&json!({"message": "m", "error": "e"}), None), None);
        assert_eq!(
            of(&json!([{"error": {"details": []}}]), None),
            Some(Box::new(Map::from_iter([("details".to_owned(), json!([]))])))
        );
    }

    #[test]
    fn a_key_is_struck_out_of_every_part_of_a_failure() {
        let details = json!({ "raw": ["sk-secret-1234"], "sk-secret-1234": 1 });
        let mut failure = Failure {
            param: Some("sk-secret-1234".to_owned()),
            provider_code: Some("sk-secret-1234".to_owned()),
            details: details.as_object().cloned().map(Box::new),
            ..Failure::provider(FailureKind::Broken, "bad key sk-secret-1234")
        };
        strike_failure(&mut failure, Some("sk-secret-1234"));
        assert_eq!(failure.message, "bad key ***");
        assert!(!serde_json::to_string(&failure).unwrap().contains("sk-secret"), "{failure:?}");
    }
}
