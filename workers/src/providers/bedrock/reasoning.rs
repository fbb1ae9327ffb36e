//! How long a model is to think: the caller's effort or number of tokens, as the model at hand is told.

use super::family::{Family, Thinking};
use super::format::Thinks;
use crate::providers::fit::{Fit, wrong};
use penstock_schemas::chat::{ChatRequest, Reasoning};
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};

/// The fewest and the most tokens that a model can be given to think.
const BUDGET: (u64, u64) = (1024, 128_000);

/// What the caller wants.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Want {
    Effort(Effort),
    Tokens(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    Highest,
}

impl Effort {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "minimal" => Self::Minimal,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "xhigh" | "max" => Self::Highest,
            _ => return None,
        })
    }

    /// The part of the answer's tokens that it stands for. Source: <https://openrouter.ai/docs/use-cases/reasoning-tokens>.
    fn percent(self) -> u64 {
        match self {
            Self::Minimal => 10,
            Self::Low => 20,
            Self::Medium => 50,
            Self::High => 80,
            Self::Highest => 95,
        }
    }

    fn of_tokens(tokens: u64) -> Self {
        match tokens {
            0..=1024 => Self::Low,
            1025..=8192 => Self::Medium,
            _ => Self::High,
        }
    }

    /// One of `low`, `medium`, `high`.
    fn of_three(self) -> &'static str {
        match self {
            Self::Minimal | Self::Low => "low",
            Self::Medium => "medium",
            Self::High | Self::Highest => "high",
        }
    }
}

/// Puts what the caller wants into `fields`; `limit` is how long the answer may be at all.
///
/// # Errors
/// When the model cannot be told so.
pub(super) fn spell(
    request: &ChatRequest,
    family: Family,
    limit: u64,
    fields: &mut Map<String, Value>,
    fit: &mut Fit,
) -> Result<Thinks, Failure> {
    let Some((want, field)) = want(request)? else { return Ok(Thinks::No) };
    let effort = match want {
        Want::Effort(effort) => effort,
        Want::Tokens(tokens) => Effort::of_tokens(tokens),
    };
    match (family.thinking(), want) {
        (Thinking::Budget, _) | (Thinking::AdaptiveOrBudget, Want::Tokens(_)) => {
            let tokens = match want {
                Want::Tokens(tokens) => tokens,
                Want::Effort(effort) => limit.saturating_mul(effort.percent()) / 100,
            };
            let budget = tokens.clamp(BUDGET.0, BUDGET.1).min(limit.saturating_sub(1));
            if budget < BUDGET.0 {
                // The answer may not be longer than the shortest thought.
                fit.omit(field);
                return Ok(Thinks::No);
            }
            fields.insert("thinking".to_owned(), json!({ "type": "enabled", "budget_tokens": budget }));
        }
        (Thinking::Adaptive | Thinking::AdaptiveOrBudget, _) => {
            let has_more = family.thinking() == Thinking::Adaptive && effort == Effort::Highest;
            let word = if has_more { "xhigh" } else { effort.of_three() };
            fields.insert("thinking".to_owned(), json!({ "type": "adaptive" }));
            fields.insert("output_config".to_owned(), json!({ "effort": word }));
        }
        (Thinking::Nova, _) => {
            let config = json!({ "type": "enabled", "maxReasoningEffort": effort.of_three() });
            fields.insert("reasoningConfig".to_owned(), config);
        }
        (Thinking::Effort, _) => {
            fields.insert("reasoning_effort".to_owned(), effort.of_three().into());
        }
        (Thinking::None, _) => {
            fit.cannot(field, "this model cannot be told how long to think")?;
            return Ok(Thinks::No);
        }
    }
    Ok(Thinks::Yes)
}

/// What the caller wants, and the field that says so; `None`: nothing, or that the model does not think.
fn want(request: &ChatRequest) -> Result<Option<(Want, &'static str)>, Failure> {
    let reasoning = request.reasoning.clone().unwrap_or_default();
    let Reasoning { max_tokens, enabled, extra } = &reasoning;
    if let Some(tokens) = max_tokens.filter(|tokens| *tokens > 0) {
        return Ok(Some((Want::Tokens(tokens), "reasoning")));
    }
    let inner = extra.get("effort").and_then(Value::as_str).map(|word| (word, "reasoning"));
    let outer = request.reasoning_effort.as_deref().map(|word| (word, "reasoning_effort"));
    match (outer.or(inner), enabled) {
        (Some(("none", _)), _) | (None, None | Some(false)) | (_, Some(false)) => Ok(None),
        (Some((word, field)), _) => match Effort::parse(word) {
            Some(effort) => Ok(Some((Want::Effort(effort), field))),
            None => Err(wrong(field, "it is none, minimal, low, medium, high or xhigh")),
        },
        (None, Some(true)) => Ok(Some((Want::Effort(Effort::Medium), "reasoning"))),
    }
}
