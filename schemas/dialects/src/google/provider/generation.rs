//! The `generationConfig`: sampling, limits, shape of the answer.
//! Source: <https://ai.google.dev/api/generate-content#generationconfig>.

use super::speech::speech_config;
use super::{schema, thinking};
use crate::fit::{Fit, is_nothing, wrong};
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

/// The most sequences at which an answer stops. Source: as above, `stopSequences`.
const MOST_STOPS: usize = 5;

/// Takes the fields that it knows out of the request.
pub(super) fn config(request: &mut ChatRequest, model: &str, fit: &mut Fit) -> Result<Map<String, Value>, Failure> {
    let mut config = Map::new();
    for (name, theirs, is_whole) in NUMBERS {
        match request.extra.remove(name) {
            None | Some(Value::Null) => {}
            Some(value) if is_nothing(name, &value) => {}
            // Sampling is a hint: what does not fit into Google's 32 bits is left out.
            Some(Value::Number(number))
                if name == "seed" && number.as_i64().is_none_or(|seed| i32::try_from(seed).is_err()) =>
            {
                fit.omit(name);
            }
            Some(Value::Number(number)) if !is_whole || !number.is_f64() => {
                config.insert(theirs.to_owned(), number.into());
            }
            Some(_) => {
                return Err(wrong(name, if is_whole { "it must be a whole number" } else { "it must be a number" }));
            }
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
    if let Some(stop) = stop(request.extra.remove("stop"), fit)? {
        config.insert("stopSequences".to_owned(), stop);
    }
    if let Some(modalities) = modalities(request, fit)? {
        config.insert("responseModalities".to_owned(), modalities);
    }
    if let Some(voice) = voice(request, fit)? {
        config.insert("speechConfig".to_owned(), voice);
    }
    if let Some(format) = request.response_format.take() {
        shape(&format, &mut config, fit)?;
    }
    if let Some(thinking) = thinking::config(request, model, fit)? {
        config.insert("thinkingConfig".to_owned(), thinking);
    }
    Ok(config)
}

fn stop(stop: Option<Value>, fit: &mut Fit) -> Result<Option<Value>, Failure> {
    let all = match stop {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(all)) => all,
        Some(one) => vec![one],
    };
    if !all.iter().all(Value::is_string) {
        return Err(wrong("stop", "it must be a text or a list of texts"));
    }
    let mut all: Vec<Value> = all.into_iter().filter(|stop| stop != "").collect();
    if all.len() > MOST_STOPS {
        fit.cannot("stop", "the provider takes 5 at most")?;
        all.truncate(MOST_STOPS);
    }
    Ok((!all.is_empty()).then_some(Value::Array(all)))
}

/// Text, images, or what the model says aloud.
fn modalities(request: &mut ChatRequest, fit: &mut Fit) -> Result<Option<Value>, Failure> {
    let Some(asked) = request.extra.remove("modalities").filter(|asked| !asked.is_null()) else { return Ok(None) };
    let words = asked.as_array().and_then(|all| all.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    let words = words.ok_or_else(|| wrong("modalities", "it must be a list of texts"))?;
    if words.iter().any(|word| !matches!(*word, "text" | "image" | "audio")) {
        fit.cannot("modalities", "the provider answers in text, images and audio")?;
    }
    // Its models that speak do nothing else.
    if words.contains(&"audio") {
        return Ok(Some(json!(["AUDIO"])));
    }
    let has_image = words.contains(&"image");
    Ok(has_image.then(|| if words.contains(&"text") { json!(["TEXT", "IMAGE"]) } else { json!(["IMAGE"]) }))
}

/// Whose voice it is. What was said comes as samples, which OpenAI calls `pcm16`.
fn voice(request: &mut ChatRequest, fit: &mut Fit) -> Result<Option<Value>, Failure> {
    let Some(audio) = request.extra.remove("audio").filter(|audio| !audio.is_null()) else { return Ok(None) };
    if audio.get("format").is_some_and(|format| format != "pcm16") {
        fit.cannot("audio.format", "the provider speaks in `pcm16`; `audio/speech` gives `wav` too")?;
    }
    audio.get("voice").filter(|voice| !voice.is_null()).map(speech_config).transpose()
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
                    schema::alone(&mut schema, PLACE)?;
                    schema::adapt(&mut schema, PLACE).into_iter().for_each(|bound| fit.omit(bound));
                    config.insert("responseJsonSchema".to_owned(), schema);
                }
                Some(_) => return Err(wrong(PLACE, "it must be a JSON schema")),
            }
        }
        _ => return Err(wrong("response_format.type", "it must be text, json_object or json_schema")),
    }
    Ok(())
}

/// The shape of the answer in words, for a model that has none beside functions; the field is named.
pub(super) fn in_words(format: &Value, fit: &mut Fit) -> Result<Option<String>, Failure> {
    let shape = "answer with one JSON value and nothing else: no other text, no code fence.";
    let words = match format.get("type").and_then(Value::as_str) {
        None if format.is_null() => return Ok(None),
        Some("text") => return Ok(None),
        Some("json_object") => format!("When you call no tool, {shape}"),
        Some("json_schema") => match format.get("json_schema").and_then(|named| named.get("schema")) {
            None | Some(Value::Null) => format!("When you call no tool, {shape}"),
            Some(schema) => format!("When you call no tool, {shape} It follows this JSON schema:\n{schema}"),
        },
        _ => return Err(wrong("response_format.type", "it must be text, json_object or json_schema")),
    };
    fit.omit("response_format");
    Ok(Some(words))
}
