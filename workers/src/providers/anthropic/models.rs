//! What Claude's generations take, told by the model's name: how thinking is asked for, and whether sampling can be set.
//! Names are those of every house that serves them: `claude-opus-4-5`, `anthropic.claude-sonnet-4-6-v1`.
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking>,
//! <https://platform.claude.com/docs/en/build-with-claude/effort>,
//! <https://platform.claude.com/docs/en/about-claude/models/migration-guide>.

/// How a model is asked to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generation {
    /// By a budget of tokens: Claude up to 4.5, and whoever copies the dialect.
    Budget,
    /// By effort or by a budget: Claude 4.6.
    Either {
        /// Whether it knows the effort `max`.
        max: bool,
    },
    /// By effort alone; sampling cannot be set: Claude 4.7 to 5.
    Effort,
    /// Likewise, and it cannot be told not to think: Fable, Mythos, and Claude from 5.5 on.
    Always,
}

impl Generation {
    /// That of a model.
    pub(super) fn of(model: &str) -> Self {
        let Some((_, rest)) = model.rsplit_once("claude-") else { return Self::Budget };
        let mut words = rest.split(['-', '@', '.', ':', '_']);
        let family = words.next().unwrap_or_default();
        // Dates are longer than versions.
        let mut version = words.map_while(|word| word.parse::<u32>().ok().filter(|number| *number < 100));
        let version = (version.next().unwrap_or(0), version.next().unwrap_or(0));
        match (family, version) {
            ("fable" | "mythos", _) => Self::Always,
            ("opus" | "sonnet" | "haiku", (5, 5..) | (6.., _)) => Self::Always,
            ("opus" | "sonnet" | "haiku", (4, 7..) | (5, _)) => Self::Effort,
            ("opus", (4, 6)) => Self::Either { max: true },
            ("sonnet" | "haiku", (4, 6)) => Self::Either { max: false },
            _ => Self::Budget,
        }
    }

    /// Whether `temperature`, `top_p` and `top_k` can be set.
    pub(super) fn takes_sampling(self) -> bool {
        matches!(self, Self::Budget | Self::Either { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_told_by_its_name() {
        for (model, generation) in [
            ("claude-3-5-sonnet-20241022", Generation::Budget),
            ("claude-haiku-4-5-20251001", Generation::Budget),
            ("claude-opus-4-20250514", Generation::Budget),
            ("claude-opus-4-6", Generation::Either { max: true }),
            ("us.anthropic.claude-sonnet-4-6-v1:0", Generation::Either { max: false }),
            ("claude-opus-4-7-20260416", Generation::Effort),
            ("claude-sonnet-5", Generation::Effort),
            ("claude-opus-5@20260701", Generation::Effort),
            ("claude-haiku-5-5", Generation::Always),
            ("claude-fable-5-1", Generation::Always),
            ("kimi-k2", Generation::Budget),
        ] {
            assert_eq!(Generation::of(model), generation, "{model}");
        }
    }
}
