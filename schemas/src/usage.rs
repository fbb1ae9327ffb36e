//! What an attempt consumed, in disjoint classes. A class that a provider did not report is `None`, never 0.
//! Knows nothing of prices, nor of how providers spell their counts.

use serde::{Deserialize, Serialize};

/// Token counts and units of one attempt. The classes do not overlap: their sum is what the provider processed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Input tokens that came from no cache; text unless a class of their own counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<u64>,
    /// Input tokens read from the provider's prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<u64>,
    /// Input tokens written to the provider's prompt cache for 5 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<u64>,
    /// Input tokens written to the provider's prompt cache for 1 hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<u64>,
    /// Audio tokens of the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_audio: Option<u64>,
    /// Image tokens of the input, where the provider counts them apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_image: Option<u64>,
    /// Output tokens that are neither reasoning nor audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
    /// Output tokens spent on reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
    /// Audio tokens of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_audio: Option<u64>,
    /// Images made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,
    /// Seconds of audio, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Characters of text, for speech.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters: Option<u64>,
    /// Searches: web searches, and the search units of a rerank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub searches: Option<u64>,
}

impl Usage {
    /// All input tokens: what a long-context price tier is chosen by.
    pub fn input_total(&self) -> u64 {
        let classes =
            [self.input, self.cache_read, self.cache_write, self.cache_write_1h, self.input_audio, self.input_image];
        classes.into_iter().flatten().sum()
    }

    /// The sum of both, class by class.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let add = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        Self {
            input: add(self.input, other.input),
            cache_read: add(self.cache_read, other.cache_read),
            cache_write: add(self.cache_write, other.cache_write),
            cache_write_1h: add(self.cache_write_1h, other.cache_write_1h),
            input_audio: add(self.input_audio, other.input_audio),
            input_image: add(self.input_image, other.input_image),
            output: add(self.output, other.output),
            reasoning: add(self.reasoning, other.reasoning),
            output_audio: add(self.output_audio, other.output_audio),
            images: add(self.images, other.images),
            seconds: add(self.seconds, other.seconds),
            characters: add(self.characters, other.characters),
            searches: add(self.searches, other.searches),
        }
    }

    /// All output tokens.
    pub fn output_total(&self) -> u64 {
        [self.output, self.reasoning, self.output_audio].into_iter().flatten().sum()
    }
}

/// Where a row's usage comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// The provider reported it.
    Provider,
    /// We counted with a tokenizer, because the provider reported none.
    Counted,
    /// Not known: the attempt ended before anyone could tell.
    Unknown,
}
