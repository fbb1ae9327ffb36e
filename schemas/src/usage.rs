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
    /// Image tokens of the output, where the provider counts them apart or makes nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_image: Option<u64>,
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
    /// Runs of code, each in a container that the provider charges for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_executions: Option<u64>,
    /// Searches in files that the provider keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_searches: Option<u64>,
}

impl Usage {
    /// All input tokens: what a long-context price tier is chosen by.
    pub fn input_total(&self) -> u64 {
        let classes =
            [self.input, self.cache_read, self.cache_write, self.cache_write_1h, self.input_audio, self.input_image];
        add(classes)
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
            output_image: add(self.output_image, other.output_image),
            images: add(self.images, other.images),
            seconds: add(self.seconds, other.seconds),
            characters: add(self.characters, other.characters),
            searches: add(self.searches, other.searches),
            code_executions: add(self.code_executions, other.code_executions),
            file_searches: add(self.file_searches, other.file_searches),
        }
    }

    /// This claim of a stream, after an earlier one: figures only grow, so where a later one falls behind, the larger of each
    /// side counts. Input may be put right, by less than half of it: some servers begin with an estimate.
    #[must_use]
    pub fn after(self, earlier: Self) -> Self {
        let larger = |a: Option<u64>, b: Option<u64>| a.max(b);
        let shrinks = self.output_total() < earlier.output_total();
        let least = if shrinks { earlier.input_total() } else { earlier.input_total() / 2 };
        let input = if self.input_total() < least { earlier } else { self };
        let output = if shrinks { earlier } else { self };
        Self {
            input: input.input,
            cache_read: input.cache_read,
            cache_write: input.cache_write,
            cache_write_1h: input.cache_write_1h,
            input_audio: input.input_audio,
            input_image: input.input_image,
            output: output.output,
            reasoning: output.reasoning,
            output_audio: output.output_audio,
            output_image: output.output_image,
            images: larger(self.images, earlier.images),
            seconds: larger(self.seconds, earlier.seconds),
            characters: larger(self.characters, earlier.characters),
            searches: larger(self.searches, earlier.searches),
            code_executions: larger(self.code_executions, earlier.code_executions),
            file_searches: larger(self.file_searches, earlier.file_searches),
        }
    }

    /// Every class that was used, by the name that it has in SQL.
    pub fn used(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = [
            ("input_tokens", self.input),
            ("cache_read_tokens", self.cache_read),
            ("cache_write_tokens", self.cache_write),
            ("cache_write_1h_tokens", self.cache_write_1h),
            ("input_audio_tokens", self.input_audio),
            ("input_image_tokens", self.input_image),
            ("output_tokens", self.output),
            ("reasoning_tokens", self.reasoning),
            ("output_audio_tokens", self.output_audio),
            ("output_image_tokens", self.output_image),
            ("images", self.images),
            ("seconds", self.seconds),
            ("characters", self.characters),
            ("searches", self.searches),
            ("code_executions", self.code_executions),
            ("file_searches", self.file_searches),
        ];
        all.into_iter().filter_map(|(name, count)| Some((name, count.filter(|count| *count > 0)?)))
    }

    /// All output tokens.
    pub fn output_total(&self) -> u64 {
        add([self.output, self.reasoning, self.output_audio, self.output_image])
    }
}

/// A sum that stops at the largest number.
fn add<const N: usize>(counts: [Option<u64>; N]) -> u64 {
    counts.into_iter().flatten().fold(0, u64::saturating_add)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_claims_of_a_stream_the_later_counts_unless_it_falls_behind() {
        let usage = |json: &str| serde_json::from_str::<Usage>(json).unwrap();
        for (earlier, later, counts) in [
            (r#"{"input":10,"output":1}"#, r#"{"input":10,"output":5}"#, r#"{"input":10,"output":5}"#),
            (r#"{"input":10,"output":5}"#, r#"{"input":1,"output":0}"#, r#"{"input":10,"output":5}"#),
            (r#"{"input":10,"output":5}"#, r#"{"input":12,"output":0}"#, r#"{"input":12,"output":5}"#),
            (r#"{"input":10,"output":5}"#, r#"{"input":1,"output":6}"#, r#"{"input":10,"output":6}"#),
            // An estimate that is put right.
            (r#"{"input":10,"output":1}"#, r#"{"input":8,"output":6}"#, r#"{"input":8,"output":6}"#),
            (r#"{"input":10}"#, r#"{"input":1,"cache_read":9}"#, r#"{"input":1,"cache_read":9}"#),
            (r#"{"output":9}"#, r#"{"output":2,"reasoning":7}"#, r#"{"output":2,"reasoning":7}"#),
            (r#"{"output":9,"searches":3}"#, r#"{"output":9}"#, r#"{"output":9,"searches":3}"#),
        ] {
            assert_eq!(usage(later).after(usage(earlier)), usage(counts), "{earlier} {later}");
        }
    }

    #[test]
    fn sums_stop_at_the_largest_number() {
        let most = Some(u64::MAX);
        let usage = Usage { input: most, cache_read: most, output: most, reasoning: most, ..Usage::default() };
        assert_eq!((usage.input_total(), usage.output_total()), (u64::MAX, u64::MAX));
        assert_eq!(usage.plus(usage), usage);
    }
}
