//! Whose model it is and what that one takes, as far as its name tells. A profile of the operator's own (an ARN) tells
//! nothing: such a model gets only what every model understands.

use super::wire::CachePoint;
use crate::claude::Claude;
use serde_json::Value;

/// A maker's models, and what differs among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Anthropic's, with the version.
    Claude(u32, u32),
    /// Amazon's Nova, with the version.
    Nova(u32),
    /// OpenAI's open models.
    GptOss,
    /// All others.
    Other,
}

/// How a model is told how long to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    /// By a number of tokens.
    Budget,
    /// By an effort; a number of tokens is understood too.
    AdaptiveOrBudget,
    /// By an effort alone.
    Adaptive,
    /// By Nova's own effort.
    Nova,
    /// By OpenAI's effort.
    Effort,
    /// Not at all.
    None,
}

impl Family {
    /// The family of the model of this name: `us.anthropic.claude-sonnet-4-5-20250929-v1:0`.
    pub(super) fn of(model: &str) -> Self {
        if let Some((_, name)) = model.split_once("claude-") {
            let (major, minor) = claude_version(name);
            Self::Claude(major, minor)
        } else if let Some((_, name)) = model.split_once("amazon.nova-") {
            Self::Nova(if name.starts_with("2-") { 2 } else { 1 })
        } else if model.contains("gpt-oss") {
            Self::GptOss
        } else {
            Self::Other
        }
    }

    /// Source: <https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html>,
    /// <https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html>.
    pub(super) fn thinking(self) -> Thinking {
        match self {
            Self::Claude(major, minor) if (major, minor) >= (4, 7) => Thinking::Adaptive,
            Self::Claude(4, 6) => Thinking::AdaptiveOrBudget,
            Self::Claude(major, minor) if (major, minor) >= (3, 7) => Thinking::Budget,
            Self::Nova(2) => Thinking::Nova,
            Self::GptOss => Thinking::Effort,
            Self::Claude(..) | Self::Nova(_) | Self::Other => Thinking::None,
        }
    }

    pub(super) fn is_claude(self) -> bool {
        matches!(self, Self::Claude(..))
    }

    /// Whether the model can be made to call a tool; of a model whose name tells nothing it is not known.
    /// Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolChoice.html>.
    pub(super) fn is_forced(self, model: &str) -> bool {
        match self {
            Self::Claude(..) => Claude::of(model).is_forced,
            Self::Nova(_) => true,
            Self::GptOss | Self::Other => model.contains("mistral-large"),
        }
    }

    /// Whether the answer can be bound to a schema without a tool, and a tool's arguments to its own. Others' models can
    /// too, but which ones is not to be seen by their names.
    /// Source: <https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html>.
    pub(super) fn binds_schemas(self) -> bool {
        matches!(self, Self::Claude(major, minor) if (major, minor) >= (4, 5))
    }

    /// The cache point that stands for the caller's mark; `None` where there is no mark, or the model knows none.
    /// Source: <https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>.
    pub(super) fn cache_point(self, mark: Option<&Value>) -> Option<CachePoint> {
        let mark = mark.filter(|mark| mark.is_object())?;
        let is_long = mark.get("ttl").is_some_and(|ttl| ttl == "1h");
        match self {
            // Older ones keep what they cache for five minutes, and refuse another word.
            Self::Claude(major, minor) => {
                let is_long = is_long && (major, minor) >= (4, 5);
                Some(CachePoint { kind: "default", ttl: is_long.then_some("1h") })
            }
            Self::Nova(_) => Some(CachePoint { kind: "default", ttl: None }),
            Self::GptOss | Self::Other => None,
        }
    }
}

/// The version in `sonnet-4-5-20250929-v1:0`, `3-7-sonnet-20250219-v1:0`, `opus-5`, `v2:1`. A date is no version.
fn claude_version(name: &str) -> (u32, u32) {
    let number = |part: &str| part.parse().ok().filter(|_| part.len() <= 2);
    let mut parts = name.split(['-', '@']).skip_while(|part| number(part).is_none());
    match (parts.next().and_then(number), parts.next().and_then(number)) {
        (Some(major), minor) => (major, minor.unwrap_or(0)),
        // A preview that has no number yet is newer than all that have one.
        (None, _) if name.starts_with("mythos") || name.starts_with("fable") => (5, 0),
        (None, _) => (2, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_maker_and_version() {
        for (model, family) in [
            ("anthropic.claude-3-5-sonnet-20240620-v1:0", Family::Claude(3, 5)),
            ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", Family::Claude(3, 7)),
            ("anthropic.claude-3-opus-20240229-v1:0", Family::Claude(3, 0)),
            ("anthropic.claude-opus-4-20250514-v1:0", Family::Claude(4, 0)),
            ("anthropic.claude-haiku-4-5@20251001", Family::Claude(4, 5)),
            ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", Family::Claude(4, 5)),
            ("anthropic.claude-opus-4-6-v1", Family::Claude(4, 6)),
            ("anthropic.claude-opus-5", Family::Claude(5, 0)),
            ("anthropic.claude-mythos-preview", Family::Claude(5, 0)),
            ("anthropic.claude-instant-v1", Family::Claude(2, 0)),
            ("anthropic.claude-v2:1", Family::Claude(2, 0)),
            ("arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-7", Family::Claude(4, 7)),
            ("us.amazon.nova-2-lite-v1:0", Family::Nova(2)),
            ("amazon.nova-pro-v1:0", Family::Nova(1)),
            ("openai.gpt-oss-120b-1:0", Family::GptOss),
            ("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", Family::Other),
        ] {
            assert_eq!(Family::of(model), family, "{model}");
        }
    }

    #[test]
    fn only_models_that_keep_what_they_cache_for_an_hour_are_asked_to() {
        let mark = serde_json::json!({"type": "ephemeral", "ttl": "1h"});
        let asked = |model: &str| Family::of(model).cache_point(Some(&mark)).and_then(|point| point.ttl);
        assert_eq!(asked("anthropic.claude-sonnet-4-5-20250929-v1:0"), Some("1h"));
        assert_eq!(asked("anthropic.claude-3-7-sonnet-20250219-v1:0"), None);
        assert_eq!(asked("amazon.nova-pro-v1:0"), None);
    }
}
