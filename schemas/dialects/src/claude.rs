//! What Claude's models take, told by their names, wherever they are served: how thinking is asked for, whether sampling can
//! be set and a call be forced. Names are those of every house: `claude-opus-4-5`, `anthropic.claude-sonnet-4-6-v1`.
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking>,
//! <https://platform.claude.com/docs/en/build-with-claude/effort>,
//! <https://platform.claude.com/docs/en/about-claude/models/migration-guide>,
//! <https://platform.claude.com/docs/en/models/opus-5-5/whats-new-opus-5-5>,
//! <https://platform.claude.com/docs/en/models/haiku-5-5/whats-new-haiku-5-5>,
//! <https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages>.

use crate::effort::Effort;

/// A model of Claude's, or of a maker who copies the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claude {
    /// How it is asked to think.
    pub(crate) thinking: Thinking,
    /// How it is asked not to.
    pub(crate) rest: Rest,
    /// What can be said of sampling.
    pub(crate) sampling: Sampling,
    /// Whether it can be made to call a tool.
    pub(crate) is_forced: bool,
    /// Whether it goes on with an answer that was begun for it.
    pub(crate) goes_on: bool,
    /// Whether the system may speak between the turns of a conversation: from Opus 4.8 on, but not to Sonnet 5.
    pub(crate) hears_system: bool,
}

/// How a model is asked to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thinking {
    /// By a budget of tokens: Claude up to 4.5, and whoever copies the dialect.
    Budget,
    /// By effort (`low`, `medium`, `high`, `max`) or by a budget: Claude 4.6.
    Either,
    /// By effort alone, `xhigh` among the words: from 4.7 on.
    Effort,
}

/// How a model is asked not to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// By not being asked.
    Unasked,
    /// By `disabled`: some of these think unless they are told.
    Disabled,
    /// By `between_tools`, the least thinking that Sonnet 5.5 has.
    BetweenTools,
    /// Not at all: it always thinks.
    Never,
}

/// What can be said of sampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sampling {
    /// `temperature`, `top_p`, `top_k`.
    Free,
    /// Either `temperature` or `top_p`: from 4.1 on.
    OneOf,
    /// Nothing: from 4.7 on.
    Fixed,
}

const OLD: Claude = Claude {
    thinking: Thinking::Budget,
    rest: Rest::Unasked,
    sampling: Sampling::Free,
    is_forced: true,
    goes_on: true,
    hears_system: false,
};

const NEW: Claude = Claude {
    thinking: Thinking::Effort,
    rest: Rest::Disabled,
    sampling: Sampling::Fixed,
    is_forced: true,
    goes_on: false,
    hears_system: true,
};

/// Whether the model is Anthropic's own; others in its dialect are copies'.
pub(crate) fn is_claude(model: &str) -> bool {
    model.contains("claude")
}

impl Claude {
    /// The word for an effort, of those that the model takes.
    pub(crate) fn word(self, effort: Effort) -> &'static str {
        match (effort, self.thinking) {
            (Effort::Highest, Thinking::Effort) => "xhigh",
            (Effort::Highest | Effort::Most, _) => "max",
            _ => effort.of_three(),
        }
    }

    /// The model of this name; what is not known is taken for a copy that does what old models do.
    pub(crate) fn of(model: &str) -> Self {
        let Some((_, rest)) = model.rsplit_once("claude-") else { return OLD };
        let mut words = rest.split(['-', '@', '.', ':', '_']);
        let family = words.next().unwrap_or_default();
        // Dates are longer than versions.
        let mut version = words.map_while(|word| word.parse::<u32>().ok().filter(|number| *number < 100));
        let version = (version.next().unwrap_or(0), version.next().unwrap_or(0));
        match (family, version) {
            ("fable" | "mythos", (5, 1..) | (6.., _)) => Self { rest: Rest::Never, is_forced: false, ..NEW },
            ("fable" | "mythos", _) => Self { rest: Rest::Never, ..NEW },
            ("haiku", (5.., _)) => NEW,
            ("sonnet", (5, 5..)) => Self { rest: Rest::BetweenTools, is_forced: false, ..NEW },
            // What is not out yet is taken for the strictest of its family.
            ("opus", (5, 5..)) | ("opus" | "sonnet", (6.., _)) => Self { rest: Rest::Never, is_forced: false, ..NEW },
            ("sonnet", (5, _)) | ("opus" | "sonnet", (4, 7)) => Self { hears_system: false, ..NEW },
            ("opus" | "sonnet", (5, _) | (4, 8..)) => NEW,
            ("opus" | "sonnet" | "haiku", (4, 6..)) => {
                Self { thinking: Thinking::Either, sampling: Sampling::OneOf, goes_on: false, ..OLD }
            }
            ("opus" | "sonnet" | "haiku", (4, 1..)) => Self { sampling: Sampling::OneOf, ..OLD },
            _ => OLD,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_takes_is_told_by_its_name() {
        let either = Claude { thinking: Thinking::Either, sampling: Sampling::OneOf, goes_on: false, ..OLD };
        let always = Claude { rest: Rest::Never, is_forced: false, ..NEW };
        for (model, claude) in [
            ("claude-3-5-sonnet-20241022", OLD),
            ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", OLD),
            ("claude-haiku-4-5-20251001", Claude { sampling: Sampling::OneOf, ..OLD }),
            ("claude-opus-4-20250514", OLD),
            ("claude-opus-4-6", either),
            ("us.anthropic.claude-sonnet-4-6-v1:0", either),
            ("claude-opus-4-7-20260416", Claude { hears_system: false, ..NEW }),
            ("claude-opus-4-8", NEW),
            ("claude-sonnet-5", Claude { hears_system: false, ..NEW }),
            ("claude-opus-5@20260701", NEW),
            ("claude-haiku-5-5", NEW),
            ("claude-sonnet-5-5", Claude { rest: Rest::BetweenTools, ..always }),
            ("anthropic.claude-opus-5-5", always),
            ("claude-fable-5", Claude { is_forced: true, ..always }),
            ("claude-fable-5-1", always),
            ("anthropic.claude-mythos-preview", Claude { is_forced: true, ..always }),
            ("kimi-k2", OLD),
        ] {
            assert_eq!(Claude::of(model), claude, "{model}");
        }
    }
}
