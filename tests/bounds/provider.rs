//! A provider that charges all that it may: it reads what it was sent in the way that is dearest, uses every token that it was
//! allowed, and says so in its dialect. Shares no code with the bound.

use bytes::Bytes;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::model::ModelCard;
use serde_json::{Value, json};

/// The tokens of an image that is looked at, and of one that is made, at the dearest.
const SEEN: u64 = 48_000;
const MADE: u64 = 6_240;

/// Turns of a provider that searches.
const TURNS: u64 = 10;

/// A provider, by what it speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Provider {
    /// Its dialect.
    pub dialect: Dialect,
    /// Whether it is a copy that reads names in any case, and numbers in texts.
    pub is_copy: bool,
}

/// What an answer uses.
struct Used {
    input: u64,
    output: u64,
    searches: u64,
}

impl Provider {
    /// All that are tried.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let of = |dialect| Self { dialect, is_copy: false };
        let all = [Dialect::Openai, Dialect::Anthropic, Dialect::Google, Dialect::Responses, Dialect::Bedrock];
        all.map(of).into_iter().chain([Self { dialect: Dialect::Openai, is_copy: true }])
    }

    /// Whether it is asked for this: all of them for chats.
    pub(crate) fn takes(self, operation: Operation) -> bool {
        operation == Operation::Chat || self.dialect == Dialect::Openai
    }

    /// The dearest answer to what it was sent; `None` when it cannot read that.
    pub(crate) fn dearest(self, operation: Operation, sent: &Bytes, card: &ModelCard) -> Option<Value> {
        let sent: Value = serde_json::from_slice(sent).ok()?;
        let used = self.used(operation, &sent, card);
        Some(match (operation, self.dialect) {
            (Operation::Images, _) => {
                let count = self.most(&sent, &["n", "num_images", "best_of", "num_generations"]).unwrap_or(1).max(1);
                let data: Vec<Value> = (0..count.min(50)).map(|_| json!({})).collect();
                let output = count.saturating_mul(MADE);
                json!({ "data": data, "usage": { "input_tokens": used.input, "output_tokens": output } })
            }
            (Operation::Embeddings, _) => {
                json!({ "object": "list", "data": [{ "index": 0, "embedding": [0.5] }], "model": "m",
                    "usage": { "prompt_tokens": used.input, "total_tokens": used.input } })
            }
            (Operation::Completions, _) => json!({ "choices": [{ "index": 0, "text": "a", "finish_reason": "stop" }],
                "usage": { "prompt_tokens": used.input, "completion_tokens": used.output } }),
            (_, dialect) => chat(dialect, &used),
        })
    }

    fn used(self, operation: Operation, sent: &Value, card: &ModelCard) -> Used {
        let context = card.context.unwrap_or(0);
        let longest = card.max_output.unwrap_or(0);
        let config = sent.get("generationConfig").or(sent.get("generation_config")).unwrap_or(&Value::Null);
        let inference = sent.get("inferenceConfig").unwrap_or(&Value::Null);
        let limit = match (operation, self.dialect) {
            (Operation::Chat, Dialect::Anthropic) => self.most(sent, &["max_tokens"]),
            (Operation::Chat, Dialect::Responses) => self.most(sent, &["max_output_tokens"]),
            (Operation::Chat, Dialect::Google) => self.most(config, &["maxOutputTokens", "max_output_tokens"]),
            (Operation::Chat, Dialect::Bedrock) => self.most(inference, &["maxTokens"]),
            (Operation::Chat, _) => self.most(
                sent,
                &["max_completion_tokens", "max_tokens", "max_new_tokens"]
                    .map(|name| if self.is_copy || name != "max_new_tokens" { name } else { "max_tokens" }),
            ),
            _ => self.most(sent, &["max_tokens"]),
        };
        let thinking =
            [sent.get("thinking"), sent.get("reasoning"), config.get("thinkingConfig"), config.get("thinking_config")];
        let thinking = thinking.into_iter().flatten();
        let thinking = thinking
            .filter_map(|object| {
                self.most(object, &["budget_tokens", "max_tokens", "thinkingBudget", "thinking_budget"])
            })
            .max();
        let choices = match self.dialect {
            Dialect::Google => self.most(config, &["candidateCount", "candidate_count"]),
            Dialect::Openai => self.most(sent, &["n", "best_of", "num_generations"]),
            _ => None,
        };
        let prompts = match &sent["prompt"] {
            Value::Array(prompts) if operation == Operation::Completions => prompts.len() as u64,
            _ => 1,
        };
        let each = limit.filter(|limit| *limit > 0).unwrap_or(longest).saturating_add(thinking.unwrap_or(0));
        let each = each.saturating_add(if sent["prediction"].is_object() { text(&sent["prediction"]) } else { 0 });
        let output = each.saturating_mul(choices.unwrap_or(1).max(1)).saturating_mul(prompts);
        let searches = self.searches(sent);
        let input = match (searches, holds_file(sent)) {
            (0, false) => {
                let tools = if sent["tools"].as_array().is_some_and(|tools| !tools.is_empty()) { 1_000 } else { 0 };
                (words(sent) + images(sent) * SEEN + tools)
                    .min(context.saturating_mul(prompts.max(list(&sent["input"]))))
            }
            (0, true) => context,
            (searches, _) => context.saturating_mul(searches),
        };
        // What adapters take for a figure; beyond that it is none.
        Used { input, output: output.min(8_000_000_000_000), searches }
    }

    /// The searches that it may make.
    fn searches(self, sent: &Value) -> u64 {
        let tools = sent["tools"].as_array().into_iter().flatten();
        let of = |tool: &Value| match self.dialect {
            Dialect::Google => {
                let is_own = tool.as_object().is_some_and(|tool| {
                    tool.keys().any(|name| name != "functionDeclarations" && name != "function_declarations")
                });
                if is_own { TURNS } else { 0 }
            }
            _ => match tool["type"].as_str() {
                None | Some("function" | "custom") => 0,
                Some(_) => tool["max_uses"].as_u64().unwrap_or(TURNS),
            },
        };
        let by_option = self.dialect == Dialect::Openai && !sent["web_search_options"].is_null();
        tools.map(of).max().unwrap_or(0).max(if by_option { TURNS } else { 0 })
    }

    /// The largest whole number under one of the names.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a copy in C would do the same")]
    fn most(self, object: &Value, names: &[&str]) -> Option<u64> {
        let is_it = |name: &str| {
            names.iter().any(|wanted| {
                name == *wanted || (self.is_copy && name.to_lowercase().replace('\u{212a}', "k") == *wanted)
            })
        };
        let numbers = object.as_object()?.iter().filter(|(name, _)| is_it(name)).filter_map(|(_, value)| match value {
            Value::Number(number) => {
                number.as_u64().or(number.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64))
            }
            Value::String(text) if self.is_copy || self.dialect == Dialect::Google => text.parse().ok(),
            _ => None,
        });
        numbers.max()
    }
}

fn chat(dialect: Dialect, Used { input, output, searches }: &Used) -> Value {
    match dialect {
        Dialect::Anthropic => json!({ "id": "a", "type": "message", "role": "assistant", "model": "m",
            "content": [{ "type": "text", "text": "a" }], "stop_reason": "end_turn",
            "usage": { "input_tokens": input, "output_tokens": output, "server_tool_use": { "web_search_requests": searches } } }),
        Dialect::Google => {
            json!({ "candidates": [{ "content": { "role": "model", "parts": [{ "text": "a" }] }, "finishReason": "STOP" }],
            "usageMetadata": { "promptTokenCount": input, "candidatesTokenCount": output } })
        }
        Dialect::Responses => json!({ "id": "r", "object": "response", "status": "completed", "model": "m",
            "output": [{ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "a" }] }],
            "usage": { "input_tokens": input, "output_tokens": output } }),
        Dialect::Bedrock => json!({ "output": { "message": { "role": "assistant", "content": [{ "text": "a" }] } },
            "stopReason": "end_turn", "usage": { "inputTokens": input, "outputTokens": output } }),
        _ => json!({ "id": "c", "object": "chat.completion", "model": "m",
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": "a" }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": input, "completion_tokens": output, "num_search_queries": searches } }),
    }
}

/// The bytes of all texts that a model reads.
fn words(sent: &Value) -> u64 {
    ["messages", "system", "contents", "systemInstruction", "input", "instructions", "prompt"]
        .iter()
        .map(|name| text(&sent[*name]))
        .sum()
}

fn text(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(text).sum(),
        Value::Object(fields) => fields.values().map(text).sum(),
        _ => 0,
    }
}

fn list(value: &Value) -> u64 {
    value.as_array().map_or(1, |items| items.len().max(1) as u64)
}

/// Counts the objects of a request's content that `is_it`.
fn parts(value: &Value, is_it: &dyn Fn(&Value) -> bool) -> u64 {
    let below = match value {
        Value::Array(items) => items.iter().map(|item| parts(item, is_it)).sum(),
        Value::Object(fields) => fields.values().map(|field| parts(field, is_it)).sum(),
        _ => 0,
    };
    below + u64::from(value.is_object() && is_it(value))
}

fn content(sent: &Value, is_it: &dyn Fn(&Value) -> bool) -> u64 {
    ["messages", "contents", "input"].iter().map(|name| parts(&sent[*name], is_it)).sum()
}

fn images(sent: &Value) -> u64 {
    content(sent, &|part| {
        let kind = part["type"].as_str().unwrap_or_default();
        let data = part.get("inlineData").or(part.get("inline_data"));
        let mime = data.and_then(|data| data.get("mimeType").or(data.get("mime_type")));
        matches!(kind, "image_url" | "image" | "input_image")
            || mime.and_then(Value::as_str).is_some_and(|mime| mime.starts_with("image/"))
            || part["image"].is_object()
    })
}

fn holds_file(sent: &Value) -> bool {
    content(sent, &|part| {
        let kind = part["type"].as_str().unwrap_or_default();
        let data = part.get("inlineData").or(part.get("inline_data"));
        let mime = data.and_then(|data| data.get("mimeType").or(data.get("mime_type")));
        matches!(kind, "file" | "document" | "input_file")
            || mime.and_then(Value::as_str).is_some_and(|mime| mime.starts_with("application/"))
            || part["document"].is_object()
    }) > 0
        || !sent["cachedContent"].is_null()
}
