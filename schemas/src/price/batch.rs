//! What a provider's own batch API charges: a part of its usual prices. Knows nothing of batches.

use super::{PerMillion, Prices, Tier, TokenPrices};
use crate::money::{BadAmount, parse_scaled, write_scaled};
use serde::{Deserialize, Serialize};

impl Prices {
    /// The prices of the provider's own batch API: its rate of each price per token, in every tier; units cost as anywhere.
    /// `None` when it is not known.
    pub fn in_batch(&self) -> Option<Self> {
        let rates = self.batch?;
        let tier = |tier: &Tier| Tier { prices: tier.prices.at(rates), ..*tier };
        Some(Self { base: self.base.at(rates), tiers: self.tiers.iter().map(tier).collect(), ..self.clone() })
    }
}

impl Prices {
    /// The prices of an answer that was served in the provider's slower tier: the rate of its batch API, for what is read from
    /// a cache too. Source: <https://platform.openai.com/docs/guides/flex-processing>.
    pub fn in_flex(&self) -> Option<Self> {
        let rates = self.batch?;
        let rates = BatchRates { cache_read: Some(rates.tokens), ..rates };
        Self { batch: Some(rates), ..self.clone() }.in_batch()
    }
}

impl TokenPrices {
    /// These in a batch.
    fn at(self, rates: BatchRates) -> Self {
        let at = |price: Option<PerMillion>| price.map(|price| rates.tokens.of(price));
        Self {
            input: at(self.input),
            cache_read: self.cache_read.zip(rates.cache_read).map(|(price, rate)| rate.of(price)),
            cache_write: at(self.cache_write),
            cache_write_1h: at(self.cache_write_1h),
            input_audio: at(self.input_audio),
            input_image: at(self.input_image),
            output: at(self.output),
            reasoning: at(self.reasoning),
            output_audio: at(self.output_audio),
            output_image: at(self.output_image),
            batch_input: self.batch_input,
            batch_output: self.batch_output,
        }
    }
}

/// What of its usual prices a provider's own batch API charges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRates {
    /// Of every price per token.
    pub tokens: Rate,
    /// Of what is read from a cache; absent: that costs as other input of a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<Rate>,
}

/// A part of a price, in thousandths; written as an exact decimal, such as `0.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(u16);

impl Rate {
    /// Reads a decimal from 0 to 1 with at most three digits behind the point.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(text: &str) -> Result<Self, BadAmount> {
        const THOUSANDTH: u64 = 1_000_000_000;
        let scaled = parse_scaled(text).filter(|scaled| scaled % THOUSANDTH == 0 && *scaled <= 1000 * THOUSANDTH);
        let thousandths = scaled.and_then(|scaled| u16::try_from(scaled / THOUSANDTH).ok());
        thousandths.map(Self).ok_or_else(|| BadAmount(text.to_owned()))
    }

    /// The rate that makes `part` of `whole`; `None` when it is no whole thousandth, or more than 1.
    pub fn between(part: PerMillion, whole: PerMillion) -> Option<Self> {
        let scaled = u128::from(part.0) * 1000;
        let is_whole = whole.0 > 0 && scaled % u128::from(whole.0) == 0;
        let thousandths = is_whole.then(|| scaled / u128::from(whole.0)).filter(|thousandths| *thousandths <= 1000)?;
        u16::try_from(thousandths).ok().map(Self)
    }

    /// In thousandths.
    pub fn thousandths(self) -> u16 {
        self.0
    }

    /// This part of a price, rounded half up to a whole picodollar for a million.
    pub fn of(self, price: PerMillion) -> PerMillion {
        let part = (u128::from(price.0) * u128::from(self.0) + 500) / 1000;
        PerMillion(u64::try_from(part).unwrap_or(u64::MAX))
    }
}

impl TryFrom<String> for Rate {
    type Error = BadAmount;
    fn try_from(text: String) -> Result<Self, BadAmount> {
        Self::parse(&text)
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> String {
        write_scaled(u64::from(rate.0) * 1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Usage;

    #[test]
    fn a_batch_costs_its_rate_of_every_class_and_tier_and_reads_caches_at_a_rate_of_their_own() {
        let usage = |input| Usage {
            input: Some(input),
            cache_read: Some(100),
            output: Some(10),
            searches: Some(1),
            ..Usage::default()
        };
        for (rates, short, long) in [
            (r#"{"tokens":"0.5"}"#, "0.015105", "0.018405"),
            (r#"{"tokens":"0.5","cache_read":"0.5"}"#, "0.015065", "0.018215"),
            (r#"{"tokens":"0.5","cache_read":"1"}"#, "0.015075", "0.018225"),
            (r#"{"tokens":"1"}"#, "0.01521", "0.02181"),
        ] {
            let prices: Prices = serde_json::from_str(&format!(
                r#"{{"input":"1","output":"1","cache_read":"0.2","per_search":"0.015","batch":{rates},
                "tiers":[{{"above_input_tokens":200,"input":"3"}},{{"above_input_tokens":500,"input":"4"}}]}}"#
            ))
            .unwrap();
            let cost = |input| prices.in_batch().unwrap().cost(&usage(input)).unwrap().to_string();
            assert_eq!((cost(100), cost(1600)), (short.to_owned(), long.to_owned()), "{rates}");
            let in_flex = prices.in_flex().unwrap().cost(&usage(100)).unwrap().to_string();
            let halved = if rates.contains("0.5") { "0.015065" } else { "0.01513" };
            assert_eq!(in_flex, halved, "what is read from a cache costs the same part: {rates}");
        }
        assert_eq!(Prices::default().in_batch(), None);
    }

    #[test]
    fn a_rate_is_whole_thousandths_of_a_price() {
        let price = |text: &str| PerMillion::parse(text).unwrap();
        let half = |text: &str| Rate::parse("0.5").unwrap().of(price(text)).to_string();
        assert_eq!(["0.15", "0.000000000001", "0"].map(half), ["0.075", "0.000000000001", "0"]);
        let between = |part: &str, whole: &str| Rate::between(price(part), price(whole)).map(String::from);
        assert_eq!(between("0.075", "0.15").as_deref(), Some("0.5"));
        assert_eq!([between("0.1", "0.3"), between("2", "1"), between("1", "0")], [None, None, None]);
        for bad in ["", "1.001", "-0.5", "0.0001", "half"] {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }
}
