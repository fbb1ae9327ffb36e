//! Whether an answer is as Google's reference has it, and what it says: its texts, its thoughts, and why it ended. Knows nothing
//! of who wrote it. Source: <https://ai.google.dev/api/generate-content#generatecontentresponse>.

use super::chunks;
use serde_json::{Value, json};

/// What is wrong with it, and what it says.
pub(super) fn read(bytes: &[u8], is_stream: bool) -> (Vec<String>, Value) {
    let pieces = if is_stream { chunks(bytes) } else { vec![serde_json::from_slice(bytes).expect("it is JSON")] };
    let (mut faults, mut text, mut thought, mut reason) = (Vec::new(), String::new(), String::new(), Value::Null);
    for piece in &pieces {
        for candidate in piece["candidates"].as_array().into_iter().flatten() {
            for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
                let said = if part["thought"] == true { &mut thought } else { &mut text };
                said.push_str(part["text"].as_str().unwrap_or_default());
            }
            match &candidate["finishReason"] {
                Value::Null => {}
                word => reason = word.clone(),
            }
        }
    }
    if !reason.as_str().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')) {
        faults.push(format!("/finishReason is {reason}"));
    }
    (faults, json!({ "text": text, "thought": thought, "finishReason": reason }))
}
