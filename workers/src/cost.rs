//! What an attempt did cost. What it can cost at most is `schemas::bound`. Knows prices and usage, and no provider.

use penstock_schemas::envelope::Operation;
use penstock_schemas::frame::Summary;
use penstock_schemas::model::ModelCard;
use penstock_schemas::usage::{Usage, UsageSource};
use serde::Deserialize;

#[derive(Deserialize)]
struct Spoken {
    input: String,
}

/// What can be counted in the request, where no provider counts it in its answer: the characters that are spoken.
pub fn counted(operation: Operation, request: &[u8]) -> Option<Usage> {
    if operation != Operation::Speech {
        return None;
    }
    let spoken: Spoken = serde_json::from_slice(request).ok()?;
    Some(Usage { characters: Some(spoken.input.chars().count() as u64), ..Usage::default() })
}

/// What the usage cost that the provider reported, else the one that was counted here. Not known means unknown, never free.
pub fn sum_up(card: Option<&ModelCard>, reported: Option<Usage>, counted: Option<Usage>) -> Summary {
    let (usage, usage_source) = match (reported, counted) {
        (Some(usage), counted) => {
            let characters = usage.characters.or(counted.and_then(|counted| counted.characters));
            (Usage { characters, ..usage }, UsageSource::Provider)
        }
        (None, Some(usage)) => (usage, UsageSource::Counted),
        (None, None) => {
            return Summary { usage: Usage::default(), usage_source: UsageSource::Unknown, cost: None };
        }
    };
    let cost = card.and_then(|card| card.price.as_ref()?.prices.cost(&usage));
    Summary { usage, usage_source, cost }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(prices: &str) -> ModelCard {
        let json = format!(
            r#"{{"model":"m","mode":"chat","max_output":1000,"price":{{"price_id":"p","valid_from":0,"prices":{prices}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn what_is_not_known_is_not_free_and_what_is_counted_is_told_apart() {
        let card = card(r#"{"per_million_characters":"15"}"#);
        assert_eq!(sum_up(Some(&card), None, None).cost, None);
        assert_eq!(sum_up(None, Some(Usage { output: Some(1), ..Usage::default() }), None).cost, None);
        let counted = counted(Operation::Speech, r#"{"input":"äö"}"#.as_bytes());
        let summary = sum_up(Some(&card), None, counted);
        assert_eq!((summary.usage.characters, summary.usage_source), (Some(2), UsageSource::Counted));
        assert_eq!(summary.cost.unwrap().to_string(), "0.00003");
    }
}
