//! How long the model thinks, and how it samples: the agnostic knobs as each generation of models takes them.
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking>,
//! <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>,
//! <https://platform.claude.com/docs/en/build-with-claude/effort>.

use super::models::Generation;
use super::wire::Request;
use crate::providers::Ask;
use crate::providers::fit::{Fit, wrong};
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

/// Asks for as much thinking as the caller wants.
pub(super) fn spell(chat: &ChatRequest, ask: &Ask<'_>, request: &mut Request, fit: &mut Fit) -> Result<(), Failure> {
    let field = if chat.reasoning_effort.is_some() { "reasoning_effort" } else { "reasoning" };
    let wish = wish(chat)?;
    let generation = Generation::of(ask.model.as_str());
    match (generation, wish) {
        (_, Wish::Nothing) | (Generation::Budget | Generation::Either { .. }, Wish::Off) => {}
        (Generation::Effort, Wish::Off) => request.thinking = Some(json!({ "type": "disabled" })),
        (Generation::Always, Wish::Off) => fit.cannot(field, "this model always thinks")?,
        (Generation::Budget, wish) => budgeted(&wish, field, request, fit)?,
        (Generation::Either { .. }, wish @ Wish::Budget(_)) => budgeted(&wish, field, request, fit)?,
        (_, wish) => {
            request.thinking = Some(adaptive(generation));
            let effort = match wish {
                Wish::Effort(effort) => Some(effort),
                Wish::Budget(tokens) => Some(effort_of(tokens).to_owned()),
                Wish::Nothing | Wish::Off | Wish::On => None,
            };
            if let Some(effort) = effort {
                request.output_config.insert("effort".to_owned(), spelt(&effort, generation).into());
            }
        }
    }
    Ok(())
}

fn wish(chat: &ChatRequest) -> Result<Wish, Failure> {
    let reasoning = chat.reasoning.as_ref();
    let inner = reasoning.and_then(|reasoning| reasoning.extra.get("effort")).and_then(Value::as_str);
    let effort = chat.reasoning_effort.as_deref().or(inner);
    if let Some(unknown) =
        effort.filter(|effort| !matches!(*effort, "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max"))
    {
        let known = "it is one of none, minimal, low, medium, high, xhigh";
        return Err(wrong(
            "reasoning_effort",
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

/// Thinking by a budget, which must be below the longest answer.
fn budgeted(wish: &Wish, field: &str, request: &mut Request, fit: &mut Fit) -> Result<(), Failure> {
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
    if longest <= BUDGETS.0 {
        return fit.cannot(field, "the model thinks with at least 1024 tokens, and fewer than `max_tokens`");
    }
    let budget = wanted.clamp(BUDGETS.0, BUDGETS.1).min(longest - 1);
    request.thinking = Some(json!({ "type": "enabled", "budget_tokens": budget }));
    Ok(())
}

/// Newer models hide their thoughts unless they are asked for.
fn adaptive(generation: Generation) -> Value {
    match generation {
        Generation::Effort | Generation::Always => json!({ "type": "adaptive", "display": "summarized" }),
        Generation::Budget | Generation::Either { .. } => json!({ "type": "adaptive" }),
    }
}

fn spelt(effort: &str, generation: Generation) -> &'static str {
    match (effort, generation) {
        ("minimal" | "low", _) => "low",
        ("medium", _) => "medium",
        ("xhigh" | "max", Generation::Either { max: true }) => "max",
        ("xhigh", Generation::Effort | Generation::Always) => "xhigh",
        ("max", Generation::Effort | Generation::Always) => "max",
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

/// `temperature`, `top_p`, `top_k`: within the provider's bounds, and where the model and its thinking leave them free.
pub(super) fn sampling(
    name: &str,
    value: &Value,
    ask: &Ask<'_>,
    request: &mut Request,
    fit: &mut Fit,
) -> Result<(), Failure> {
    let Some(number) = value.as_f64() else { return Err(wrong(name, "it must be a number")) };
    let is_default = name != "top_k" && (number - 1.0).abs() < f64::EPSILON;
    let thinks = request.thinking.as_ref().is_some_and(|thinking| thinking["type"] != "disabled");
    let is_free = match name {
        "top_p" => number >= 0.95,
        _ => false,
    };
    if is_default {
        return Ok(());
    }
    if !Generation::of(ask.model.as_str()).takes_sampling() {
        return fit.cannot(name, "this model does not let it be set");
    }
    if thinks && !is_free {
        return fit.cannot(name, "it cannot be set while the model thinks");
    }
    if name == "temperature" && !(0.0..=1.0).contains(&number) {
        return fit.cannot(name, "the provider takes 0 to 1");
    }
    request.rest.insert(name.to_owned(), value.clone());
    Ok(())
}
