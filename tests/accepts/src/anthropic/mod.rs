//! What Anthropic's messages accept. Sources: <https://platform.claude.com/docs/en/api/messages/create> and, for combinations,
//! the pages named at each rule. Wordings are those of its error messages where they are known.

mod messages;
mod models;
mod schema;
mod tools;

pub(crate) use tools::check_input;

use crate::{At, Refused, Request, Verdict};
pub(crate) use models::{Facts, Sampling};
pub(crate) use schema::check as check_closed;
use serde_json::{Value, json};

/// The fields of a request.
const FIELDS: [&str; 22] = [
    "model",
    "messages",
    "max_tokens",
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "mcp_servers",
    "metadata",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

/// Those that only a request for an answer has.
const ANSWER_ONLY: [&str; 9] = [
    "max_tokens",
    "metadata",
    "service_tier",
    "stop_sequences",
    "stream",
    "temperature",
    "top_k",
    "top_p",
    "container",
];

/// The longest `metadata.user_id`. Source: the reference, `metadata`.
const LONGEST_USER: usize = 256;

/// The most marks for the cache. Source: <https://platform.claude.com/docs/en/build-with-claude/prompt-caching>.
const MOST_MARKS: usize = 4;

/// Whether it is accepted.
pub(crate) fn check(request: &Request<'_>) -> Verdict {
    let root = At::root(request.body);
    let is_count = request.path.ends_with("count_tokens");
    root.only(&FIELDS)?;
    if is_count {
        for name in ANSWER_ONLY {
            if let Some(field) = root.get(name) {
                return Err(field.refused("Extra inputs are not permitted"));
            }
        }
    } else {
        root.need("max_tokens")?.count(1..=u64::MAX)?;
    }
    let model = root.need("model")?;
    model.ensure(!model.text()?.is_empty(), "String should have at least 1 character")?;
    let facts = Facts::of(model.text()?);
    if let Some(system) = root.get("system") {
        messages::check_system(&system)?;
    }
    messages::check(&root, &facts)?;
    tools::check(&root, &facts)?;
    check_thinking(&root, &facts)?;
    check_output(&root, &facts)?;
    check_sampling(&root, &facts)?;
    check_rest(&root)?;
    let marks = count_marks(request.body);
    root.ensure(marks <= MOST_MARKS, "A maximum of 4 blocks with cache_control may be provided")
}

/// Its answer of status 400. Source: <https://platform.claude.com/docs/en/api/errors>.
pub(crate) fn error(refused: &Refused) -> Value {
    json!({
        "type": "error",
        "error": { "type": "invalid_request_error", "message": refused.to_string() },
        "request_id": "req_refused_by_the_reference",
    })
}

/// Whether the model is asked to think.
pub(crate) fn is_thinking(root: &At<'_>) -> bool {
    root.get("thinking").is_some_and(|thinking| thinking.value()["type"] != "disabled")
}

/// Sources: <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>,
/// <https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking>, and the migration guide of each model.
fn check_thinking(root: &At<'_>, facts: &Facts) -> Verdict {
    let Some(thinking) = root.get("thinking") else { return Ok(()) };
    let kind = thinking.need("type")?;
    let word = kind.word(&["enabled", "disabled", "adaptive", "between_tools"])?;
    kind.ensure(facts.thinking.contains(&word), &format!("\"thinking.type.{word}\" is not supported for this model"))?;
    let effort = root.get("output_config").and_then(|config| config.get("effort")).map(|effort| effort.value().clone());
    match word {
        "enabled" => {
            thinking.only(&["type", "budget_tokens", "display"])?;
            let budget = thinking.need("budget_tokens")?;
            let tokens = budget.count(1024..=u64::MAX)?;
            let most = root.get("max_tokens").and_then(|most| most.value().as_u64()).unwrap_or(u64::MAX);
            budget.ensure(tokens < most, "`max_tokens` must be greater than `thinking.budget_tokens`")?;
            messages::check_thoughts(root)?;
        }
        "adaptive" => thinking.only(&["type", "display", "block_binding"])?,
        _ => {
            thinking.only(&["type", "display"])?;
            let is_high = effort.is_some_and(|effort| effort == "xhigh" || effort == "max");
            kind.ensure(!(is_high && facts.limits_effort), "it is not supported with this effort")?;
        }
    }
    if let Some(display) = thinking.get("display") {
        display.word(&["summarized", "omitted"])?;
    }
    Ok(())
}

/// Sources: <https://platform.claude.com/docs/en/build-with-claude/effort>,
/// <https://platform.claude.com/docs/en/build-with-claude/structured-outputs>.
fn check_output(root: &At<'_>, facts: &Facts) -> Verdict {
    let Some(config) = root.get("output_config") else { return Ok(()) };
    config.only(&["effort", "format", "task_budget"])?;
    if let Some(effort) = config.get("effort") {
        effort.ensure(!facts.efforts.is_empty(), "This model does not support the effort parameter")?;
        effort.word(facts.efforts)?;
    }
    let Some(format) = config.get("format") else { return Ok(()) };
    format.ensure(facts.schemas, "This model does not support output_config.format")?;
    format.only(&["type", "schema"])?;
    format.need("type")?.word(&["json_schema"])?;
    let messages = root.need("messages")?.items()?;
    let is_prefilled = messages.last().is_some_and(|last| last.value()["role"] == "assistant");
    format.ensure(!is_prefilled, "it is not supported with a prefilled answer")?;
    schema::check(&format.need("schema")?)
}

/// Sources: the reference, `temperature`, `top_p`, `top_k`; <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>
/// (feature compatibility); the migration guides: from 4.1 on one of the two, from 4.7 on neither.
fn check_sampling(root: &At<'_>, facts: &Facts) -> Verdict {
    let (temperature, top_p, top_k) = (root.get("temperature"), root.get("top_p"), root.get("top_k"));
    let is_default = |at: &At<'_>| at.value().as_f64() == Some(1.0);
    for field in [&temperature, &top_p].into_iter().flatten() {
        field.number(0.0..=1.0)?;
        let may_be_set = facts.sampling != Sampling::Fixed || is_default(field);
        field.ensure(may_be_set, "it is deprecated for this model")?;
    }
    if let Some(top_k) = &top_k {
        top_k.count(0..=u64::MAX)?;
        top_k.ensure(facts.sampling != Sampling::Fixed, "it is deprecated for this model")?;
    }
    if let (Some(_), Some(top_p), true) = (&temperature, &top_p, facts.sampling == Sampling::OneOf) {
        let why = "`temperature` and `top_p` cannot both be specified for this model. Please use only one.";
        return Err(top_p.refused(why));
    }
    if !is_thinking(root) {
        return Ok(());
    }
    if let Some(temperature) = temperature {
        let why = "`temperature` may only be set to 1 when thinking is enabled";
        temperature.ensure(is_default(&temperature), why)?;
    }
    if let Some(top_p) = top_p {
        let why = "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled";
        top_p.ensure(top_p.value().as_f64() >= Some(0.95), why)?;
    }
    top_k.map_or(Ok(()), |top_k| Err(top_k.refused("`top_k` must be unset when thinking is enabled")))
}

fn check_rest(root: &At<'_>) -> Verdict {
    if let Some(metadata) = root.get("metadata") {
        metadata.only(&["user_id"])?;
        if let Some(user) = metadata.get("user_id") {
            let text = user.text()?;
            let why = format!("String should have at most {LONGEST_USER} characters");
            user.ensure(text.chars().count() <= LONGEST_USER, &why)?;
            user.ensure(!is_mail(text), "user_id appears to contain an email address")?;
        }
    }
    if let Some(stops) = root.get("stop_sequences") {
        for stop in stops.items()? {
            stop.ensure(!stop.text()?.trim().is_empty(), "each stop sequence must contain non-whitespace")?;
        }
    }
    if let Some(tier) = root.get("service_tier") {
        tier.word(&["auto", "standard_only"])?;
    }
    if let Some(stream) = root.get("stream") {
        stream.flag()?;
    }
    Ok(())
}

/// Whether a text holds a mail address.
fn is_mail(text: &str) -> bool {
    let words = text.split(|c: char| c.is_whitespace() || "<>(),;:\"".contains(c));
    words.filter_map(|word| word.split_once('@')).any(|(name, host)| !name.is_empty() && host.contains('.'))
}

/// The marks for the cache, in tools, system and messages.
fn count_marks(value: &Value) -> usize {
    match value {
        Value::Object(fields) => (fields.iter())
            .filter(|(name, _)| !matches!(name.as_str(), "input" | "input_schema"))
            .map(|(name, inner)| usize::from(name == "cache_control" && !inner.is_null()) + count_marks(inner))
            .sum(),
        Value::Array(items) => items.iter().map(count_marks).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests;
