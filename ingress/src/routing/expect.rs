//! What is expected of one request at one target: its cost, the wait for it, how good the answer is. Knows prices and what was
//! learnt; decides nothing.

use super::learnt::Learnt;
use super::traits::{RouteQuery, Traits};
use crate::config::{ModelLink, Routing, VirtualModel};
use crate::models::Models;
use penstock_runtime::health::Health;
use penstock_schemas::envelope::Operation;
use penstock_schemas::model::ModelCard;
use penstock_schemas::usage::Usage;
use std::sync::Arc;

/// The answer of a model that has not answered this project yet, in tokens.
const USUAL_OUTPUT: f64 = 400.0;

/// What the time after the first content weighs, for a caller who reads along: people read slower than most models write.
const READING: f64 = 0.1;

/// Picodollars in a dollar.
const DOLLAR: f64 = 1e12;

/// What routing goes by.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) models: &'a Models,
    pub(crate) health: &'a Health,
    pub(crate) learnt: &'a Learnt,
}

/// One target, and what is expected of it.
#[derive(Clone, Debug)]
pub(super) struct Prospect {
    /// Its place in the configuration.
    pub(super) place: usize,
    pub(super) card: Option<Arc<ModelCard>>,
    /// The expected cost, in dollars.
    pub(super) usd: Option<f64>,
    /// The expected wait, in milliseconds.
    pub(super) ms: Option<f64>,
    /// Of this answer, as far as that is told apart from its others.
    pub(super) quality: f64,
    /// Of its answers in the mean, where heads judge this one.
    pub(super) level: Option<f64>,
    pub(super) busy: u32,
    /// Whether an answer of it was seen for this project, so that its length is known.
    pub(super) is_known: bool,
}

/// What is expected of each of these targets.
pub(super) fn prospects(
    places: &[usize],
    links: &[ModelLink],
    routing: &Routing,
    asked: (&RouteQuery, &Traits, Option<u64>),
    sources: Sources,
) -> Vec<Prospect> {
    let (query, traits, conversation) = asked;
    let each = |place: &usize| {
        let link = &links[*place];
        let target = &link.link.target;
        let card = sources.models.card(target);
        let learnt = sources.learnt.length(target, query.caller.project.as_str());
        let output = output(query, card.as_deref(), learnt);
        let cached = sources.learnt.cached(conversation, target, traits.tokens, query.now);
        Prospect {
            place: *place,
            usd: card.as_deref().and_then(|card| usd(card, query, traits.tokens, (cached, output))),
            ms: ms(query, link, output, sources),
            quality: link.quality.or_else(|| sources.learnt.quality(&routing.score, target)).unwrap_or(f64::NAN),
            level: None,
            busy: sources.learnt.busy(target),
            is_known: learnt.is_some(),
            card,
        }
    };
    let mut all: Vec<Prospect> = places.iter().map(each).collect();
    rate_by_price(&mut all);
    all
}

/// How good the answers of a virtual model's targets usually are, as far as the operator says it; else by their prices.
pub(super) fn usual_qualities(model: &VirtualModel, models: &Models) -> Vec<f64> {
    let each = |(place, link): (usize, &ModelLink)| Prospect {
        place,
        card: models.card(&link.link.target),
        usd: None,
        ms: None,
        quality: link.quality.unwrap_or(f64::NAN),
        level: None,
        busy: 0,
        is_known: false,
    };
    let mut all: Vec<Prospect> = model.links.iter().enumerate().map(each).collect();
    rate_by_price(&mut all);
    all.into_iter().map(|one| one.quality).collect()
}

/// The expected length of the answer, in tokens: as the target's others, within the limits of the request and of the model.
#[expect(clippy::cast_precision_loss, reason = "counts of tokens are far below 2^52")]
fn output(query: &RouteQuery, card: Option<&ModelCard>, learnt: Option<f64>) -> f64 {
    match query.asked.operation {
        Operation::Chat | Operation::Completions => {
            let extent = &query.asked.extent;
            let limit = extent.output.into_iter().chain(card.and_then(|card| card.max_output)).min();
            let one = learnt.unwrap_or(USUAL_OUTPUT).min(limit.map_or(f64::MAX, |limit| limit as f64));
            // What was learnt is of requests; a request for several answers is no usual one.
            one * extent.choices.max(1) as f64
        }
        _ => 0.0,
    }
}

/// The expected cost, in dollars: with the tier of its length, and what is read from a warm cache at that price.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "counts of tokens are far below 2^52, and a cost is told to six digits"
)]
fn usd(card: &ModelCard, query: &RouteQuery, tokens: u64, (cached, output): (u64, f64)) -> Option<f64> {
    let prices = &card.price.as_ref()?.prices;
    let is_text = matches!(query.asked.operation, Operation::Chat | Operation::Completions | Operation::Embeddings);
    if !is_text {
        return None;
    }
    let cached = cached.min(tokens);
    let usage = Usage {
        input: Some(tokens - cached),
        cache_read: Some(cached),
        output: Some(output.round() as u64),
        ..Usage::default()
    };
    Some(prices.cost(&usage)?.0 as f64 / DOLLAR)
}

/// The expected wait, in milliseconds: a stream's reader waits for its beginning, and a little for its rest; who wants all at
/// once waits for all. Without answers of its own, an ingress goes by what the workers tell.
fn ms(query: &RouteQuery, link: &ModelLink, output: f64, sources: Sources) -> Option<f64> {
    let target = &link.link.target;
    let (first, speed) = sources.learnt.stream(target, query.now);
    let told = || sources.health.first_token_p95(target, query.now).map(|wait| wait.as_secs_f64() * 1000.0);
    let rest = speed.filter(|speed| *speed > 0.0).map_or(0.0, |speed| output / speed * 1000.0);
    if query.asked.delivery.is_stream() {
        return first.or_else(told).map(|first| first + READING * rest);
    }
    sources.learnt.whole(target, query.now).or_else(|| Some(first? + rest)).or_else(told)
}

/// Those of which neither the operator nor scores say how good they are count by their price: the dearest is the best.
#[expect(clippy::cast_precision_loss, reason = "a few targets")]
fn rate_by_price(all: &mut [Prospect]) {
    let price = |one: &Prospect| {
        let base = one.card.as_ref().and_then(|card| card.price.as_ref()).map(|price| price.prices.base)?;
        let (input, output) = (base.input?.picodollars(), base.output.or(base.input)?.picodollars());
        // Three tokens of a prompt for one of an answer: what chats usually are.
        Some(input.saturating_mul(3).saturating_add(output))
    };
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|at| price(&all[*at]));
    let last = order.len().saturating_sub(1).max(1) as f64;
    for (rank, at) in order.into_iter().enumerate() {
        if all[at].quality.is_nan() {
            all[at].quality = 0.5 + 0.4 * (rank as f64 / last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::learnt::tests::{clock, stream, target};
    use super::super::traits::tests::{asked, caller, query};
    use super::*;
    use penstock_runtime::bus::Change;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn models(prices: &str) -> Models {
        let models = Models::new(BTreeMap::new());
        let price = format!(r#"{{"price_id":"x","valid_from":0,"prices":{prices}}}"#);
        let card = format!(
            r#"{{"provider":"a","dialect":"openai","models":[{{"model":"m","mode":"chat","max_output":500,"price":{price}}}]}}"#
        );
        models.change(Change::Put("a".to_owned(), serde_json::from_str(&card).unwrap()));
        models
    }

    fn cost(prices: &str, learnt: &Learnt, tokens: usize, more: &serde_json::Value) -> String {
        let (models, health) = (models(prices), Health::default());
        let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "x".repeat(tokens * 4 - 4) }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (asked, caller) = (asked(&body), caller(None));
        let query = RouteQuery { now: clock(), ..query(&asked, &caller, 1) };
        let traits = Traits::read(&query);
        assert_eq!(traits.tokens, tokens as u64);
        let learnt_length = learnt.length(&target("a/m"), "p");
        let card = models.card(&target("a/m")).unwrap();
        let cached = learnt.cached(Some(7), &target("a/m"), traits.tokens, query.now);
        let output = output(&query, Some(&card), learnt_length);
        let _ = health;
        format!("{:.9}", usd(&card, &query, traits.tokens, (cached, output)).unwrap())
    }

    #[test]
    fn the_expected_cost_is_right_for_tiers_caches_and_lengths() {
        let plain = r#"{"input":"1","output":"10"}"#;
        let tiers = r#"{"input":"1","output":"10","tiers":[{"above_input_tokens":1000,"input":"2","output":"20"}]}"#;
        let cache = r#"{"input":"1","output":"10","cache_read":"0.1"}"#;
        let (none, limit) = (json!({}), json!({ "max_tokens": 50 }));
        let new = Learnt::default();
        // 400 tokens of output before any is known, and as many as the limits allow.
        assert_eq!(cost(plain, &new, 100, &none), "0.004100000");
        assert_eq!(cost(plain, &new, 100, &limit), "0.000600000");
        assert_eq!(cost(plain, &new, 100, &json!({ "n": 2 })), "0.008100000");
        // A long input moves the whole request to its tier.
        assert_eq!(cost(tiers, &new, 1000, &limit), "0.001500000");
        assert_eq!(cost(tiers, &new, 1001, &limit), "0.003002000");
        // An answer of 2,000 tokens was seen; the model makes 500 at the most.
        let seen = Learnt::default();
        let usage = Usage { input: Some(4000), output: Some(2000), ..Usage::default() };
        stream(&seen, "a/m", (10, 10), &usage);
        assert_eq!(cost(plain, &seen, 8000, &none), "0.013000000");
        assert_eq!(cost(plain, &seen, 8000, &limit), "0.008500000");
        // Half of the 6,000 tokens that it has just read are expected from its cache.
        assert_eq!(cost(cache, &seen, 8000, &limit), "0.005800000");
    }

    #[test]
    fn without_words_of_the_operator_the_dearer_model_is_the_better() {
        let prospect = |place: usize, price: Option<&str>, quality: f64| {
            let price = price.map(
                |input| json!({ "price_id": "x", "valid_from": 0, "prices": { "input": input, "output": input } }),
            );
            let card = json!({ "model": "m", "mode": "chat", "price": price });
            let card = Some(Arc::new(serde_json::from_value(card).unwrap()));
            Prospect { place, card, usd: None, ms: None, quality, level: None, busy: 0, is_known: false }
        };
        let nan = f64::NAN;
        let mut all = [
            prospect(0, Some("5"), nan),
            prospect(1, Some("1"), nan),
            prospect(2, Some("3"), 0.99),
            prospect(3, None, nan),
        ];
        rate_by_price(&mut all);
        let qualities: Vec<f64> = all.iter().map(|one| (one.quality * 100.0).round() / 100.0).collect();
        assert_eq!(qualities, [0.9, 0.63, 0.99, 0.5], "one without a price counts least");
    }
}
