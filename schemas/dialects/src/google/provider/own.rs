//! Requests in the dialect itself: bytes stay as they are, save for the model's name where a body repeats it.

use super::Service;
use super::contents::UNSIGNED;
use super::resource::{name, path};
use super::thinking::Generation;
use crate::fit::wrong;
use crate::json::{Edit, Fields, RawObject, items, text};
use crate::provider::{FormatRequest, Spelled, json_headers, unsupported};
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::Failure;
use serde_json::value::RawValue;

/// The caller's request, to the model of the target.
pub(super) fn spell(ask: &FormatRequest<'_>, service: Service) -> Result<Spelled, Failure> {
    let body = text(ask.body)?;
    let roles = if service == Service::Vertex { with_roles(body)? } else { None };
    let body = roles.as_deref().unwrap_or(body);
    let is_signed = ask.wanted.operation == Operation::Chat && Generation::of(ask.model.as_str()).is_signed();
    let signed = if is_signed { with_signatures(body)? } else { None };
    let body = signed.as_deref().unwrap_or(body);
    let unlabelled = if service == Service::Gemini { without_labels(body)? } else { None };
    let dropped = unlabelled.iter().map(|_| "labels".to_owned()).collect();
    let body = unlabelled.as_deref().unwrap_or(body);
    let fields = Fields::read(body)?;
    let model = serde_json::json!(name(ask, service)?).to_string();
    let (method, body) = match ask.wanted.operation {
        Operation::Chat if ask.wanted.delivery.is_stream() => {
            (":streamGenerateContent?alt=sse", rename(body, &fields, &model))
        }
        Operation::Chat => (":generateContent", rename(body, &fields, &model)),
        Operation::Embeddings if fields.last("requests").is_some() && service == Service::Vertex => {
            return Err(unsupported("requests", "this provider embeds one content at a time"));
        }
        Operation::Embeddings if fields.last("requests").is_some() => {
            (":batchEmbedContents", batch(body, &fields, &model)?)
        }
        Operation::Embeddings => (":embedContent", rename(body, &fields, &model)),
        Operation::CountTokens => (":countTokens", count(body, &fields, &model, service)?),
        other => return Err(unsupported(other.as_str(), "this dialect has no such endpoint")),
    };
    let headers = json_headers(ask.wanted.delivery);
    Ok(Spelled { path: path(ask, service, method)?, headers, body: body.into(), dropped })
}

/// The body without notes for the bill, which only Vertex AI takes; `None` when there are none.
/// Source: <https://github.com/googleapis/python-genai/issues/2296>.
fn without_labels(body: &str) -> Result<Option<String>, Failure> {
    if !body.contains("\"labels\"") || Fields::read(body)?.last("labels").is_none() {
        return Ok(None);
    }
    let mut request = RawObject::read(body.as_bytes()).map_err(|error| wrong("labels", &error.to_string()))?;
    request.remove("labels");
    Ok(Some(request.to_text()))
}

/// The body with the role `user` in contents that have none: Vertex AI refuses them, the Gemini API does not. `None` when each
/// has one.
fn with_roles(body: &str) -> Result<Option<String>, Failure> {
    let fields = Fields::read(body)?;
    let contents = fields.last("contents").filter(|contents| contents.starts_with('[')).unwrap_or("[]");
    let contents: Vec<&RawValue> =
        serde_json::from_str(contents).map_err(|_| wrong("contents", "it must be a list of contents"))?;
    let mut edit = Edit::of(body);
    let mut is_changed = false;
    for content in contents {
        let Ok(inner) = Fields::read(content.get()) else { continue };
        if inner.last("role").is_none_or(|role| matches!(role, "null" | "\"\"")) {
            edit.replace(content.get(), set(content.get(), &inner, "role", "\"user\""));
            is_changed = true;
        }
    }
    Ok(is_changed.then(|| edit.finish()))
}

/// The body with the word that Google gives for it in the first call of each turn that has no signature: one that another
/// model made, which Gemini 3 refuses. `None` when each has one.
fn with_signatures(body: &str) -> Result<Option<String>, Failure> {
    if !["functionCall", "function_call"].iter().any(|name| body.contains(name)) {
        return Ok(None);
    }
    let fields = Fields::read(body)?;
    let mut edit = Edit::of(body);
    let mut is_changed = false;
    for content in fields.get("contents").into_iter().flat_map(items) {
        let Ok(content) = Fields::read(content.get()) else { continue };
        for part in content.get("parts").into_iter().flat_map(items) {
            let Ok(inner) = Fields::read(part.get()) else { continue };
            let has = |names: [&str; 2]| names.iter().any(|name| inner.last(name).is_some_and(|value| value != "null"));
            if !has(["functionCall", "function_call"]) {
                continue;
            }
            if !has(["thoughtSignature", "thought_signature"]) {
                let word = serde_json::json!(UNSIGNED).to_string();
                edit.replace(part.get(), set(part.get(), &inner, "thoughtSignature", &word));
                is_changed = true;
            }
            break;
        }
    }
    Ok(is_changed.then(|| edit.finish()))
}

/// The model's name in the place of the caller's, if it is there.
fn rename<'a>(body: &'a str, fields: &Fields<'a>, model: &str) -> String {
    if fields.last("model").is_none() { body.to_owned() } else { set(body, fields, "model", model) }
}

fn set<'a>(body: &'a str, fields: &Fields<'a>, name: &str, value: &str) -> String {
    let mut edit = Edit::of(body);
    edit.set(fields, name, value);
    edit.finish()
}

/// Each request of a batch names its model, and must.
fn batch<'a>(body: &'a str, fields: &Fields<'a>, model: &str) -> Result<String, Failure> {
    let requests = fields.last("requests").unwrap_or("[]");
    let requests: Vec<&RawValue> =
        serde_json::from_str(requests).map_err(|_| wrong("requests", "it must be a list of requests"))?;
    let mut renamed = Vec::with_capacity(requests.len());
    for (at, request) in requests.into_iter().enumerate() {
        let request = request.get();
        let fields = Fields::read(request).map_err(|_| wrong(format!("requests[{at}]"), "it must be an object"))?;
        renamed.push(set(request, &fields, "model", model));
    }
    Ok(set(body, fields, "requests", &format!("[{}]", renamed.join(","))))
}

/// A request within the request names the model too; Vertex AI takes its fields without the wrapping.
fn count<'a>(body: &'a str, fields: &Fields<'a>, model: &str, service: Service) -> Result<String, Failure> {
    let names = ["generateContentRequest", "generate_content_request"];
    let Some((name, inner)) = names.into_iter().find_map(|name| Some((name, fields.last(name)?))) else {
        return Ok(rename(body, fields, model));
    };
    let inner_fields = Fields::read(inner).map_err(|_| wrong(name, "it must be an object"))?;
    let inner = set(inner, &inner_fields, "model", model);
    Ok(if service == Service::Vertex { inner } else { set(body, fields, name, &inner) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_call_of_a_turn_that_another_model_made_gets_googles_own_word() {
        let sent = |parts: &str| {
            with_signatures(&format!(r#"{{"contents":[{{"role":"model","parts":[{parts}]}}]}}"#)).unwrap()
        };
        let call = r#"{"functionCall":{"name":"f","args":{"n":1.50}}}"#;
        let signed = r#"{"functionCall":{"name":"f","args":{}},"thoughtSignature":"s"}"#;
        let word =
            r#"{"functionCall":{"name":"f","args":{"n":1.50}},"thoughtSignature":"skip_thought_signature_validator"}"#;
        let of = |parts: &str| Some(format!(r#"{{"contents":[{{"role":"model","parts":[{parts}]}}]}}"#));
        assert_eq!(sent(&format!("{call},{call}")), of(&format!("{word},{call}")));
        assert_eq!(sent(&format!("{signed},{call}")), None);
        assert_eq!(sent(r#"{"text":"functionCall"}"#), None);
    }

    #[test]
    fn contents_without_a_role_are_the_users_at_vertex() {
        let sent = |body: &str| with_roles(body).unwrap();
        assert_eq!(
            sent(r#"{"contents":[{"parts":[{"text":"a"}]},{"role":"model","parts":[]}]}"#).unwrap(),
            r#"{"contents":[{"parts":[{"text":"a"}],"role":"user"},{"role":"model","parts":[]}]}"#
        );
        for stays in [r#"{"contents":[{"role":"user","parts":[]}]}"#, r#"{"contents":{"parts":[]}}"#, "{}"] {
            assert_eq!(sent(stays), None);
        }
    }
}
