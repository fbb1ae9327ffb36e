//! What each of Claude's models takes. Sources: <https://platform.claude.com/docs/en/about-claude/models/migration-guide>,
//! <https://platform.claude.com/docs/en/build-with-claude/effort>,
//! <https://platform.claude.com/docs/en/models/opus-5-5/whats-new-opus-5-5>,
//! <https://platform.claude.com/docs/en/models/haiku-5-5/whats-new-haiku-5-5>,
//! <https://github.com/vercel/ai/releases/tag/@ai-sdk%2Fanthropic@4.0.67> (Sonnet 5.5).

/// What can be said of sampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sampling {
    /// `temperature`, `top_p`, `top_k`.
    Free,
    /// `temperature` or `top_p`, not both.
    OneOf,
    /// Nothing but the defaults.
    Fixed,
}

/// What a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The values of `thinking.type`.
    pub(crate) thinking: &'static [&'static str],
    /// The values of `output_config.effort`; empty when it has none.
    pub(crate) efforts: &'static [&'static str],
    /// Whether its least thinking excludes the efforts `xhigh` and `max`.
    pub(crate) limits_effort: bool,
    pub(crate) sampling: Sampling,
    /// Whether a call of a tool can be forced.
    pub(crate) forced: bool,
    /// Whether it goes on with an answer that was begun for it.
    pub(crate) prefill: bool,
    /// Whether it has `output_config.format` and `strict` tools.
    pub(crate) schemas: bool,
}

const THREE: &[&str] = &["low", "medium", "high"];
const FOUR: &[&str] = &["low", "medium", "high", "max"];
const FIVE: &[&str] = &["low", "medium", "high", "xhigh", "max"];

/// Claude up to 3.5, and whoever copies the dialect without saying more.
const OLD: Facts = Facts {
    thinking: &["enabled", "disabled"],
    efforts: &[],
    limits_effort: false,
    sampling: Sampling::Free,
    forced: true,
    prefill: true,
    schemas: false,
};

/// Claude 4.7 and 4.8.
const FIXED: Facts = Facts {
    thinking: &["adaptive", "disabled"],
    efforts: FIVE,
    sampling: Sampling::Fixed,
    prefill: false,
    schemas: true,
    ..OLD
};

impl Facts {
    /// Those of a model.
    pub(crate) fn of(model: &str) -> Self {
        let Some((_, rest)) = model.rsplit_once("claude-") else { return Self { schemas: true, ..OLD } };
        let mut words = rest.split(['-', '@', '.', ':', '_']);
        let family = words.next().unwrap_or_default();
        let mut version = words.map_while(|word| word.parse::<u32>().ok().filter(|number| *number < 100));
        let version = (version.next().unwrap_or(0), version.next().unwrap_or(0));
        match (family, version) {
            ("fable" | "mythos", (5.., 1..)) => Self { thinking: &["adaptive"], forced: false, ..FIXED },
            ("fable" | "mythos", _) => Self { thinking: &["adaptive"], ..FIXED },
            ("opus", (5, 5)) => Self { thinking: &["adaptive"], forced: false, ..FIXED },
            ("sonnet", (5, 5)) => {
                Self { thinking: &["adaptive", "between_tools"], limits_effort: true, forced: false, ..FIXED }
            }
            ("haiku", (5, 5)) | ("opus" | "sonnet", (5, 0)) => Self { limits_effort: true, ..FIXED },
            ("opus" | "sonnet", (4, 7..)) => FIXED,
            (_, (4, 6)) => Self {
                thinking: &["enabled", "adaptive", "disabled"],
                efforts: FOUR,
                sampling: Sampling::OneOf,
                prefill: false,
                schemas: true,
                ..OLD
            },
            ("opus", (4, 5)) => Self { efforts: THREE, sampling: Sampling::OneOf, schemas: true, ..OLD },
            (_, (4, 5)) => Self { sampling: Sampling::OneOf, schemas: true, ..OLD },
            (_, (4, 1)) => Self { sampling: Sampling::OneOf, ..OLD },
            _ => OLD,
        }
    }
}
