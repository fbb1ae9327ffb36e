//! What a model costs: exact prices per usage class, and the one function that turns usage into money.
//! Knows nothing of where prices come from, nor of budgets.

use crate::money::{BadAmount, Picodollars, parse_scaled, write_scaled};
use crate::usage::Usage;
use serde::{Deserialize, Serialize};
use std::fmt;

mod batch;

pub use batch::{BatchRates, Rate};

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
/// and image or audio input as input, reasoning and audio or image output as output, a 1 h cache write as a 5 min one.
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
    /// Per run of code in the provider's container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_code_execution: Option<PerUnit>,
    /// Per search in files that the provider keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_file_search: Option<PerUnit>,
    /// Other prices for the whole request once its input is longer; sorted by `above_input_tokens`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
    /// What the provider's own batch API charges of the prices per token; absent: it has none, or its prices are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchRates>,
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
    /// Image output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_image: Option<PerMillion>,
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
    /// These, and those of `base` for the classes that have none here.
    #[must_use]
    pub fn or(self, base: Self) -> Self {
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
            output_image: self.output_image.or(base.output_image),
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
    pub fn cost(&self, usage: &Usage) -> Option<Picodollars> {
        let charge = self.charge(usage);
        if charge.unpriced == Usage::default() { charge.cost.or(Some(Picodollars::ZERO)) } else { None }
    }

    /// What of `usage` has a price costs, and what has none. Images, seconds and characters beside output tokens with a
    /// price are only told, not charged a second time; and so are tokens without a price beside such units that have one.
    pub fn charge(&self, usage: &Usage) -> PriceCharge {
        let p = self.for_input(usage.input_total());
        let cache_write = p.cache_write.or(p.input);
        let outputs = [
            (usage.output, p.output),
            (usage.output_audio, p.output_audio.or(p.output)),
            (usage.output_image, p.output_image.or(p.output)),
        ];
        let is_used = |count: Option<u64>| count.is_some_and(|count| count > 0);
        let by_tokens = outputs.iter().any(|(count, price)| is_used(*count) && price.is_some());
        let units = [
            (usage.images, self.per_image.is_some()),
            (usage.seconds, self.per_second.is_some()),
            (usage.characters, self.per_million_characters.is_some()),
        ];
        let by_units = !by_tokens && units.iter().any(|(count, is_priced)| is_used(*count) && *is_priced);
        let has_output = outputs.iter().any(|(count, _)| is_used(*count));

        let mut sum = Sum::default();
        let mut tokens = |count: Option<u64>, price: Option<PerMillion>| {
            sum.add(count, price.map(|price| u128::from(price.0))).filter(|_| !by_units)
        };
        let mut rest = Usage {
            input: tokens(usage.input, p.input),
            cache_read: tokens(usage.cache_read, p.cache_read.or(p.input)),
            cache_write: tokens(usage.cache_write, cache_write),
            cache_write_1h: tokens(usage.cache_write_1h, p.cache_write_1h.or(cache_write)),
            input_audio: tokens(usage.input_audio, p.input_audio.or(p.input)),
            input_image: tokens(usage.input_image, p.input_image.or(p.input)),
            output: tokens(usage.output, p.output),
            reasoning: tokens(usage.reasoning, p.reasoning.or(p.output)),
            output_audio: tokens(usage.output_audio, p.output_audio.or(p.output)),
            output_image: tokens(usage.output_image, p.output_image.or(p.output)),
            ..Usage::default()
        };
        let unit = |price: Option<PerUnit>| price.map(|price| u128::from(price.0) * 1_000_000);
        // Beside output tokens they are only told, whether those have a price or not.
        let told = |count: Option<u64>| count.filter(|_| !by_tokens);
        let characters = self.per_million_characters.map(|price| u128::from(price.0));
        rest.characters = sum.add(told(usage.characters), characters).filter(|_| !has_output);
        rest.images = sum.add(told(usage.images), unit(self.per_image)).filter(|_| !has_output);
        rest.seconds = sum.add(told(usage.seconds), unit(self.per_second)).filter(|_| !has_output);
        rest.searches = sum.add(usage.searches, unit(self.per_search));
        rest.code_executions = sum.add(usage.code_executions, unit(self.per_code_execution));
        rest.file_searches = sum.add(usage.file_searches, unit(self.per_file_search));
        PriceCharge { cost: sum.picodollars(), unpriced: rest }
    }

    /// These prices, with the ceiling for every class that has none.
    #[must_use]
    pub fn filled(&self, ceiling: &Ceiling) -> Self {
        let tokens = Some(ceiling.per_million);
        let unit = Some(ceiling.per_unit);
        let base = TokenPrices { input: self.base.input.or(tokens), output: self.base.output.or(tokens), ..self.base };
        Self {
            base,
            per_search: self.per_search.or(unit),
            per_code_execution: self.per_code_execution.or(unit),
            per_file_search: self.per_file_search.or(unit),
            ..self.clone()
        }
    }
}

/// What usage without a price is charged at in budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceiling {
    /// For tokens and characters.
    pub per_million: PerMillion,
    /// For searches, images, seconds and runs of code.
    pub per_unit: PerUnit,
}

impl Ceiling {
    /// What holds where the operator names none: dearer than what any provider of the catalogue asks for such usage, but for
    /// a few models.
    pub const USUAL: Self = Self { per_million: PerMillion(100_000_000_000_000), per_unit: PerUnit(100_000_000_000) };

    /// What this usage comes to at most.
    pub fn cost(&self, usage: &Usage) -> Picodollars {
        let by_million = [usage.input_total(), usage.output_total(), usage.characters.unwrap_or(0)];
        let by_unit = [usage.images, usage.seconds, usage.searches, usage.code_executions, usage.file_searches];
        let mut sum = Sum::default();
        for count in by_million {
            sum.add(Some(count), Some(u128::from(self.per_million.0)));
        }
        for count in by_unit {
            sum.add(count, Some(u128::from(self.per_unit.0) * 1_000_000));
        }
        sum.picodollars().unwrap_or_default()
    }
}

/// What usage comes to at some prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PriceCharge {
    /// The cost of what has a price; `None` when nothing that was used has one.
    pub cost: Option<Picodollars>,
    /// What has none.
    pub unpriced: Usage,
}

/// A sum of money in the making, in millionths of a picodollar.
#[derive(Default)]
struct Sum {
    millionths: u128,
    has_price: bool,
}

impl Sum {
    /// Adds so many at this price for a million; gives them back when they have none.
    fn add(&mut self, count: Option<u64>, price: Option<u128>) -> Option<u64> {
        let count = count.filter(|count| *count > 0)?;
        let Some(price) = price else { return Some(count) };
        self.has_price = true;
        self.millionths = self.millionths.saturating_add(u128::from(count).saturating_mul(price));
        None
    }

    /// Rounded half up; `None` when nothing had a price.
    fn picodollars(&self) -> Option<Picodollars> {
        let picodollars = self.millionths.saturating_add(500_000) / 1_000_000;
        self.has_price.then(|| Picodollars(i64::try_from(picodollars).unwrap_or(i64::MAX)))
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
        // Its tokens are only told.
        assert_eq!(by_image.cost(&usage).unwrap().to_string(), "0.08");
    }

    #[test]
    fn one_class_without_a_price_leaves_the_others_their_cost() {
        let searched = Usage { input: Some(1000), output: Some(10), searches: Some(3), ..Usage::default() };
        let image = Usage { input: Some(100), output_image: Some(4160), images: Some(1), ..Usage::default() };
        let rest = |unpriced: &Usage| serde_json::to_string(unpriced).unwrap();
        for (of, usage, cost, unpriced) in [
            (r#"{"input":"1","output":"2"}"#, searched, Some("0.00102"), r#"{"searches":3}"#),
            (r#"{"input":"1","output":"2","per_search":"0.01"}"#, searched, Some("0.03102"), "{}"),
            (r#"{"input":"5"}"#, image, Some("0.0005"), r#"{"output_image":4160}"#),
            (r#"{"input":"5","output_image":"40"}"#, image, Some("0.1669"), "{}"),
            (r#"{"input":"5","output":"10"}"#, image, Some("0.0421"), "{}"),
            (r#"{"per_search":"1"}"#, image, None, r#"{"input":100,"output_image":4160}"#),
            (r#"{"input":"1"}"#, Usage { images: Some(2), ..Usage::default() }, None, r#"{"images":2}"#),
        ] {
            let charge = prices(of).charge(&usage);
            let found = charge.cost.map(|cost| cost.to_string());
            assert_eq!((found.as_deref(), rest(&charge.unpriced).as_str()), (cost, unpriced), "{of}");
        }
        assert_eq!(Ceiling::USUAL.cost(&searched).to_string(), "0.401");
    }

    #[test]
    fn no_usage_is_too_large_for_a_sum() {
        let most = Some(u64::MAX);
        let usage = Usage { input: most, output: most, searches: most, images: most, ..Usage::default() };
        let dear = prices(r#"{"input":"18446744","output":"18446744","per_search":"18446744"}"#);
        assert_eq!(dear.cost(&usage), Some(Picodollars(i64::MAX)));
        assert_eq!(Ceiling::USUAL.cost(&usage), Picodollars(i64::MAX));
    }

    #[test]
    fn a_fraction_of_a_picodollar_is_rounded_half_up() {
        let prices = prices(r#"{"input":"0.0000005"}"#);
        let cost = |input| prices.cost(&Usage { input: Some(input), ..Usage::default() }).unwrap().0;
        assert_eq!((cost(0), cost(1), cost(2), cost(3)), (0, 1, 1, 2));
    }
}
