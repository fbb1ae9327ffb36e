//! Embeddings: OpenAI's request as Cohere's, and Cohere's vectors as OpenAI's.
//! Source: <https://docs.cohere.com/reference/embed>.

use super::answer::broken;
use super::usage;
use crate::fit::{Fit, wrong};
use crate::provider::{FormatRequest, Observed, RequestPath, Spelled, Whole, json_headers};
use bytes::Bytes;
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};

/// What the texts are for, when the caller does not say: Cohere's models want to know.
const INPUT_TYPE: &str = "search_document";

/// The request for `embed`.
pub(super) fn spell(ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
    let mut request: Map<String, Value> =
        serde_json::from_slice(ask.body).map_err(|error| wrong("input", &error.to_string()))?;
    let mut fit = Fit::new(ask.unsupported);
    let is_taken = |input: &Value| input.is_string() || input["content"].is_array();
    let texts = match request.shift_remove("input") {
        Some(input) if is_taken(&input) => vec![input],
        Some(Value::Array(inputs)) if inputs.iter().all(is_taken) => inputs,
        Some(Value::Array(_)) => return Err(crate::provider::unsupported("input", "Cohere takes texts, no tokens")),
        _ => return Err(wrong("input", "it must be a text or a list of texts")),
    };
    let encoding = request.shift_remove("encoding_format");
    let kind = if encoding.is_some_and(|encoding| encoding == "base64") { "base64" } else { "float" };
    let mut out = Map::new();
    out.insert("model".to_owned(), ask.model.as_str().into());
    if texts.iter().all(|input| input.as_str().is_some_and(|text| !is_image(text))) {
        out.insert("texts".to_owned(), texts.into());
    } else {
        out.insert("inputs".to_owned(), texts.iter().map(mixed).collect());
    }
    out.insert("input_type".to_owned(), request.shift_remove("input_type").unwrap_or_else(|| INPUT_TYPE.into()));
    out.insert("embedding_types".to_owned(), json!([kind]));
    if let Some(dimensions) = request.shift_remove("dimensions").filter(|dimensions| !dimensions.is_null()) {
        out.insert("output_dimension".to_owned(), dimensions);
    }
    for (name, value) in request {
        match name.as_str() {
            "model" => {}
            _ if value.is_null() => {}
            "truncate" | "max_tokens" | "priority" => drop(out.insert(name, value)),
            "user" => fit.omit(name),
            _ => fit.cannot(name, "Cohere does not take it")?,
        }
    }
    let (path, headers) = (RequestPath::fixed("embed"), json_headers(ask.wanted.delivery));
    Ok(Spelled { path, headers, body: Value::Object(out).to_string().into(), dropped: fit.dropped() })
}

/// Whether a text is an image in place; no text begins so.
fn is_image(text: &str) -> bool {
    text.starts_with("data:image/")
}

/// A text, an image or several of both as one input of several parts. What a caller wrote in Cohere's own words stays.
/// Source: <https://docs.cohere.com/reference/embed#request.body.inputs>.
fn mixed(input: &Value) -> Value {
    match input.as_str() {
        Some(url) if is_image(url) => json!({"content": [{"type": "image_url", "image_url": {"url": url}}]}),
        Some(text) => json!({"content": [{"type": "text", "text": text}]}),
        None => json!({"content": input["content"]}),
    }
}

/// The vectors, in the encoding that was asked for.
///
/// # Errors
/// When there are none.
pub(super) fn read(body: &Bytes) -> Result<Whole, Failure> {
    let mut answer: Value = serde_json::from_slice(body)
        .map_err(|_| broken("the provider's answer is cut short or is not JSON".to_owned()))?;
    let observed = Observed {
        usage: answer.get("meta").and_then(usage::read),
        provider_request_id: answer["id"].as_str().map(str::to_owned),
        ..Observed::default()
    };
    let vectors = ["/embeddings/float", "/embeddings/base64"]
        .into_iter()
        .find_map(|place| answer.pointer_mut(place).filter(|vectors| vectors.is_array()).map(Value::take));
    let vectors = match vectors {
        Some(Value::Array(vectors)) => Some(vectors),
        _ => None,
    };
    let Some(vectors) = vectors else { return Err(broken("the provider's answer holds no embeddings".to_owned())) };
    let data: Vec<Value> = (vectors.into_iter().enumerate())
        .map(|(index, embedding)| json!({"object": "embedding", "index": index, "embedding": embedding}))
        .collect();
    let tokens = observed.usage.map_or(0, |usage| usage.input_total());
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    let bytes = json!({"object": "list", "data": data, "model": "", "usage": usage}).to_string().into();
    Ok(Whole { bytes, observed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Form, FormatSettings, Wanted};
    use penstock_schemas::envelope::{Delivery, Operation, Unsupported};
    use penstock_schemas::name::ModelId;

    fn spelt(request: &Value) -> Result<Value, Failure> {
        let spelled = spell(&FormatRequest {
            wanted: Wanted { operation: Operation::Embeddings, form: Form::Agnostic, delivery: Delivery::Whole },
            body: &request.to_string().into(),
            content_type: None,
            headers: &std::collections::BTreeMap::new(),
            model: &ModelId::parse("embed-v4.0").unwrap(),
            card: None,
            settings: &FormatSettings::default(),
            unsupported: Unsupported::Refuse,
        })?;
        Ok(serde_json::from_slice(&spelled.body).unwrap())
    }

    #[test]
    fn texts_become_texts_and_vectors_become_vectors() {
        let sent = spelt(&json!({"model": "x", "input": "a", "dimensions": 256, "encoding_format": "base64"})).unwrap();
        let expected = json!({"model": "embed-v4.0", "texts": ["a"], "input_type": "search_document",
            "embedding_types": ["base64"], "output_dimension": 256});
        assert_eq!(sent, expected);
        let query = spelt(&json!({"input": ["a", "b"], "input_type": "search_query"})).unwrap();
        assert_eq!((&query["texts"], &query["input_type"]), (&json!(["a", "b"]), &json!("search_query")));
        let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}});
        let both = json!({"content": [{"type": "text", "text": "a"}, image]});
        let sent = spelt(&json!({"input": ["a", "data:image/png;base64,AA==", both]})).unwrap();
        let text = json!({"content": [{"type": "text", "text": "a"}]});
        assert_eq!((&sent["inputs"], sent.get("texts")), (&json!([text, {"content": [image]}, both]), None));
        for (input, param) in [(json!([1, 2]), "input"), (json!(3), "input")] {
            assert_eq!(spelt(&json!({"input": input})).unwrap_err().param.as_deref(), Some(param));
        }
        let answer = json!({"id": "e", "embeddings": {"float": [[0.5, 1.0], [2.0, 3.0]]}, "meta": {"billed_units": {"input_tokens": 4.0}}});
        let whole = read(&answer.to_string().into()).unwrap();
        let read: Value = serde_json::from_slice(&whole.bytes).unwrap();
        assert_eq!((&read["data"][1]["embedding"], &read["usage"]["prompt_tokens"]), (&json!([2.0, 3.0]), &json!(4)));
        assert_eq!(whole.observed.usage.unwrap().input, Some(4));
        for odd in ["{}", "\"\"", "7", "[]", r#"{"embeddings":"x"}"#, r#"{"embeddings":{"float":"x"}}"#] {
            assert!(super::read(&Bytes::from_static(odd.as_bytes())).is_err(), "{odd}");
        }
    }
}
