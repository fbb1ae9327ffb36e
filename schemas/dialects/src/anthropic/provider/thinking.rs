//! How long the model thinks, and how it samples: the agnostic knobs as each generation of models takes them.
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking>,
//! <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>,
//! <https://platform.claude.com/docs/en/build-with-claude/effort>.

use super::messages::{is_begun, is_unthought};
use super::wire::Request;
use crate::claude::{Claude, Rest, Sampling, Thinking};
use crate::fit::{Fit, is_nothing, wrong};
use penstock_schemas::chat::ChatRequest;
use penstock_schemas::failure::Failure;
use serde_json::{Value, json};

/// The least that a budget may be, and the most that is worth asking for.
const BUDGETS: (u64, u64) = (1024, 128_000);

/// What the caller wants.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    /// Whatever the model does.
    Nothing,
    Off,
    On,
    Effort(String),
    Budget(u64),
}

/// The field that says how long to think.
pub(super) fn field(chat: &ChatRequest) -> &'static str {
    if chat.reasoning_effort.is_some() { "reasoning_effort" } else { "reasoning" }
}

/// Asks for as much thinking as the caller wants. A turn in which the model cannot think goes without, and the field is named.
pub(super) fn spell(chat: &ChatRequest, claude: Claude, request: &mut Request, fit: &mut Fit) -> Result<(), Failure> {
    let field = field(chat);
    match (claude.thinking, wish(chat)?) {
        (_, Wish::Nothing) => {}
        (_, Wish::Off) => rest(claude, field, request, fit),
        (Thinking::Budget, wish) => budgeted(&wish, field, request, fit),
        (Thinking::Either, wish @ Wish::Budget(_)) => budgeted(&wish, field, request, fit),
        (Thinking::Either | Thinking::Effort, wish) => {
            request.thinking = Some(adaptive(claude));
            let effort = match wish {
                Wish::Effort(effort) => Some(effort),
                Wish::Budget(tokens) => Some(effort_of(tokens).to_owned()),
                Wish::Nothing | Wish::Off | Wish::On => None,
            };
            if let Some(effort) = effort {
                request.output_config.insert("effort".to_owned(), spelt(&effort, claude).into());
            }
        }
    }
    Ok(())
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

fn wish(chat: &ChatRequest) -> Result<Wish, Failure> {
    let reasoning = chat.reasoning.as_ref();
    let inner = reasoning.and_then(|reasoning| reasoning.extra.get("effort")).and_then(Value::as_str);
    let effort = chat.reasoning_effort.as_deref().or(inner);
    if let Some(unknown) =
        effort.filter(|effort| !matches!(*effort, "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max"))
    {
        let known = "it is one of none, minimal, low, medium, high, xhigh, max";
        return Err(wrong(
            field(chat),
            &format!("{known}, and not `{}`", unknown.chars().take(40).collect::<String>()),
        ));
    }
    Ok(match (effort, reasoning) {
        (Some("none"), _) => Wish::Off,
        (_, Some(reasoning)) if reasoning.enabled == Some(false) => Wish::Off,
        (_, Some(reasoning)) if reasoning.max_tokens.is_some_and(|most| most > 0) => {
            Wish::Budget(reasoning.max_tokens.unwrap_or(BUDGETS.0))
        }
        (Some(effort), _) => Wish::Effort(effort.to_owned()),
        (None, Some(reasoning)) if reasoning.enabled == Some(true) => Wish::On,
        (None, _) => Wish::Nothing,
    })
}

/// Thinking by a budget, which must be below the longest answer. A history without thoughts, or an answer that was begun,
/// leaves no room for it.
fn budgeted(wish: &Wish, field: &str, request: &mut Request, fit: &mut Fit) {
    let longest = request.max_tokens.unwrap_or(0);
    let tenths = |tenths: u64| longest.saturating_mul(tenths) / 100;
    let wanted = match wish {
        Wish::Budget(tokens) => *tokens,
        Wish::Effort(effort) => match effort.as_str() {
            "minimal" => tenths(10),
            "low" => tenths(20),
            "high" => tenths(80),
            "xhigh" | "max" => tenths(95),
            _ => tenths(50),
        },
        Wish::Nothing | Wish::Off | Wish::On => tenths(50),
    };
    if longest <= BUDGETS.0 || is_unthought(&request.messages) || is_begun(&request.messages) {
        return fit.omit(field);
    }
    let budget = wanted.clamp(BUDGETS.0, BUDGETS.1).min(longest - 1);
    request.thinking = Some(json!({ "type": "enabled", "budget_tokens": budget }));
}

/// Newer models hide their thoughts unless they are asked for.
fn adaptive(claude: Claude) -> Value {
    match claude.thinking {
        Thinking::Effort => json!({ "type": "adaptive", "display": "summarized" }),
        Thinking::Budget | Thinking::Either => json!({ "type": "adaptive" }),
    }
}

fn spelt(effort: &str, claude: Claude) -> &'static str {
    match (effort, claude.thinking) {
        ("minimal" | "low", _) => "low",
        ("medium", _) => "medium",
        ("xhigh", Thinking::Effort) => "xhigh",
        ("xhigh" | "max", _) => "max",
        _ => "high",
    }
}

fn effort_of(tokens: u64) -> &'static str {
    match tokens {
        0..=1024 => "low",
        1025..=8192 => "medium",
        _ => "high",
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
