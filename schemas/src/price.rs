//! What a model costs: exact prices per usage class, and the one function that turns usage into money.
//! Knows nothing of where prices come from, nor of budgets.

use crate::money::{BadAmount, Picodollars, parse_scaled, write_scaled};
use crate::usage::Usage;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Picodollars per million tokens, or per million characters; written as an exact decimal number of dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PerMillion(u64);

/// Picodollars per unit (an image, a second, a search); written as an exact decimal number of dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PerUnit(u64);

macro_rules! decimal {
    ($name:ident) => {
        impl $name {
            /// Reads a decimal number of dollars, such as `0.15`.
            ///
            /// # Errors
            /// When it is not a plain decimal, or has more than 12 digits behind the point.
            pub fn parse(text: &str) -> Result<Self, BadAmount> {
                parse_scaled(text).map(Self).ok_or_else(|| BadAmount(text.to_owned()))
            }

            /// The price in picodollars.
            pub fn picodollars(self) -> u64 {
                self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = BadAmount;
            fn try_from(text: String) -> Result<Self, BadAmount> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(price: $name) -> String {
                write_scaled(price.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&write_scaled(self.0))
            }
        }
    };
}
decimal!(PerMillion);
decimal!(PerUnit);

/// The prices of one model at one time. A class without a price of its own is charged as its parent class: cached input
/// and image or audio input as input, reasoning and audio output as output, a 1 h cache write as a 5 min one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prices {
    /// The prices that hold for any length of input.
    #[serde(flatten)]
    pub base: TokenPrices,
    /// Per million characters, for speech.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_million_characters: Option<PerMillion>,
    /// Per image made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_image: Option<PerUnit>,
    /// Per second of audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<PerUnit>,
    /// Per search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_search: Option<PerUnit>,
    /// Other prices for the whole request once its input is longer; sorted by `above_input_tokens`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
}

/// Prices per million tokens, by usage class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenPrices {
    /// Uncached input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<PerMillion>,
    /// Input read from the provider's cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<PerMillion>,
    /// Input written to the provider's cache for 5 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<PerMillion>,
    /// Input written to the provider's cache for 1 hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<PerMillion>,
    /// Audio input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_audio: Option<PerMillion>,
    /// Image input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_image: Option<PerMillion>,
    /// Text output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<PerMillion>,
    /// Reasoning output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<PerMillion>,
    /// Audio output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_audio: Option<PerMillion>,
    /// Input through the provider's batch API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_input: Option<PerMillion>,
    /// Output through the provider's batch API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_output: Option<PerMillion>,
}

/// Prices for the whole request when its input is longer than `above_input_tokens`. What a tier does not name costs as
/// in the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// The tier holds for inputs of more tokens than this.
    pub above_input_tokens: u64,
    /// The tier's own prices.
    #[serde(flatten)]
    pub prices: TokenPrices,
}

impl TokenPrices {
    fn or(self, base: Self) -> Self {
        Self {
            input: self.input.or(base.input),
            cache_read: self.cache_read.or(base.cache_read),
            cache_write: self.cache_write.or(base.cache_write),
            cache_write_1h: self.cache_write_1h.or(base.cache_write_1h),
            input_audio: self.input_audio.or(base.input_audio),
            input_image: self.input_image.or(base.input_image),
            output: self.output.or(base.output),
            reasoning: self.reasoning.or(base.reasoning),
            output_audio: self.output_audio.or(base.output_audio),
            batch_input: self.batch_input.or(base.batch_input),
            batch_output: self.batch_output.or(base.batch_output),
        }
    }
}

impl Prices {
    /// The token prices that hold for an input of this many tokens.
    pub fn for_input(&self, tokens: u64) -> TokenPrices {
        let tier = self.tiers.iter().rev().find(|tier| tokens > tier.above_input_tokens);
        tier.map_or(self.base, |tier| tier.prices.or(self.base))
    }

    /// What `usage` costs, rounded half up to a whole picodollar. `None` when something was used that has no price.
    /// Images, seconds and characters beside output tokens with a price are only told, not charged a second time.
    pub fn cost(&self, usage: &Usage) -> Option<Picodollars> {
        let p = self.for_input(usage.input_total());
        let cache_write = p.cache_write.or(p.input);
        let by_tokens = [(usage.output, p.output), (usage.output_audio, p.output_audio.or(p.output))];
        let by_tokens = by_tokens.iter().any(|(count, price)| count.is_some_and(|count| count > 0) && price.is_some());
        let unit = |count: Option<u64>| count.filter(|_| !by_tokens);
        let by_million = [
            (usage.input, p.input),
            (usage.cache_read, p.cache_read.or(p.input)),
            (usage.cache_write, cache_write),
            (usage.cache_write_1h, p.cache_write_1h.or(cache_write)),
            (usage.input_audio, p.input_audio.or(p.input)),
            (usage.input_image, p.input_image.or(p.input)),
            (usage.output, p.output),
            (usage.reasoning, p.reasoning.or(p.output)),
            (usage.output_audio, p.output_audio.or(p.output)),
            (unit(usage.characters), self.per_million_characters),
        ];
        let by_unit = [
            (unit(usage.images), self.per_image),
            (unit(usage.seconds), self.per_second),
            (usage.searches, self.per_search),
        ];

        let mut millionths: u128 = 0;
        for (count, price) in by_million
            .map(|(n, p)| (n, p.map(|p| u128::from(p.0))))
            .into_iter()
            .chain(by_unit.map(|(n, p)| (n, p.map(|p| u128::from(p.0) * 1_000_000))))
        {
            if let Some(count) = count.filter(|count| *count > 0) {
                millionths = millionths.saturating_add(u128::from(count).saturating_mul(price?));
            }
        }
        let picodollars = millionths.saturating_add(500_000) / 1_000_000;
        Some(Picodollars(i64::try_from(picodollars).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(json: &str) -> Prices {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn each_class_is_charged_at_its_own_price_or_its_parents() {
        let prices = prices(r#"{"input":"0.15","output":"0.6","cache_read":"0.075"}"#);
        let usage = Usage { input: Some(1000), cache_read: Some(200), output: Some(10), ..Usage::default() };
        assert_eq!(prices.cost(&usage).unwrap().to_string(), "0.000171");
        let usage = Usage { reasoning: Some(10), input_audio: Some(1), ..Usage::default() };
        assert_eq!(prices.cost(&usage).unwrap().to_string(), "0.00000615");
    }

    #[test]
    fn a_long_input_moves_the_whole_request_to_its_tier() {
        let prices = prices(r#"{"input":"1","output":"2","tiers":[{"above_input_tokens":100,"input":"3"}]}"#);
        let at = |input| prices.cost(&Usage { input: Some(input), output: Some(1), ..Usage::default() }).unwrap();
        assert_eq!(at(100).to_string(), "0.000102");
        assert_eq!(at(101).to_string(), "0.000305");
    }

    #[test]
    fn what_has_no_price_has_no_cost_and_what_was_not_used_needs_none() {
        let prices = prices(r#"{"input":"1"}"#);
        assert_eq!(prices.cost(&Usage { output: Some(1), ..Usage::default() }), None);
        assert_eq!(prices.cost(&Usage { output: Some(0), ..Usage::default() }), Some(Picodollars::ZERO));
    }

    #[test]
    fn an_image_is_charged_by_its_tokens_or_by_itself() {
        let usage = Usage { input: Some(10), output: Some(1000), images: Some(2), ..Usage::default() };
        let by_tokens = prices(r#"{"input":"1","output":"10"}"#);
        assert_eq!(by_tokens.cost(&usage).unwrap().to_string(), "0.01001");
        let by_image = prices(r#"{"per_image":"0.04"}"#);
        assert_eq!(by_image.cost(&Usage { images: Some(2), ..Usage::default() }).unwrap().to_string(), "0.08");
        assert_eq!(by_image.cost(&usage), None);
    }

    #[test]
    fn a_fraction_of_a_picodollar_is_rounded_half_up() {
        let prices = prices(r#"{"input":"0.0000005"}"#);
        let cost = |input| prices.cost(&Usage { input: Some(input), ..Usage::default() }).unwrap().0;
        assert_eq!((cost(0), cost(1), cost(2), cost(3)), (0, 1, 1, 2));
    }
}
