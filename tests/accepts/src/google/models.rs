//! What each of Gemini's models takes. Sources: <https://ai.google.dev/gemini-api/docs/thinking#set-budget>,
//! <https://ai.google.dev/gemini-api/docs/gemini-3>, <https://ai.google.dev/gemini-api/docs/thought-signatures>.

/// What a model takes.
pub(super) struct Facts {
    /// Whether it has a `thinkingConfig`.
    pub(super) thinks: bool,
    /// The values of `thinkingLevel`; none before Gemini 3.
    pub(super) levels: &'static [&'static str],
    /// The least and the most of `thinkingBudget`, and whether it may be 0.
    pub(super) budgets: (i64, i64),
    pub(super) rests: bool,
    /// Whether calls must come back with their signatures.
    pub(super) signed: bool,
    /// Whether an answer may have a shape where functions are declared.
    pub(super) shapes_beside_tools: bool,
    /// Whether the results of calls may hold parts.
    pub(super) parts_in_results: bool,
}

impl Facts {
    pub(super) fn of(model: &str) -> Self {
        let version = model.split_once("gemini-").map_or("9", |(_, rest)| rest.split('-').next().unwrap_or_default());
        let version: f64 = version.parse().unwrap_or(9.0);
        let is_pro = model.contains("-pro");
        let (budgets, rests) = match model {
            _ if is_pro => ((128, 32_768), false),
            _ if model.contains("flash-lite") => ((512, 24_576), true),
            _ => ((1, 24_576), true),
        };
        let is_new = version >= 3.0;
        Self {
            thinks: version >= 2.5 && (is_new || !model.contains("-image")) && !model.contains("gemma"),
            levels: match (is_new, is_pro) {
                (false, _) => &[],
                (true, true) if version < 3.1 => &["LOW", "HIGH"],
                (true, true) => &["LOW", "MEDIUM", "HIGH"],
                (true, false) => &["MINIMAL", "LOW", "MEDIUM", "HIGH"],
            },
            budgets,
            rests,
            signed: is_new,
            shapes_beside_tools: is_new,
            parts_in_results: is_new,
        }
    }
}
