//! The items of an answer as parts of a chat's message. Knows nothing of streams; an odd item is passed over, not refused.
//! Source: <https://platform.openai.com/docs/api-reference/responses/object>.

use crate::data_url;
use crate::provider::Observed;
use penstock_schemas::chat::{FunctionCall, Issuer, ReasoningDetail, ToolCall};
use serde_json::{Map, Value, json};

/// What an item is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Reasoning,
    Call,
    CustomCall,
    Search,
    Image,
    Other,
}

/// What an item is.
pub(super) fn kind(item: &Value) -> Kind {
    match item.get("type").and_then(Value::as_str) {
        Some("message") => Kind::Message,
        Some("reasoning") => Kind::Reasoning,
        Some("function_call") => Kind::Call,
        Some("custom_tool_call") => Kind::CustomCall,
        Some("web_search_call") => Kind::Search,
        Some("image_generation_call") => Kind::Image,
        _ => Kind::Other,
    }
}

/// A field that is text.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

/// The members of a list.
pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// How many of the items are searches that were carried out; looking into a page that was found costs nothing.
/// Source: <https://platform.openai.com/docs/guides/tools-web-search#output-and-citations>.
pub(super) fn searches(items: &[Value]) -> u64 {
    items.iter().filter(|item| is_search(item)).count() as u64
}

/// Whether an item is a search that was carried out.
pub(super) fn is_search(item: &Value) -> bool {
    let action = item.get("action").and_then(|action| text(action, "type"));
    kind(item) == Kind::Search && action.is_none_or(|action| action == "search")
}

/// The call that an item is, with these arguments.
pub(super) fn call(item: &Value, index: u32, arguments: &str) -> ToolCall {
    let id = text(item, "call_id").or_else(|| text(item, "id")).map(ToOwned::to_owned);
    let name = text(item, "name").map(ToOwned::to_owned);
    if kind(item) == Kind::CustomCall {
        let extra = Map::from_iter([("custom".to_owned(), json!({ "name": name, "input": arguments }))]);
        return ToolCall { index: Some(index), id, kind: Some("custom".to_owned()), function: None, extra };
    }
    let function = FunctionCall { name, arguments: Some(arguments.to_owned()), extra: Map::new() };
    let kind = Some("function".to_owned());
    ToolCall { index: Some(index), id, kind, function: Some(function), extra: Map::new() }
}

/// Notes the tool that the caller is to use, if the item asks for one.
pub(super) fn note_tool(item: &Value, observed: &mut Observed) {
    let name = text(item, "name").filter(|_| matches!(kind(item), Kind::Call | Kind::CustomCall));
    if let Some(name) = name {
        observed.tools.add(name);
    }
}

/// What a call is called with.
pub(super) fn arguments(item: &Value) -> &str {
    text(item, "arguments").or_else(|| text(item, "input")).unwrap_or_default()
}

/// A piece of reasoning of an item.
pub(super) fn detail(kind: &str, id: Option<&str>, index: u32) -> ReasoningDetail {
    ReasoningDetail {
        kind: kind.to_owned(),
        id: id.map(ToOwned::to_owned),
        format: Some(Issuer::Openai),
        index: Some(index),
        ..ReasoningDetail::default()
    }
}

/// All pieces of a reasoning item, numbered from `index`.
pub(super) fn details(item: &Value, mut index: u32) -> Vec<ReasoningDetail> {
    let id = text(item, "id");
    let mut details = Vec::new();
    let mut add = |kind: &str, fill: &dyn Fn(&mut ReasoningDetail)| {
        let mut one = detail(kind, id, index);
        fill(&mut one);
        details.push(one);
        index += 1;
    };
    for part in list(item, "summary") {
        add("reasoning.summary", &|one| one.summary = text(part, "text").map(ToOwned::to_owned));
    }
    for part in list(item, "content") {
        add("reasoning.text", &|one| one.text = text(part, "text").map(ToOwned::to_owned));
    }
    if let Some(data) = text(item, "encrypted_content").filter(|data| !data.is_empty()) {
        add("reasoning.encrypted", &|one| one.data = Some(data.to_owned()));
    }
    details
}

/// A citation as a chat spells it.
pub(super) fn annotation(annotation: &Value) -> Value {
    if text(annotation, "type") != Some("url_citation") {
        return annotation.clone();
    }
    let mut inner = annotation.as_object().cloned().unwrap_or_default();
    inner.remove("type");
    json!({ "type": "url_citation", "url_citation": inner })
}

/// A picture that was made, as an image of the message; OpenRouter's way to say it.
/// Source: <https://openrouter.ai/docs/features/multimodal/image-generation>.
pub(super) fn image(item: &Value) -> Option<Value> {
    let data = text(item, "result").filter(|data| !data.is_empty())?;
    let format = text(item, "output_format").unwrap_or("png");
    let url = data_url::write(&format!("image/{format}"), data);
    Some(json!({ "type": "image_url", "image_url": { "url": url } }))
}

/// Why the model stopped, as a chat says it.
pub(super) fn finish_reason(response: &Value, has_calls: bool) -> &'static str {
    let reason = response.get("incomplete_details").and_then(|details| text(details, "reason"));
    match (reason, has_calls) {
        (Some("content_filter"), _) => "content_filter",
        (Some(_), _) => "length",
        (None, _) if text(response, "status") == Some("incomplete") => "length",
        (None, true) => "tool_calls",
        (None, false) => "stop",
    }
}

/// Seconds since 1970; some write a fraction.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of this age of the world")]
pub(super) fn created(response: &Value) -> u64 {
    let at = response.get("created_at");
    at.and_then(Value::as_u64).or_else(|| at.and_then(Value::as_f64).map(|at| at as u64)).unwrap_or(0)
}
