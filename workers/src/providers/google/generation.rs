//! The `generationConfig`: sampling, limits, shape of the answer.
//! Source: <https://ai.google.dev/api/generate-content#generationconfig>.

use super::{schema, thinking};
use crate::providers::fit::{Fit, wrong};
use penstock_schemas::chat::ChatRequest;
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};

/// Numbers under our name and Google's; the last says whether they are whole.
const NUMBERS: [(&str, &str, bool); 7] = [
    ("temperature", "temperature", false),
    ("top_p", "topP", false),
    ("top_k", "topK", false), // a float in Vertex AI
    ("seed", "seed", true),
    ("presence_penalty", "presencePenalty", false),
    ("frequency_penalty", "frequencyPenalty", false),
    ("top_logprobs", "logprobs", true),
];

/// Takes the fields that it knows out of the request.
pub(super) fn config(request: &mut ChatRequest, model: &str, fit: &mut Fit) -> Result<Map<String, Value>, Failure> {
    let mut config = Map::new();
    for (name, theirs, is_whole) in NUMBERS {
        match request.extra.remove(name) {
            None | Some(Value::Null) => {}
            Some(Value::Number(number)) if !is_whole || !number.is_f64() => {
                config.insert(theirs.to_owned(), number.into());
            }
            Some(_) => {
                return Err(wrong(name, if is_whole { "it must be a whole number" } else { "it must be a number" }));
            }
        }
    }
    for penalty in ["presencePenalty", "frequencyPenalty"] {
        // Models without penalties refuse the field, also where it asks for nothing.
        if config.get(penalty).and_then(Value::as_f64) == Some(0.0) {
            config.shift_remove(penalty);
        }
    }
    match request.extra.remove("logprobs") {
        None | Some(Value::Null | Value::Bool(false)) => drop(config.shift_remove("logprobs")),
        Some(Value::Bool(true)) => drop(config.insert("responseLogprobs".to_owned(), true.into())),
        Some(_) => return Err(wrong("logprobs", "it must be true or false")),
    }
    if let Some(most) = request.max_completion_tokens.or(request.max_tokens) {
        config.insert("maxOutputTokens".to_owned(), most.into());
    }
    if let Some(n) = request.n.filter(|n| *n != 1) {
        config.insert("candidateCount".to_owned(), n.into());
    }
    if let Some(stop) = stop(request.extra.remove("stop"))? {
        config.insert("stopSequences".to_owned(), stop);
    }
    if let Some(modalities) = modalities(request, fit)? {
        config.insert("responseModalities".to_owned(), modalities);
    }
    if let Some(format) = request.response_format.take() {
        shape(&format, &mut config, fit)?;
    }
    if let Some(thinking) = thinking::config(request, model)? {
        config.insert("thinkingConfig".to_owned(), thinking);
    }
    Ok(config)
}

fn stop(stop: Option<Value>) -> Result<Option<Value>, Failure> {
    match stop {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(one)) => Ok(Some(json!([one]))),
        Some(Value::Array(all)) if all.iter().all(Value::is_string) => {
            Ok(Some(Value::Array(all)).filter(|all| *all != json!([])))
        }
        Some(_) => Err(wrong("stop", "it must be a text or a list of texts")),
    }
}

/// Text and images; what the model says aloud has no place in an answer here.
fn modalities(request: &mut ChatRequest, fit: &mut Fit) -> Result<Option<Value>, Failure> {
    let Some(asked) = request.extra.remove("modalities").filter(|asked| !asked.is_null()) else { return Ok(None) };
    let words = asked.as_array().and_then(|all| all.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    let words = words.ok_or_else(|| wrong("modalities", "it must be a list of texts"))?;
    if words.iter().any(|word| !matches!(*word, "text" | "image")) {
        fit.cannot("modalities", "the provider answers in text and images")?;
    }
    let has_image = words.contains(&"image");
    Ok(has_image.then(|| if words.contains(&"text") { json!(["TEXT", "IMAGE"]) } else { json!(["IMAGE"]) }))
}

/// The shape of the answer.
fn shape(format: &Value, config: &mut Map<String, Value>, fit: &mut Fit) -> Result<(), Failure> {
    const PLACE: &str = "response_format.json_schema.schema";
    let json_type = |config: &mut Map<String, Value>| {
        config.insert("responseMimeType".to_owned(), "application/json".into());
    };
    match format.get("type").and_then(Value::as_str) {
        None if format.is_null() => {}
        Some("text") => {}
        Some("json_object") => json_type(config),
        Some("json_schema") => {
            json_type(config);
            match format.get("json_schema").and_then(|named| named.get("schema")) {
                None | Some(Value::Null) => {}
                Some(schema) if schema.is_object() => {
                    let mut schema = schema.clone();
                    for unkept in schema::adapt(&mut schema, PLACE) {
                        fit.cannot(&unkept, "the provider would not keep to it")?;
                    }
                    config.insert("responseJsonSchema".to_owned(), schema);
                }
                Some(_) => return Err(wrong(PLACE, "it must be a JSON schema")),
            }
        }
        _ => return Err(wrong("response_format.type", "it must be text, json_object or json_schema")),
    }
    Ok(())
}
