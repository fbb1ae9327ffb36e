//! Spells a request to rerank: the fields of its second version, which takes texts alone and refuses what the first one and
//! its copies know. Source: <https://docs.cohere.com/reference/rerank>, <https://docs.cohere.com/v1/reference/rerank>.

use crate::fit::{Fit, wrong};
use crate::openai::provider::Openai;
use crate::provider::{FormatRequest, ProviderFormat, Spelled};
use bytes::Bytes;
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value};

/// What only says more of the answer or less: documents stand in it by their index.
const OF_VERSION_1: [&str; 3] = ["return_documents", "max_chunks_per_doc", "user"];

pub(super) fn spell(ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
    let mut request: Map<String, Value> =
        serde_json::from_slice(ask.body).map_err(|error| wrong("documents", &error.to_string()))?;
    let mut fit = Fit::new(ask.unsupported);
    for name in OF_VERSION_1 {
        if request.shift_remove(name).is_some_and(|value| !value.is_null()) {
            fit.omit(name);
        }
    }
    let fields = request.shift_remove("rank_fields");
    let fields: Vec<&str> = fields.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str).collect();
    for document in request.get_mut("documents").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(object) = document {
            *document = text(object, &fields).into();
        }
    }
    let body = Bytes::from(Value::Object(request).to_string());
    let mut spelled = Openai.spell(&FormatRequest { body: &body, ..*ask })?;
    spelled.dropped.extend(fit.dropped());
    Ok(spelled)
}

/// A document of fields: its text where it has no other; else its fields line by line, as Cohere advises.
/// Source: <https://docs.cohere.com/docs/rerank-overview#structured-data-support>.
fn text(document: &Map<String, Value>, fields: &[&str]) -> String {
    let is_wanted = |name: &str| fields.is_empty() || fields.contains(&name);
    let wanted: Vec<(&String, &Value)> = document.iter().filter(|(name, _)| is_wanted(name)).collect();
    if let [(name, Value::String(text))] = wanted[..]
        && name == "text"
    {
        return text.clone();
    }
    let line = |(name, value): &(&String, &Value)| match value {
        Value::String(text) => format!("{name}: {text}"),
        other => format!("{name}: {other}"),
    };
    wanted.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_of_fields_are_texts() {
        for (document, fields, spelt) in [
            (json!({"text": "a"}), &[][..], "a"),
            (json!({"title": "t", "text": "a", "year": 1}), &[], "title: t\ntext: a\nyear: 1"),
            (json!({"title": "t", "text": "a"}), &["text"], "a"),
        ] {
            assert_eq!(text(document.as_object().unwrap(), fields), spelt);
        }
    }
}
