//! What an attempt did cost. What it can cost at most is `schemas::bound`. Knows prices and usage, and no provider.

use penstock_schemas::envelope::Operation;
use penstock_schemas::frame::Summary;
use penstock_schemas::model::ModelCard;
use penstock_schemas::money::Picodollars;
use penstock_schemas::price::Ceiling;
use penstock_schemas::usage::{Usage, UsageSource};
use serde::Deserialize;

#[derive(Deserialize)]
struct Spoken {
    input: String,
}

/// What can be counted in the request, where no provider counts it in its answer: the characters that are spoken.
pub(crate) fn counted(operation: Operation, request: &[u8]) -> Option<Usage> {
    if operation != Operation::Speech {
        return None;
    }
    let spoken: Spoken = serde_json::from_slice(request).ok()?;
    Some(Usage { characters: Some(spoken.input.chars().count() as u64), ..Usage::default() })
}

/// What the usage cost that the provider reported, else the one that was counted here. Not known means unknown, never free.
pub(crate) fn sum_up(card: Option<&ModelCard>, reported: Option<Usage>, counted: Option<Usage>) -> Summary {
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
    let cost = card.and_then(|card| {
        let charge = card.price.as_ref()?.prices.charge(&usage);
        charge.cost.or_else(|| (charge.unpriced == Usage::default()).then_some(Picodollars::ZERO))
    });
    Summary { usage, usage_source, cost }
}

/// What of this usage has no price at the model.
pub(crate) fn unpriced(card: Option<&ModelCard>, usage: &Usage) -> Usage {
    card.and_then(|card| card.price.as_ref()).map_or(*usage, |price| price.prices.charge(usage).unpriced)
}

/// What usage with a rest that has no price counts as in budgets: its cost and the rest at the ceiling, though the rest as no
/// more than the attempt could come to. `None` for a model without any price, of which budgets of money know nothing.
pub(crate) fn with_rest(
    card: Option<&ModelCard>,
    summary: &Summary,
    rest: &Usage,
    worst: Option<Picodollars>,
) -> Option<Picodollars> {
    let card = card.filter(|card| card.price.is_some())?;
    let cost = summary.cost.unwrap_or_default();
    let rest = card.ceiling.unwrap_or(Ceiling::USUAL).cost(rest);
    let room = worst.map_or(rest, |worst| (worst - cost).max(Picodollars::ZERO));
    Some(cost + rest.min(room))
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
    fn usage_without_a_price_counts_at_the_ceiling_and_never_as_more_than_the_attempt_could_come_to() {
        let card = card(r#"{"input":"1","output":"2"}"#);
        let ceiling = serde_json::from_str(r#"{"per_million":"7","per_unit":"2"}"#).unwrap();
        let dearer = ModelCard { ceiling: Some(ceiling), ..card.clone() };
        let usage = Usage { input: Some(1000), output: Some(10), searches: Some(3), ..Usage::default() };
        let summary = sum_up(Some(&card), Some(usage), None);
        assert_eq!(summary.cost.unwrap().to_string(), "0.00102");
        let rest = unpriced(Some(&card), &usage);
        assert_eq!(rest, Usage { searches: Some(3), ..Usage::default() });
        let with = |card, worst: Option<&str>| {
            let worst = worst.map(|worst| Picodollars::parse(worst).unwrap());
            with_rest(card, &summary, &rest, worst).map(|cost| cost.to_string())
        };
        for (worst, charged) in
            [(None, "0.30102"), (Some("1"), "0.30102"), (Some("0.2"), "0.2"), (Some("0"), "0.00102")]
        {
            assert_eq!(with(Some(&card), worst).as_deref(), Some(charged), "{worst:?}");
        }
        assert_eq!(with(None, None), None);
        assert_eq!(with(Some(&dearer), None).as_deref(), Some("6.00102"));
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
