//! How much a caller wants a model to think: `reasoning_effort` and `reasoning` of the agnostic form, read in one order for
//! every format. Knows no model, and no provider's name for it.
//!
//! | the caller says | which means |
//! |---|---|
//! | effort `none`, `enabled: false` or `max_tokens: 0` | no thinking, whatever else is said |
//! | else `max_tokens` | so many tokens, whatever the effort |
//! | else `reasoning_effort`, or else `reasoning.effort` | that effort |
//! | else `enabled: true` | thinking, as much as the model likes |

use penstock_schemas::chat::{ChatRequest, Reasoning};
use serde_json::Value;

/// What the caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReasoningWish<'a> {
    /// Whatever the model does.
    Unsaid,
    /// No thinking, or the least that the model has.
    Off,
    /// Thinking, as much as the model likes.
    On,
    /// An effort in the caller's word; what the words mean is [`Effort::parse`].
    Word(&'a str),
    /// So many tokens, at least 1.
    Tokens(u64),
}

/// An effort, in the order of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    Highest,
    Most,
}

impl<'a> ReasoningWish<'a> {
    /// What a request says, and the field that says so.
    pub(crate) fn of(request: &'a ChatRequest) -> (Self, &'static str) {
        Self::of_fields(request.reasoning_effort.as_deref(), request.reasoning.as_ref())
    }

    /// The same of the two fields that say it.
    pub(crate) fn of_fields(effort: Option<&'a str>, reasoning: Option<&'a Reasoning>) -> (Self, &'static str) {
        const INNER: &str = "reasoning";
        let inner = reasoning.and_then(|reasoning| reasoning.extra.get("effort")).and_then(Value::as_str);
        let outer = effort.map(|word| (word, "reasoning_effort"));
        let word = outer.or(inner.map(|word| (word, INNER)));
        let (tokens, enabled) = reasoning.map_or((None, None), |reasoning| (reasoning.max_tokens, reasoning.enabled));
        match (word, tokens, enabled) {
            (Some(("none", field)), _, _) => (Self::Off, field),
            (_, Some(0), _) | (_, _, Some(false)) => (Self::Off, INNER),
            (_, Some(tokens), _) => (Self::Tokens(tokens), INNER),
            (Some((word, field)), None, _) => (Self::Word(word), field),
            (None, None, Some(true)) => (Self::On, INNER),
            (None, None, None) => (Self::Unsaid, INNER),
        }
    }

    /// The word for it where efforts are all that a format has: a caller's own word stays as it is.
    pub(crate) fn word(self) -> Option<&'a str> {
        match self {
            Self::Unsaid | Self::On => None,
            Self::Off => Some("none"),
            Self::Word(word) => Some(word),
            Self::Tokens(tokens) => Some(Effort::of_tokens(tokens).of_three()),
        }
    }
}

impl Effort {
    /// The effort that a word stands for; `None` when it is no such word. `none` is a wish of its own.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "minimal" => Self::Minimal,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "xhigh" => Self::Highest,
            "max" => Self::Most,
            _ => return None,
        })
    }

    /// The part of the answer's tokens that it stands for. Source: <https://openrouter.ai/docs/use-cases/reasoning-tokens>.
    pub(crate) fn percent(self) -> u64 {
        match self {
            Self::Minimal => 10,
            Self::Low => 20,
            Self::Medium => 50,
            Self::High => 80,
            Self::Highest | Self::Most => 95,
        }
    }

    /// What a number of tokens comes to: OpenRouter's table, read backwards.
    pub(crate) fn of_tokens(tokens: u64) -> Self {
        match tokens {
            0..=1024 => Self::Low,
            1025..=8192 => Self::Medium,
            _ => Self::High,
        }
    }

    /// One of `low`, `medium`, `high`.
    pub(crate) fn of_three(self) -> &'static str {
        match self {
            Self::Minimal | Self::Low => "low",
            Self::Medium => "medium",
            Self::High | Self::Highest | Self::Most => "high",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Form, FormatRequest, FormatSettings, Wanted};
    use bytes::Bytes;
    use penstock_schemas::envelope::{Delivery, Dialect, Operation, Unsupported};
    use penstock_schemas::name::ModelId;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[test]
    fn off_goes_before_tokens_and_tokens_before_a_word() {
        for (said, wish) in [
            (json!({}), (ReasoningWish::Unsaid, "reasoning")),
            (json!({ "reasoning": { "enabled": false, "max_tokens": 2000 } }), (ReasoningWish::Off, "reasoning")),
            (
                json!({ "reasoning": { "max_tokens": 0 }, "reasoning_effort": "high" }),
                (ReasoningWish::Off, "reasoning"),
            ),
            (
                json!({ "reasoning": { "max_tokens": 2000 }, "reasoning_effort": "none" }),
                (ReasoningWish::Off, "reasoning_effort"),
            ),
            (
                json!({ "reasoning": { "max_tokens": 2000, "effort": "low" }, "reasoning_effort": "high" }),
                (ReasoningWish::Tokens(2000), "reasoning"),
            ),
            (
                json!({ "reasoning": { "effort": "none" }, "reasoning_effort": "high" }),
                (ReasoningWish::Word("high"), "reasoning_effort"),
            ),
            (json!({ "reasoning": { "effort": "low", "enabled": true } }), (ReasoningWish::Word("low"), "reasoning")),
            (json!({ "reasoning": { "enabled": true } }), (ReasoningWish::On, "reasoning")),
        ] {
            let mut request = json!({ "model": "m", "messages": [] });
            request.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
            let request: ChatRequest = serde_json::from_value(request).unwrap();
            assert_eq!(ReasoningWish::of(&request), wish, "{said}");
        }
    }

    /// The level of thinking that a request asks a provider for: 0 none, 1 to 3 low to high, in whichever field the format has.
    fn told(dialect: Dialect, model: &str, said: &Value) -> Option<u8> {
        let mut request =
            json!({ "model": "m", "max_tokens": 20_000, "messages": [{ "role": "user", "content": "Hi" }] });
        request.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
        let spelled = crate::spell(
            crate::format_of(dialect),
            &FormatRequest {
                wanted: Wanted { operation: Operation::Chat, form: Form::Agnostic, delivery: Delivery::Whole },
                body: &Bytes::from(request.to_string()),
                content_type: None,
                headers: &BTreeMap::new(),
                model: &ModelId::parse(model).unwrap(),
                card: None,
                settings: &FormatSettings::default(),
                unsupported: Unsupported::Refuse,
            },
        );
        let body: Value = serde_json::from_slice(&spelled.unwrap().0.body).unwrap();
        let places = [
            "/reasoning_effort",
            "/reasoning/effort",
            "/thinking/budget_tokens",
            "/thinking/token_budget",
            "/additionalModelRequestFields/thinking/budget_tokens",
            "/generationConfig/thinkingConfig/thinkingBudget",
            "/generationConfig/thinkingConfig/thinkingLevel",
            "/output_config/effort",
        ];
        let knob = places.iter().find_map(|place| body.pointer(place));
        Some(match knob {
            Some(Value::Number(tokens)) => match tokens.as_u64()? {
                0 => 0,
                tokens if tokens <= 5000 => 1,
                tokens if tokens <= 12_000 => 2,
                _ => 3,
            },
            Some(word) => match word.as_str()?.to_ascii_lowercase().as_str() {
                "none" | "minimal" => 0,
                "low" => 1,
                "medium" => 2,
                _ => 3,
            },
            None => 0,
        })
    }

    #[test]
    fn every_format_understands_the_same_of_a_wish() {
        let formats = [
            (Dialect::Openai, "gpt-5"),
            (Dialect::Responses, "gpt-5"),
            (Dialect::Anthropic, "claude-sonnet-4-5"),
            (Dialect::Anthropic, "claude-opus-5"),
            (Dialect::Google, "gemini-2.5-flash"),
            (Dialect::Google, "gemini-3.5-flash"),
            (Dialect::Bedrock, "anthropic.claude-sonnet-4-5-v1:0"),
            (Dialect::Cohere, "command-a-reasoning"),
        ];
        for (said, expected) in [
            (json!({ "reasoning": { "enabled": false, "max_tokens": 2000 } }), 0),
            (json!({ "reasoning": { "enabled": false }, "reasoning_effort": "high" }), 0),
            (json!({ "reasoning": { "max_tokens": 0 } }), 0),
            (json!({ "reasoning": { "max_tokens": 9000 }, "reasoning_effort": "none" }), 0),
            (json!({ "reasoning": { "max_tokens": 1024 }, "reasoning_effort": "high" }), 1),
            (json!({ "reasoning": { "max_tokens": 15_000 }, "reasoning_effort": "low" }), 3),
            (json!({ "reasoning_effort": "low" }), 1),
            (json!({ "reasoning": { "effort": "low" } }), 1),
            (json!({ "reasoning": { "effort": "low" }, "reasoning_effort": "high" }), 3),
            (json!({ "reasoning_effort": "medium" }), 2),
            (json!({ "reasoning_effort": "max" }), 3),
        ] {
            for (dialect, model) in formats {
                assert_eq!(told(dialect, model, &said), Some(expected), "{dialect:?} {model}: {said}");
            }
        }
    }
}
