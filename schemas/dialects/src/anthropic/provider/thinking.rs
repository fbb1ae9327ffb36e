//! How long the model thinks, and how it samples: the agnostic knobs as each generation of models takes them.
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking>,
//! <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>,
//! <https://platform.claude.com/docs/en/build-with-claude/effort>.

use super::messages::{is_begun, is_unthought};
use super::wire::Request;
use crate::claude::{Claude, Rest, Sampling, Thinking};
use crate::effort::{Effort, ReasoningWish};
use crate::fit::{Fit, is_nothing, wrong};
use penstock_schemas::chat::ChatRequest;
use penstock_schemas::failure::Failure;
use serde_json::{Value, json};

/// The least that a budget may be, and the most that is worth asking for.
const BUDGETS: (u64, u64) = (1024, 128_000);

/// Asks for as much thinking as the caller wants. A turn in which the model cannot think goes without, and the field is named.
pub(super) fn spell(chat: &ChatRequest, claude: Claude, request: &mut Request, fit: &mut Fit) -> Result<(), Failure> {
    let (wish, field) = ReasoningWish::of(chat);
    let effort = match wish {
        ReasoningWish::Word(word) => Some(Effort::parse(word).ok_or_else(|| unknown(field, word))?),
        ReasoningWish::Tokens(tokens) => Some(Effort::of_tokens(tokens)),
        ReasoningWish::Unsaid | ReasoningWish::Off | ReasoningWish::On => None,
    };
    match (claude.thinking, wish) {
        (_, ReasoningWish::Unsaid) => {}
        (_, ReasoningWish::Off) => rest(claude, field, request, fit),
        (Thinking::Budget | Thinking::Either, ReasoningWish::Tokens(tokens)) => {
            budgeted(|_| tokens, field, request, fit);
        }
        (Thinking::Budget, _) => {
            let percent = effort.unwrap_or(Effort::Medium).percent();
            budgeted(|longest| longest.saturating_mul(percent) / 100, field, request, fit);
        }
        (Thinking::Either | Thinking::Effort, _) => {
            request.thinking = Some(adaptive(claude));
            if let Some(effort) = effort {
                request.output_config.insert("effort".to_owned(), claude.word(effort).into());
            }
        }
    }
    Ok(())
}

/// The field that says how long to think.
pub(super) fn field(chat: &ChatRequest) -> &'static str {
    ReasoningWish::of(chat).1
}

fn unknown(field: &str, word: &str) -> Failure {
    let known = "it is one of none, minimal, low, medium, high, xhigh, max";
    wrong(field, &format!("{known}, and not `{}`", word.chars().take(40).collect::<String>()))
}

/// Asks for no thinking, or for the least that the model has.
fn rest(claude: Claude, field: &str, request: &mut Request, fit: &mut Fit) {
    match claude.rest {
        Rest::Unasked => {}
        Rest::Disabled => request.thinking = Some(json!({ "type": "disabled" })),
        Rest::BetweenTools => request.thinking = Some(json!({ "type": "between_tools" })),
        Rest::Never => {
            request.output_config.insert("effort".to_owned(), "low".into());
            fit.omit(field);
        }
    }
}

/// Thinking by a budget, which must be below the longest answer. A history without thoughts, or an answer that was begun,
/// leaves no room for it.
fn budgeted(wanted: impl Fn(u64) -> u64, field: &str, request: &mut Request, fit: &mut Fit) {
    let longest = request.max_tokens.unwrap_or(0);
    if longest <= BUDGETS.0 || is_unthought(&request.messages) || is_begun(&request.messages) {
        return fit.omit(field);
    }
    let budget = wanted(longest).clamp(BUDGETS.0, BUDGETS.1).min(longest - 1);
    request.thinking = Some(json!({ "type": "enabled", "budget_tokens": budget }));
}

/// Newer models hide their thoughts unless they are asked for.
fn adaptive(claude: Claude) -> Value {
    match claude.thinking {
        Thinking::Effort => json!({ "type": "adaptive", "display": "summarized" }),
        Thinking::Budget | Thinking::Either => json!({ "type": "adaptive" }),
    }
}

/// Whether the model is asked to think.
pub(super) fn is_asked(request: &Request) -> bool {
    request.thinking.as_ref().is_some_and(|thinking| thinking["type"] != "disabled")
}

/// `temperature`, `top_p`, `top_k`: within the provider's bounds, and where the model and its thinking leave them free. Else
/// they are left out and named: nobody's answer means anything else without them.
pub(super) fn sampling(
    chat: &ChatRequest,
    claude: Claude,
    request: &mut Request,
    fit: &mut Fit,
) -> Result<(), Failure> {
    for name in ["temperature", "top_p", "top_k"] {
        let Some(value) = chat.extra.get(name).filter(|value| !is_nothing(name, value)) else { continue };
        let Some(number) = value.as_f64() else { return Err(wrong(name, "it must be a number")) };
        let is_default = name != "top_k" && (number - 1.0).abs() < f64::EPSILON;
        if is_default {
            continue;
        }
        let is_whole = name != "top_k" || value.is_u64();
        let is_within = name == "top_k" || (0.0..=1.0).contains(&number);
        let is_free = claude.sampling != Sampling::Fixed
            && (!is_asked(request) || name == "top_p" && number >= 0.95)
            && (claude.sampling == Sampling::Free || name != "top_p" || !request.rest.contains_key("temperature"));
        if is_whole && is_within && is_free {
            request.rest.insert(name.to_owned(), value.clone());
        } else {
            fit.omit(name);
        }
    }
    Ok(())
}
