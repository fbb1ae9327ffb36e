//! Writes how much a model is to think, from the caller's effort or number of tokens, in the fields of the model's maker.

use super::family::{Family, Thinking};
use super::format::Thinks;
use crate::claude::{Claude, Rest};
use crate::effort::{Effort, ReasoningWish};
use crate::fit::{Fit, wrong};
use penstock_schemas::chat::ChatRequest;
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
    let (wish, field) = ReasoningWish::of(request);
    let effort = match wish {
        ReasoningWish::Unsaid => return Ok(Thinks::No),
        ReasoningWish::Off => {
            if family.is_claude() {
                rest(claude, field, fields, fit);
            }
            return Ok(Thinks::No);
        }
        ReasoningWish::On => Effort::Medium,
        ReasoningWish::Tokens(tokens) => Effort::of_tokens(tokens),
        ReasoningWish::Word(word) => {
            Effort::parse(word).ok_or_else(|| wrong(field, "it is none, minimal, low, medium, high, xhigh or max"))?
        }
    };
    let by_budget = family.thinking() == Thinking::Budget
        || family.thinking() == Thinking::AdaptiveOrBudget && matches!(wish, ReasoningWish::Tokens(_));
    // The answer may not be longer than the shortest thought.
    let is_full = by_budget && (room.is_unthought || room.limit <= BUDGET.0);
    if family.thinking() == Thinking::None || is_full || family.is_claude() && room.is_forced {
        fit.omit(field);
        return Ok(Thinks::No);
    }
    match family.thinking() {
        _ if by_budget => {
            let tokens = match wish {
                ReasoningWish::Tokens(tokens) => tokens,
                _ => room.limit.saturating_mul(effort.percent()) / 100,
            };
            let budget = tokens.clamp(BUDGET.0, BUDGET.1).min(room.limit.saturating_sub(1));
            fields.insert("thinking".to_owned(), json!({ "type": "enabled", "budget_tokens": budget }));
        }
        Thinking::Adaptive | Thinking::AdaptiveOrBudget | Thinking::Budget => {
            fields.insert("thinking".to_owned(), json!({ "type": "adaptive" }));
            fields.insert("output_config".to_owned(), json!({ "effort": claude.word(effort) }));
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
