//! How much a model thinks: a budget in tokens for Gemini 2.5, a level for later ones. Knows the models by the numbers in
//! their names. Source: <https://ai.google.dev/gemini-api/docs/thinking>.

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

/// What is asked for, in the order of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Highest,
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
    let reasoning = request.reasoning.clone().unwrap_or_default();
    let word = match (&request.reasoning_effort, reasoning.extra.get("effort")) {
        (Some(word), _) => Some(("reasoning_effort", word.as_str())),
        (None, Some(Value::String(word))) => Some(("reasoning.effort", word.as_str())),
        _ => None,
    };
    let effort = word.map(|(field, word)| effort(field, word)).transpose()?;
    let effort = if reasoning.enabled == Some(false) { Some(Effort::None) } else { effort };
    if effort.is_none() && reasoning.max_tokens.is_none() && reasoning.enabled.is_none() {
        return Ok(None);
    }
    if !is_told(model) {
        if effort != Some(Effort::None) {
            fit.omit(if request.reasoning_effort.is_some() { "reasoning_effort" } else { "reasoning" });
        }
        return Ok(None);
    }
    let is_shown = effort != Some(Effort::None) && reasoning.extra.get("exclude") != Some(&Value::Bool(true));
    let mut config = json!({ "includeThoughts": is_shown });
    if Generation::of(model) >= Generation(3, 0) {
        let level = effort.or(reasoning.max_tokens.map(of_budget)).map(|effort| level(effort, model));
        if let Some(level) = level {
            config["thinkingLevel"] = level.into();
        }
    } else {
        let most = request.max_completion_tokens.or(request.max_tokens);
        // What the caller counted in tokens goes before what it said in a word.
        let budget = match (effort, reasoning.max_tokens) {
            (Some(Effort::None), _) => Some(0),
            (_, Some(tokens)) => Some(tokens),
            (Some(effort), None) => Some(budget(effort, most)),
            (None, None) => None,
        };
        if let Some(budget) = budget {
            let budget = within(budget, model);
            config["thinkingBudget"] = budget.into();
            if budget == 0 {
                config["includeThoughts"] = false.into();
            }
        }
    }
    Ok(Some(config))
}

fn effort(field: &str, word: &str) -> Result<Effort, Failure> {
    Ok(match word {
        "none" => Effort::None,
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" | "max" => Effort::Highest,
        _ => return Err(wrong(field, "it must be one of none, minimal, low, medium, high, xhigh")),
    })
}

/// A level, of those that the model has: the larger models have no least one, the first of them no middle one either.
/// None of these models can be told not to think at all.
fn level(effort: Effort, model: &str) -> &'static str {
    let is_pro = model.contains("-pro");
    match effort {
        Effort::None | Effort::Minimal if !is_pro => "MINIMAL",
        Effort::None | Effort::Minimal | Effort::Low => "LOW",
        Effort::Medium if is_pro && Generation::of(model) == Generation(3, 0) => "HIGH",
        Effort::Medium => "MEDIUM",
        Effort::High | Effort::Highest => "HIGH",
    }
}

fn of_budget(tokens: u64) -> Effort {
    match tokens {
        0 => Effort::None,
        1..=1024 => Effort::Low,
        1025..=8192 => Effort::Medium,
        _ => Effort::High,
    }
}

/// Tokens for a word: a share of the longest answer as OpenRouter has it, or what Google itself gives for the word.
/// Sources: <https://openrouter.ai/docs/use-cases/reasoning-tokens>, <https://ai.google.dev/gemini-api/docs/openai#thinking>.
fn budget(effort: Effort, most: Option<u64>) -> u64 {
    let (percent, usual) = match effort {
        Effort::None => return 0,
        Effort::Minimal => (10, 1024),
        Effort::Low => (20, 1024),
        Effort::Medium => (50, 8192),
        Effort::High => (80, 24_576),
        Effort::Highest => (95, 128_000),
    };
    most.map_or(usual, |most| (most.saturating_mul(percent) / 100).clamp(1024, 128_000).min(most.saturating_sub(1)))
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
