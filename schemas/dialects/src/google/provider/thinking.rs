//! How much a model thinks: a budget in tokens for Gemini 2.5, a level for later ones. Knows the models by the numbers in
//! their names. Source: <https://ai.google.dev/gemini-api/docs/thinking>.

use crate::effort::{Effort, ReasoningWish};
use crate::fit::{Fit, wrong};
use penstock_schemas::chat::ChatRequest;
use penstock_schemas::failure::Failure;
use serde_json::{Value, json};

/// A generation of models: `gemini-2.5-flash` is 2.5. A name without a number is a newest one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(u32, u32);

impl Generation {
    pub(super) fn of(model: &str) -> Self {
        let Some((_, rest)) = model.split_once("gemini-") else { return Self(u32::MAX, 0) };
        let version = rest.split('-').next().unwrap_or_default();
        let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
        match (major.parse(), minor.parse()) {
            (Ok(major), Ok(minor)) => Self(major, minor),
            _ => Self(u32::MAX, 0),
        }
    }

    /// Whether an answer may have a shape where functions are declared.
    /// Source: <https://ai.google.dev/gemini-api/docs/structured-output#structured_outputs_with_tools>.
    pub(super) fn shapes_beside_tools(self) -> bool {
        self >= Self(3, 0)
    }

    /// Whether calls must come back with their signatures, and results may hold images.
    pub(super) fn is_signed(self) -> bool {
        self >= Self(3, 0)
    }
}

/// Whether the model can be told how much to think: from 2.5 on, but for the first that makes images.
/// Source: <https://ai.google.dev/gemini-api/docs/thinking#supported-models>.
fn is_told(model: &str) -> bool {
    let generation = Generation::of(model);
    let makes_images = model.contains("-image") && generation < Generation(3, 0);
    generation >= Generation(2, 5) && !makes_images && !model.contains("gemma")
}

/// The `thinkingConfig` that a request asks for; `None` when it does not say, or the model does not think.
pub(super) fn config(request: &ChatRequest, model: &str, fit: &mut Fit) -> Result<Option<Value>, Failure> {
    let (wish, field) = ReasoningWish::of(request);
    let effort = match wish {
        ReasoningWish::Unsaid => return Ok(None),
        ReasoningWish::Off | ReasoningWish::On => None,
        ReasoningWish::Tokens(tokens) => Some(Effort::of_tokens(tokens)),
        ReasoningWish::Word(word) => Some(Effort::parse(word).ok_or_else(|| unknown(field))?),
    };
    let is_off = wish == ReasoningWish::Off;
    if !is_told(model) {
        if !is_off {
            fit.omit(field);
        }
        return Ok(None);
    }
    let is_hidden = request.reasoning.as_ref().is_some_and(|it| it.extra.get("exclude") == Some(&Value::Bool(true)));
    let mut config = json!({ "includeThoughts": !is_off && !is_hidden });
    if Generation::of(model) >= Generation(3, 0) {
        if is_off || effort.is_some() {
            config["thinkingLevel"] = level(effort, model).into();
        }
        return Ok(Some(config));
    }
    let most = request.max_completion_tokens.or(request.max_tokens);
    let budget = match (wish, effort) {
        (ReasoningWish::Off, _) => Some(0),
        (ReasoningWish::Tokens(tokens), _) => Some(tokens),
        (_, effort) => effort.map(|effort| budget(effort, most)),
    };
    if let Some(budget) = budget {
        let budget = within(budget, model);
        config["thinkingBudget"] = budget.into();
        if budget == 0 {
            config["includeThoughts"] = false.into();
        }
    }
    Ok(Some(config))
}

fn unknown(field: &str) -> Failure {
    let field = if field == "reasoning" { "reasoning.effort" } else { field };
    wrong(field, "it must be one of none, minimal, low, medium, high, xhigh")
}

/// A level, of those that the model has: the larger models have no least one, the first of them no middle one either.
/// None of these models can be told not to think at all: `None` is the least that they have.
fn level(effort: Option<Effort>, model: &str) -> &'static str {
    let is_pro = model.contains("-pro");
    match effort {
        None | Some(Effort::Minimal) if !is_pro => "MINIMAL",
        None | Some(Effort::Minimal | Effort::Low) => "LOW",
        Some(Effort::Medium) if is_pro && Generation::of(model) == Generation(3, 0) => "HIGH",
        Some(Effort::Medium) => "MEDIUM",
        Some(Effort::High | Effort::Highest | Effort::Most) => "HIGH",
    }
}

/// Tokens for a word: a share of the longest answer as OpenRouter has it, or what Google itself gives for the word.
/// Sources: <https://openrouter.ai/docs/use-cases/reasoning-tokens>, <https://ai.google.dev/gemini-api/docs/openai#thinking>.
fn budget(effort: Effort, most: Option<u64>) -> u64 {
    let usual = match effort {
        Effort::Minimal | Effort::Low => 1024,
        Effort::Medium => 8192,
        Effort::High => 24_576,
        Effort::Highest | Effort::Most => 128_000,
    };
    let share = |most: u64| most.saturating_mul(effort.percent()) / 100;
    most.map_or(usual, |most| share(most).clamp(1024, 128_000).min(most.saturating_sub(1)))
}

/// The budget within what the model takes; only the smaller models take none.
fn within(budget: u64, model: &str) -> u64 {
    let (least, most, can_rest) = match model {
        model if model.contains("-pro") => (128, 32_768, false),
        model if model.contains("flash-lite") => (512, 24_576, true),
        _ => (1, 24_576, true),
    };
    if budget == 0 && can_rest { 0 } else { budget.clamp(least, most) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::envelope::Unsupported;

    fn asked(fields: &Value, model: &str) -> Value {
        let mut request = json!({"model": "m", "messages": []});
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let mut fit = Fit::new(Unsupported::Refuse);
        config(&serde_json::from_value(request).unwrap(), model, &mut fit).unwrap().into()
    }

    #[test]
    fn each_generation_has_a_knob_of_its_own() {
        for (fields, model, config) in [
            (json!({}), "gemini-2.5-pro", json!(null)),
            (json!({"reasoning_effort": "low"}), "gemini-2.5-flash", json!([true, 1024])),
            (json!({"reasoning_effort": "medium", "max_tokens": 10000}), "gemini-2.5-flash", json!([true, 5000])),
            (json!({"reasoning_effort": "high", "max_tokens": 1000}), "gemini-2.5-flash", json!([true, 999])),
            (json!({"reasoning_effort": "xhigh"}), "gemini-2.5-pro", json!([true, 32768])),
            (json!({"reasoning_effort": "none"}), "gemini-2.5-flash", json!([false, 0])),
            (json!({"reasoning_effort": "none"}), "gemini-2.5-pro", json!([false, 128])),
            (json!({"reasoning": {"max_tokens": 2000}}), "gemini-2.5-flash-lite", json!([true, 2000])),
            (json!({"reasoning": {"enabled": true, "exclude": true}}), "gemini-2.5-flash", json!([false, null])),
            (json!({"reasoning_effort": "minimal"}), "gemini-3-pro-preview", json!([true, "LOW"])),
            (json!({"reasoning_effort": "medium"}), "gemini-3-pro-preview", json!([true, "HIGH"])),
            (json!({"reasoning_effort": "medium"}), "gemini-3.1-pro-preview", json!([true, "MEDIUM"])),
            (json!({"reasoning_effort": "none"}), "gemini-3.5-flash", json!([false, "MINIMAL"])),
            (json!({"reasoning": {"max_tokens": 4000}}), "gemini-flash-latest", json!([true, "MEDIUM"])),
            (json!({"reasoning": {"enabled": false}}), "gemini-3.5-flash", json!([false, "MINIMAL"])),
            (json!({"reasoning_effort": "high"}), "gemini-2.0-flash", json!(null)),
            (json!({"reasoning_effort": "high"}), "gemini-2.5-flash-image", json!(null)),
        ] {
            let found = asked(&fields, model);
            let knob = found.get("thinkingBudget").or(found.get("thinkingLevel")).cloned();
            let short = if found.is_null() { found } else { json!([found["includeThoughts"], knob]) };
            assert_eq!(short, config, "{model} {fields}");
        }
    }
}
