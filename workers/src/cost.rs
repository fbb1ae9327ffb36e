//! What an attempt can cost at most, and what it did cost. Knows prices and usage, and no provider.

use penstock_schemas::frame::Summary;
use penstock_schemas::model::ModelCard;
use penstock_schemas::money::Picodollars;
use penstock_schemas::usage::{Usage, UsageSource};
use serde::Deserialize;

/// The longest answer of a model of which nothing is known, in tokens: the longest output of any model in the catalogue
/// that names no other limit.
const LONGEST_OUTPUT: u64 = 128_000;

/// The limits that a request sets itself.
#[derive(Deserialize)]
struct Limits {
    max_completion_tokens: Option<u64>,
    max_tokens: Option<u64>,
    n: Option<u64>,
}

/// The most that `request` can cost at this model: every byte a token, and the longest answer it allows. `None` when the
/// model has no price.
pub fn worst_case(card: Option<&ModelCard>, request: &[u8]) -> Option<Picodollars> {
    let card = card?;
    let limits: Limits = serde_json::from_slice(request).ok()?;
    let longest = card.max_output.or(card.context).unwrap_or(LONGEST_OUTPUT);
    let output = limits.max_completion_tokens.or(limits.max_tokens).unwrap_or(longest);
    let usage = Usage {
        input: Some(request.len() as u64),
        output: Some(output.saturating_mul(limits.n.unwrap_or(1))),
        ..Usage::default()
    };
    card.price.as_ref()?.prices.cost(&usage)
}

/// What the reported usage cost. Not reported means unknown, never free.
pub fn sum_up(card: Option<&ModelCard>, usage: Option<Usage>) -> Summary {
    let Some(usage) = usage else {
        return Summary { usage: Usage::default(), usage_source: UsageSource::Unknown, cost: None };
    };
    let cost = card.and_then(|card| card.price.as_ref()?.prices.cost(&usage));
    Summary { usage, usage_source: UsageSource::Provider, cost }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> ModelCard {
        let json = r#"{"model":"m","mode":"chat","max_output":1000,
            "price":{"price_id":"p","valid_from":0,"prices":{"input":"1","output":"10"}}}"#;
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_worst_case_is_a_token_a_byte_and_the_longest_answers() {
        let worst = |request: &str| worst_case(Some(&card()), request.as_bytes()).unwrap().to_string();
        assert_eq!(worst("{}"), "0.010002");
        assert_eq!(worst(r#"{"max_tokens":5}"#), "0.000066");
        assert_eq!(worst(r#"{"max_tokens":5,"n":2}"#), "0.000122");
    }

    #[test]
    fn what_is_not_known_is_not_free() {
        assert_eq!(sum_up(Some(&card()), None).cost, None);
        assert_eq!(sum_up(None, Some(Usage { output: Some(1), ..Usage::default() })).cost, None);
    }
}
