//! What Gemini's `generateContent` accepts, at the Gemini API and at Vertex AI. Sources: <https://ai.google.dev/api/generate-content>,
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference>; combinations: the pages named at each rule.

mod contents;
mod models;
mod tools;

use crate::{At, Refused, Request, Verdict};
use models::Facts;
use serde_json::{Value, json};

const FIELDS: [&str; 10] = [
    "model",
    "contents",
    "tools",
    "toolConfig",
    "safetySettings",
    "systemInstruction",
    "generationConfig",
    "cachedContent",
    "serviceTier",
    "labels",
];

/// Source: <https://ai.google.dev/api/generate-content#generationconfig>.
const CONFIG: [&str; 22] = [
    "stopSequences",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "candidateCount",
    "maxOutputTokens",
    "temperature",
    "topP",
    "topK",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "enableEnhancedCivicAnswers",
    "speechConfig",
    "thinkingConfig",
    "imageConfig",
    "mediaResolution",
    "audioTimestamp",
    "routingConfig",
];

/// The keywords of `responseJsonSchema`; others are an error or are passed over in silence.
/// Source: <https://ai.google.dev/api/generate-content#FIELDS.response_json_schema>.
const KEYWORDS: [&str; 24] = [
    "$id",
    "$schema",
    "$defs",
    "definitions",
    "$ref",
    "$anchor",
    "type",
    "format",
    "title",
    "description",
    "default",
    "nullable",
    "enum",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "anyOf",
    "oneOf",
    "properties",
    "additionalProperties",
    "required",
];

/// The most sequences at which an answer stops. Source: the reference, `stopSequences`.
const MOST_STOPS: usize = 5;

/// Whether it is accepted.
pub(crate) fn check(request: &Request<'_>) -> Verdict {
    let model = request.path.rsplit("models/").next().unwrap_or_default();
    let (model, method) = model.split_once(':').unwrap_or((model, ""));
    if !method.starts_with("generateContent") && !method.starts_with("streamGenerateContent") {
        return Ok(());
    }
    let facts = Facts::of(model);
    let root = At::root(request.body);
    root.only(&FIELDS)?;
    if let Some(system) = root.get("systemInstruction") {
        let parts = system.need("parts")?;
        parts.ensure(!parts.items()?.is_empty(), "it must not be empty")?;
        for part in parts.items()? {
            let text = part.need("text")?;
            text.ensure(!text.text()?.is_empty(), "it must have a text parameter")?;
        }
    }
    contents::check(&root, &facts)?;
    tools::check(&root)?;
    match root.get("generationConfig") {
        Some(config) => check_config(&root, &config, &facts),
        None => Ok(()),
    }
}

/// Its answer of status 400. Source: <https://cloud.google.com/apis/design/errors#http_mapping>.
pub(crate) fn error(refused: &Refused) -> Value {
    json!({ "error": { "code": 400, "message": refused.to_string(), "status": "INVALID_ARGUMENT" } })
}

fn check_config(root: &At<'_>, config: &At<'_>, facts: &Facts) -> Verdict {
    config.only(&CONFIG)?;
    let number = |name: &str, least: f64, most: f64| {
        config.get(name).map_or(Ok(()), |field| field.number(least..=most).map(drop))
    };
    number("temperature", 0.0, 2.0)?;
    number("topP", 0.0, 1.0)?;
    number("topK", 1.0, f64::MAX)?;
    number("presencePenalty", -2.0, 2.0)?;
    number("frequencyPenalty", -2.0, 2.0)?;
    // A 32-bit integer.
    number("seed", -2_147_483_648.0, 2_147_483_647.0)?;
    if let Some(most) = config.get("maxOutputTokens") {
        most.count(1..=u64::MAX)?;
    }
    if let Some(stops) = config.get("stopSequences") {
        stops.ensure(stops.items()?.len() <= MOST_STOPS, "at most 5 stop sequences are allowed")?;
        for stop in stops.items()? {
            stop.ensure(!stop.text()?.is_empty(), "it must not be empty")?;
        }
    }
    let shape = config.get("responseJsonSchema");
    if let Some(schema) = &shape {
        let kind = config.need("responseMimeType")?;
        kind.word(&["application/json"])?;
        schema.ensure(config.get("responseSchema").is_none(), "set responseSchema or responseJsonSchema, not both")?;
        check_schema(schema, Some(&KEYWORDS))?;
    }
    if let Some(kind) = config.get("responseMimeType") {
        let has_functions = root.get("tools").is_some_and(|tools| {
            let declares = |tool: &Value| tool.get("functionDeclarations").is_some();
            tools.value().as_array().is_some_and(|tools| tools.iter().any(declares))
        });
        let is_json = kind.word(&["application/json", "text/plain", "text/x.enum"])? == "application/json";
        // Source: <https://ai.google.dev/gemini-api/docs/structured-output#structured_outputs_with_tools>.
        let why = "Function calling with a response mime type: 'application/json' is unsupported";
        kind.ensure(!(is_json && has_functions) || facts.shapes_beside_tools, why)?;
    }
    match config.get("thinkingConfig") {
        Some(thinking) => check_thinking(&thinking, facts),
        None => Ok(()),
    }
}

/// Source: <https://ai.google.dev/gemini-api/docs/thinking>.
fn check_thinking(thinking: &At<'_>, facts: &Facts) -> Verdict {
    thinking.only(&["includeThoughts", "thinkingBudget", "thinkingLevel"])?;
    thinking.ensure(facts.thinks, "Thinking is not enabled for this model")?;
    let shown = thinking.get("includeThoughts").map_or(Ok(false), |flag| flag.flag())?;
    if let Some(level) = thinking.get("thinkingLevel") {
        level.ensure(!facts.levels.is_empty(), "Thinking level is not supported for this model")?;
        level.word(facts.levels)?;
        level.ensure(thinking.get("thinkingBudget").is_none(), "set thinkingLevel or thinkingBudget, not both")?;
    }
    if let Some(budget) = thinking.get("thinkingBudget") {
        let (least, most) = facts.budgets;
        let tokens = budget.value().as_i64().unwrap_or(i64::MIN);
        let is_within = (least..=most).contains(&tokens) || tokens == -1 || (tokens == 0 && facts.rests);
        budget
            .ensure(is_within, &format!("the thinking budget is invalid: choose a value between {least} and {most}"))?;
        budget.ensure(tokens != 0 || !shown, "include_thoughts is only enabled when thinking is enabled")?;
    }
    Ok(())
}

/// A JSON schema: a reference stands alone, and leads somewhere. `known`: the only keywords.
pub(super) fn check_schema(schema: &At<'_>, known: Option<&[&str]>) -> Verdict {
    fn walk(root: &At<'_>, schema: &At<'_>, known: Option<&[&str]>) -> Verdict {
        if schema.value().is_boolean() {
            return Ok(());
        }
        if let Some(known) = known {
            schema.only(known)?;
        }
        if let Some(reference) = schema.get("$ref") {
            let is_alone = schema.object()?.keys().all(|name| name.starts_with('$'));
            schema
                .ensure(is_alone, "if $ref is set, no other properties may be set, except for those starting with $")?;
            let target = reference.text()?.strip_prefix('#').and_then(|pointer| root.value().pointer(pointer));
            reference.ensure(target.is_some(), "the reference is not resolvable")?;
        }
        for name in ["properties", "$defs", "definitions"] {
            for (_, inner) in schema.get(name).map_or(Ok(Vec::new()), |inner| inner.fields())? {
                walk(root, &inner, known)?;
            }
        }
        for name in ["anyOf", "oneOf", "prefixItems"] {
            for inner in schema.get(name).map_or(Ok(Vec::new()), |inner| inner.items())? {
                walk(root, &inner, known)?;
            }
        }
        for name in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(name).filter(|inner| inner.value().is_object()) {
                walk(root, &inner, known)?;
            }
        }
        Ok(())
    }
    schema.object()?;
    walk(schema, schema, known)
}

#[cfg(test)]
mod tests;
