//! What of a request shapes its cost, read once from the bytes that are sent on: limits, choices, texts, images, files,
//! tools. What cannot be read in one way only is refused by name, and what has no size counts at its largest. Knows the
//! client dialects and the fields of providers that multiply cost; knows no model and no price: that is `bound`.

mod content;
mod cursor;
mod kind;
mod number;
mod options;
mod other_model;
mod read;
mod service;
#[cfg(test)]
mod tests;
mod tools;

pub use cursor::DEEPEST;
pub use read::check_names;

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The most tokens of one image that is made. Source: <https://platform.openai.com/docs/guides/image-generation#cost-and-latency>,
/// 6,240 for the largest, and one of each look on the way to it.
pub const IMAGE_TOKENS: u64 = 8_192;

/// Turns that a provider takes by itself when it may search and the request sets no limit: Anthropic's own example of a
/// limit is 5, and 10 its default.
pub const OWN_TURNS: u64 = 10;

/// What of one request shapes its cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extent {
    /// The length of the request.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes: u64,
    /// The longest answer that the request allows, in tokens; `None`: it sets no limit that every provider obeys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
    /// A limit under a name that the dialect does not know: it may be obeyed, or not.
    #[serde(skip_serializing_if = "is_zero")]
    pub other_output: u64,
    /// Tokens of thinking that it asks for.
    #[serde(skip_serializing_if = "is_zero")]
    pub thinking: u64,
    /// The length of a predicted answer, in bytes: what of it is wrong is charged as output.
    #[serde(skip_serializing_if = "is_zero")]
    pub predicted: u64,
    /// Answers to one text, or images; 0: one.
    #[serde(skip_serializing_if = "is_zero")]
    pub choices: u64,
    /// Texts in a list, each of which may fill the context; 0: one.
    #[serde(skip_serializing_if = "is_zero")]
    pub texts: u64,
    /// Documents to be ranked.
    #[serde(skip_serializing_if = "is_zero")]
    pub documents: u64,
    /// The length of what they are ranked by, in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub query: u64,
    /// Images to look at.
    #[serde(skip_serializing_if = "is_zero")]
    pub images: u64,
    /// Whether it holds or names what may be of any length: a file, audio, something that the provider keeps.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_open: bool,
    /// Whether it declares tools.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_tools: bool,
    /// Times that the provider may use tools of its own; 0: it has none.
    #[serde(skip_serializing_if = "is_zero")]
    pub own_turns: u64,
    /// The calls of tools that the request allows, where it says so.
    #[serde(skip_serializing_if = "is_zero")]
    pub tool_calls: u64,
    /// The most tokens of an image that is made, where that is more than the usual.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_tokens: u64,
    /// How many times longer than usual a text is spoken; 0: not longer.
    #[serde(skip_serializing_if = "is_zero")]
    pub slowness: u64,
    /// Whether it asks for a service that providers charge more for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_priority: bool,
    /// Which dearer service it asks for, where that shows in the price of each token.
    #[serde(skip_serializing_if = "AskedService::is_usual")]
    pub service: AskedService,
}

/// The service that a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskedService {
    /// One that the prices are for.
    #[default]
    Usual,
    /// A dearer tier. The provider may have none free, and then says so in its answer.
    Tier,
    /// A speed or a place that costs more.
    Surcharged,
}

impl AskedService {
    /// Whether the prices are for it.
    pub fn is_usual(&self) -> bool {
        *self == Self::Usual
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Why a request cannot be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Whoever parses it says what is wrong.
    #[error("it is not JSON")]
    NotJson,
    /// Nested too deeply.
    #[error("it is nested more than {DEEPEST} levels deep")]
    TooDeep,
    /// The value at a place could be read in more than one way.
    #[error("`{place}`: {why}")]
    Wrong {
        /// The place: `generationConfig.maxOutputTokens`.
        place: String,
        /// What is wrong there.
        why: String,
    },
}

/// Whether a model's name says that its provider searches before each answer.
/// Sources: <https://openrouter.ai/docs/guides/routing/model-variants/online>, <https://platform.openai.com/docs/guides/tools-web-search>.
pub fn searches(model: &str) -> bool {
    model.split(':').skip(1).any(|variant| variant.eq_ignore_ascii_case("online"))
        || ["-search-preview", "-search-api"].iter().any(|name| model.contains(name))
}

impl Extent {
    /// A request of which nothing but its length is known: everything counts at its largest.
    pub fn unknown(bytes: usize) -> Self {
        Self { bytes: bytes as u64, is_open: true, has_tools: true, ..Self::default() }
    }

    /// The longest output of each choice for a model whose own limit is `longest`.
    pub fn output_within(&self, longest: u64) -> u64 {
        let stated = self.output.unwrap_or(longest).max(self.other_output);
        stated.saturating_add(self.thinking).saturating_add(self.predicted)
    }

    /// The same at a model whose provider searches before each answer.
    pub fn at(&self, model: &str) -> Cow<'_, Self> {
        if searches(model) && self.own_turns == 0 {
            return Cow::Owned(Self { own_turns: 1, ..self.clone() });
        }
        Cow::Borrowed(self)
    }

    /// How many answers are made.
    pub fn answers(&self) -> u64 {
        self.choices.max(1).saturating_mul(self.texts.max(1))
    }
}
