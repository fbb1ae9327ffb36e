//! What Bedrock's Converse accepts. Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>;
//! what depends on the model: the user guide's pages, named at each rule. Claude's own rules are those of [`crate::anthropic`].

mod messages;
mod tools;

use crate::anthropic::{Facts, Sampling, check_closed, is_thinking};
use crate::{At, Refused, Request, Verdict};
use serde_json::{Value, json};

const FIELDS: [&str; 12] = [
    "messages",
    "system",
    "inferenceConfig",
    "toolConfig",
    "guardrailConfig",
    "additionalModelRequestFields",
    "promptVariables",
    "additionalModelResponseFieldPaths",
    "requestMetadata",
    "performanceConfig",
    "serviceTier",
    "outputConfig",
];

/// A model on Bedrock, as far as its name tells what it takes.
#[derive(Clone, Copy)]
struct Model<'a> {
    name: &'a str,
    claude: Option<Facts>,
}

impl Model<'_> {
    /// Whether `toolChoice` may be `any` or a tool.
    /// Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolChoice.html>.
    fn is_forced(self) -> bool {
        match self.claude {
            Some(facts) => facts.forced,
            None => self.name.contains("amazon.nova") || self.name.contains("mistral.mistral-large"),
        }
    }
}

/// Whether it is accepted.
pub(crate) fn check(request: &Request<'_>) -> Verdict {
    let (model, verb) = request.path.strip_prefix("model/").and_then(|path| path.rsplit_once('/')).unwrap_or_default();
    if !verb.starts_with("converse") {
        return Ok(());
    }
    let model = model.replace("%3A", ":").replace("%2F", "/");
    let claude = model.contains("claude").then(|| Facts::of(&model));
    let model = Model { name: &model, claude };
    let root = At::root(request.body);
    root.only(&FIELDS)?;
    for block in root.get("system").map_or(Ok(Vec::new()), |system| system.items())? {
        block.only(&["text", "cachePoint", "guardContent"])?;
        if let Some(text) = block.get("text") {
            text.ensure(!text.text()?.trim().is_empty(), "it is blank")?;
        }
    }
    messages::check(&root)?;
    tools::check(&root, model)?;
    check_config(&root, model)?;
    check_fields(&root, model)?;
    check_rest(&root)
}

/// Its answer of status 400. Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>.
pub(crate) fn error(refused: &Refused) -> Value {
    json!({ "message": refused.to_string() })
}

/// Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InferenceConfiguration.html>.
fn check_config(root: &At<'_>, model: Model<'_>) -> Verdict {
    let Some(config) = root.get("inferenceConfig") else { return Ok(()) };
    config.only(&["maxTokens", "temperature", "topP", "stopSequences"])?;
    if let Some(most) = config.get("maxTokens") {
        most.count(1..=u64::MAX)?;
    }
    let (temperature, top_p) = (config.get("temperature"), config.get("topP"));
    for field in [&temperature, &top_p].into_iter().flatten() {
        field.number(0.0..=1.0)?;
    }
    for stop in config.get("stopSequences").map_or(Ok(Vec::new()), |stops| stops.items())? {
        let is_empty = if model.claude.is_some() { stop.text()?.trim().is_empty() } else { stop.text()?.is_empty() };
        stop.ensure(!is_empty, "a stop sequence must contain non-whitespace")?;
    }
    let Some(claude) = model.claude else { return Ok(()) };
    let is_default = |at: &At<'_>| at.value().as_f64() == Some(1.0);
    for field in [&temperature, &top_p].into_iter().flatten() {
        let may_be_set = claude.sampling != Sampling::Fixed || is_default(field);
        field.ensure(may_be_set, "it is deprecated for this model")?;
    }
    if let (Some(_), Some(top_p), Sampling::OneOf) = (&temperature, &top_p, claude.sampling) {
        return Err(top_p.refused("`temperature` and `top_p` cannot both be specified for this model."));
    }
    if thinks(root) {
        let why = "it may not be set when thinking is enabled";
        temperature.map_or(Ok(()), |field| field.ensure(is_default(&field), why))?;
        top_p.map_or(Ok(()), |field| field.ensure(field.value().as_f64() >= Some(0.95), why))?;
    }
    Ok(())
}

/// Whether Claude is asked to think.
fn thinks(root: &At<'_>) -> bool {
    root.get("additionalModelRequestFields").is_some_and(|fields| is_thinking(&fields))
}

/// Sources: <https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html>,
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html>.
fn check_fields(root: &At<'_>, model: Model<'_>) -> Verdict {
    let Some(fields) = root.get("additionalModelRequestFields") else { return Ok(()) };
    fields.object()?;
    let Some(claude) = model.claude else {
        let is_claudes = fields.get("thinking").is_some() || fields.get("output_config").is_some();
        return fields.ensure(!is_claudes, "extraneous key is not permitted");
    };
    if let Some(thinking) = fields.get("thinking") {
        let kind = thinking.need("type")?;
        let why = "this way of thinking is not supported for this model";
        kind.ensure(claude.thinking.contains(&kind.text()?), why)?;
        if kind.value() == "enabled" {
            let budget = thinking.need("budget_tokens")?;
            let tokens = budget.count(1024..=u64::MAX)?;
            let most = root.get("inferenceConfig").and_then(|config| config.get("maxTokens"));
            let most = most.and_then(|most| most.value().as_u64()).unwrap_or(4096);
            budget.ensure(tokens < most, "`max_tokens` must be greater than `thinking.budget_tokens`")?;
            messages::check_thoughts(root)?;
        }
    }
    if let Some(effort) = fields.get("output_config").and_then(|config| config.get("effort")) {
        effort.ensure(!claude.efforts.is_empty(), "This model does not support the effort parameter")?;
        effort.word(claude.efforts)?;
    }
    if let Some(top_k) = fields.get("top_k") {
        let is_free = claude.sampling != Sampling::Fixed && !is_thinking(&fields);
        top_k.ensure(is_free, "it may not be set")?;
    }
    Ok(())
}

fn check_rest(root: &At<'_>) -> Verdict {
    if let Some(metadata) = root.get("requestMetadata") {
        let fields = metadata.fields()?;
        metadata.ensure((1..=16).contains(&fields.len()), "it has 1 to 16 entries")?;
        let is_word = |text: &str| {
            text.len() <= 256 && text.chars().all(|c| c.is_ascii_alphanumeric() || " :_@$#=/+,-.".contains(c))
        };
        for (name, field) in fields {
            field.ensure(is_word(name) && is_word(field.text()?), "it must satisfy the regular expression pattern")?;
        }
    }
    if let Some(tier) = root.get("serviceTier") {
        tier.need("type")?.word(&["default", "flex", "priority", "reserved"])?;
    }
    // Source: <https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html>.
    if let Some(format) = root.get("outputConfig").and_then(|config| config.get("textFormat")) {
        format.need("type")?.word(&["json_schema"])?;
        let named = format.need("structure")?.need("jsonSchema")?;
        named.only(&["schema", "name", "description"])?;
        let text = named.need("schema")?;
        let schema: Value = serde_json::from_str(text.text()?).map_err(|error| text.refused(error.to_string()))?;
        check_closed(&At::root(&schema))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
