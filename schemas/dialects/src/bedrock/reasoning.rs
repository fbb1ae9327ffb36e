//! How long a model is to think: the caller's effort or number of tokens, as the model at hand is told.

use super::family::{Family, Thinking};
use super::format::Thinks;
use crate::claude::{Claude, Rest, Thinking as ClaudeThinking};
use crate::fit::{Fit, wrong};
use penstock_schemas::chat::{ChatRequest, Reasoning};
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};

/// The fewest and the most tokens that a model can be given to think.
const BUDGET: (u64, u64) = (1024, 128_000);

/// How much room there is to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// How long the answer may be at all.
    pub(super) limit: u64,
    /// Whether a tool must be called, which a thinking model cannot be made to.
    pub(super) is_forced: bool,
    /// Whether the turn was begun without a thought, which a model that thinks by a budget must have had.
    pub(super) is_unthought: bool,
}

/// What the caller wants.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Want {
    Effort(Effort),
    Tokens(u64),
    Rest,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    Highest,
    Most,
}

impl Effort {
    fn parse(word: &str) -> Option<Self> {
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
    fn percent(self) -> u64 {
        match self {
            Self::Minimal => 10,
            Self::Low => 20,
            Self::Medium => 50,
            Self::High => 80,
            Self::Highest | Self::Most => 95,
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
            Self::High | Self::Highest | Self::Most => "high",
        }
    }

    /// The word for one of Claude's models.
    fn of_claude(self, claude: Claude) -> &'static str {
        match (self, claude.thinking) {
            (Self::Highest, ClaudeThinking::Effort) => "xhigh",
            (Self::Highest | Self::Most, _) => "max",
            _ => self.of_three(),
        }
    }
}

/// Puts what the caller wants into `fields`. A turn in which the model cannot think goes without, and the field is named.
///
/// # Errors
/// When what the caller wants cannot be read.
pub(super) fn spell(
    request: &ChatRequest,
    model: (Family, Claude),
    room: Room,
    fields: &mut Map<String, Value>,
    fit: &mut Fit,
) -> Result<Thinks, Failure> {
    let (family, claude) = model;
    let Some((want, field)) = want(request)? else { return Ok(Thinks::No) };
    let effort = match want {
        Want::Effort(effort) => effort,
        Want::Tokens(tokens) => Effort::of_tokens(tokens),
        Want::Rest => {
            if family.is_claude() {
                rest(claude, field, fields, fit);
            }
            return Ok(Thinks::No);
        }
    };
    let by_budget = family.thinking() == Thinking::Budget
        || family.thinking() == Thinking::AdaptiveOrBudget && matches!(want, Want::Tokens(_));
    // The answer may not be longer than the shortest thought.
    let is_full = by_budget && (room.is_unthought || room.limit <= BUDGET.0);
    if family.thinking() == Thinking::None || is_full || family.is_claude() && room.is_forced {
        fit.omit(field);
        return Ok(Thinks::No);
    }
    match family.thinking() {
        _ if by_budget => {
            let tokens = match want {
                Want::Tokens(tokens) => tokens,
                Want::Effort(effort) => room.limit.saturating_mul(effort.percent()) / 100,
                Want::Rest => 0,
            };
            let budget = tokens.clamp(BUDGET.0, BUDGET.1).min(room.limit.saturating_sub(1));
            fields.insert("thinking".to_owned(), json!({ "type": "enabled", "budget_tokens": budget }));
        }
        Thinking::Adaptive | Thinking::AdaptiveOrBudget | Thinking::Budget => {
            fields.insert("thinking".to_owned(), json!({ "type": "adaptive" }));
            fields.insert("output_config".to_owned(), json!({ "effort": effort.of_claude(claude) }));
        }
        Thinking::Nova => {
            let config = json!({ "type": "enabled", "maxReasoningEffort": effort.of_three() });
            fields.insert("reasoningConfig".to_owned(), config);
        }
        Thinking::Effort => {
            fields.insert("reasoning_effort".to_owned(), effort.of_three().into());
        }
        Thinking::None => {}
    }
    Ok(Thinks::Yes)
}

/// Asks one of Claude's models for no thinking, or for the least that it has.
fn rest(claude: Claude, field: &str, fields: &mut Map<String, Value>, fit: &mut Fit) {
    match claude.rest {
        Rest::Unasked => {}
        Rest::Disabled => drop(fields.insert("thinking".to_owned(), json!({ "type": "disabled" }))),
        Rest::BetweenTools => drop(fields.insert("thinking".to_owned(), json!({ "type": "between_tools" }))),
        Rest::Never => {
            fields.insert("output_config".to_owned(), json!({ "effort": "low" }));
            fit.omit(field);
        }
    }
}

/// What the caller wants, and the field that says so; `None`: nothing.
fn want(request: &ChatRequest) -> Result<Option<(Want, &'static str)>, Failure> {
    let reasoning = request.reasoning.clone().unwrap_or_default();
    let Reasoning { max_tokens, enabled, extra } = &reasoning;
    if let Some(tokens) = max_tokens.filter(|tokens| *tokens > 0) {
        return Ok(Some((Want::Tokens(tokens), "reasoning")));
    }
    let inner = extra.get("effort").and_then(Value::as_str).map(|word| (word, "reasoning"));
    let outer = request.reasoning_effort.as_deref().map(|word| (word, "reasoning_effort"));
    match (outer.or(inner), enabled) {
        (None, None) => Ok(None),
        (Some(("none", field)), _) => Ok(Some((Want::Rest, field))),
        (_, Some(false)) => Ok(Some((Want::Rest, "reasoning"))),
        (Some((word, field)), _) => match Effort::parse(word) {
            Some(effort) => Ok(Some((Want::Effort(effort), field))),
            None => Err(wrong(field, "it is none, minimal, low, medium, high, xhigh or max")),
        },
        (None, Some(true)) => Ok(Some((Want::Effort(Effort::Medium), "reasoning"))),
    }
}
