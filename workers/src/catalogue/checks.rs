//! The catalogue as a whole: nothing is lost, and no price is one that cannot be right.

use super::{ProviderEntry, price_rows, provider, providers};
use penstock_schemas::name::Target;
use penstock_schemas::price::{PerMillion, Prices, TokenPrices};
use std::collections::HashMap;

/// Models whose price is truly nothing, by target or by all of a provider's.
const FREE: [&str; 25] = [
    "codestral/codestral-2405",
    "codestral/codestral-latest",
    "google/gemini-exp-1114",
    "google/gemini-exp-1206",
    "google/gemma-3-27b-it",
    "google/gemma-4-26b-a4b-it",
    "google/gemma-4-31b-it",
    "google/learnlm-1.5-pro-experimental",
    "lemonade/*",
    "local/*",
    "microsoft_365_copilot/*", // paid by seat
    "mistral/labs-leanstral-1-5",
    "mistral/labs-leanstral-1-5-1",
    "nvidia/*",
    "ollama/*",
    "openai/omni-moderation-2024-09-26",
    "openai/omni-moderation-latest",
    "publicai/*",
    "sarvam/sarvam-m",
    "vertex/gemini-flash-experimental",
    "vertex/meta/llama-3.1-*",
    "vertex/meta/llama-3.2-*",
    "vertex/meta/llama3-*",
    "zai/glm-4.5-flash",
    "zai/glm-4.7-flash",
];

/// Dearer than anything on the market, in dollars per million tokens: a price per thousand taken for one per million.
const ABSURD: u64 = 700;

/// Models without a price: nobody knows it, or the facts said 0 for what is not free.
const UNPRICED: usize = 19;

fn entries() -> Vec<ProviderEntry> {
    providers().map(|id| provider(id).unwrap().unwrap()).collect()
}

fn all_prices() -> Vec<(Target, Prices)> {
    price_rows().unwrap().into_iter().map(|(target, row)| (target, row.prices)).collect()
}

#[test]
fn every_file_is_read_and_nothing_is_lost() {
    let entries = entries();
    let (demo, others): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.id.as_str() == "demo");
    assert_eq!(demo.len(), 1);
    assert_eq!(others.iter().filter(|entry| entry.base_url.is_some()).count(), 94);
    let count: usize = others.iter().map(|entry| entry.models.len()).sum();
    assert_eq!(count, 2_709);
    assert_eq!(price_rows().unwrap().len(), count - UNPRICED + demo[0].models.len());
    let counts: HashMap<&str, usize> = entries.iter().map(|entry| (entry.id.as_str(), entry.models.len())).collect();
    for (id, count) in
        [("openai", 200), ("anthropic", 22), ("bedrock", 329), ("azure", 283), ("ollama", 29), ("vllm", 0)]
    {
        assert_eq!(counts[id], count, "{id}");
    }
}

#[test]
fn known_prices_are_known() {
    let all: HashMap<String, Prices> =
        all_prices().into_iter().map(|(target, prices)| (target.to_string(), prices)).collect();
    for (target, input, output, cache_read) in [
        ("openai/gpt-4o-mini", "0.15", "0.6", Some("0.075")),
        ("openai/gpt-4o", "2.5", "10", Some("1.25")),
        ("openai/o3", "2", "8", Some("0.5")),
        ("openai/text-embedding-3-small", "0.02", "0", None),
        ("anthropic/claude-haiku-4-5", "1", "5", Some("0.1")),
        ("anthropic/claude-sonnet-4-5", "3", "15", Some("0.3")),
        ("google/gemini-2.5-flash", "0.3", "2.5", Some("0.03")),
        ("google/gemini-2.5-pro", "1.25", "10", Some("0.125")),
        ("groq/openai/gpt-oss-120b", "0.15", "0.6", Some("0.075")),
        ("mistral/mistral-large-latest", "0.5", "1.5", Some("0.05")),
        ("bedrock/anthropic.claude-haiku-4-5-20251001-v1:0", "1", "5", Some("0.1")),
        ("azure_ai/jais-30b-chat", "3.2", "9.71", None),
        ("databricks/databricks-claude-sonnet-4-5", "2.99999", "15.00002", None),
    ] {
        let base = all[target].base;
        let text = |price: Option<PerMillion>| price.map(|price| price.to_string());
        assert_eq!(text(base.input).as_deref(), Some(input), "{target}");
        assert_eq!(text(base.output).as_deref(), Some(output), "{target}");
        if cache_read.is_some() {
            assert_eq!(text(base.cache_read).as_deref(), cache_read, "{target}");
        }
    }
    let haiku = all["anthropic/claude-haiku-4-5"].base;
    assert_eq!(haiku.cache_write.unwrap().to_string(), "1.25");
    assert_eq!(haiku.cache_write_1h.unwrap().to_string(), "2");
    assert_eq!(all["google/gemini-2.5-pro"].for_input(200_001).input.unwrap().to_string(), "2.5");
}

/// Every price per million in them.
fn each(prices: &TokenPrices) -> impl Iterator<Item = PerMillion> {
    let TokenPrices { input, output, cache_read, cache_write, cache_write_1h, reasoning, .. } = *prices;
    let TokenPrices { input_audio, output_audio, input_image, output_image, batch_input, batch_output, .. } = *prices;
    let text = [input, output, cache_read, cache_write, cache_write_1h, reasoning];
    text.into_iter().chain([input_audio, output_audio, input_image, output_image, batch_input, batch_output]).flatten()
}

fn is_at_most(small: Option<PerMillion>, large: Option<PerMillion>) -> bool {
    small.zip(large).is_none_or(|(small, large)| small <= large)
}

#[test]
fn no_price_is_one_that_cannot_be_right() {
    let absurd = PerMillion::parse(&ABSURD.to_string()).unwrap();
    let mut wrong = Vec::new();
    for (target, prices) in all_prices() {
        let base = prices.base;
        for (what, is_right) in [
            ("a price per million is absurd", each(&base).all(|price| price <= absurd)),
            (
                "a unit costs more than a dollar",
                [prices.per_image, prices.per_second, prices.per_search]
                    .into_iter()
                    .flatten()
                    .all(|price| price.picodollars() <= 1_000_000_000_000),
            ),
            ("reading the cache costs more than not", is_at_most(base.cache_read, base.input)),
            ("writing the cache costs less than not", is_at_most(base.input, base.cache_write)),
            ("a longer life in the cache costs less", is_at_most(base.cache_write, base.cache_write_1h)),
            (
                "a batch costs more",
                is_at_most(base.batch_input, base.input) && is_at_most(base.batch_output, base.output),
            ),
            (
                "a batch's prices are not one part of the usual ones",
                prices.in_batch().is_none_or(|in_batch| {
                    let is = |stated: Option<PerMillion>, made| stated.is_none_or(|stated| Some(stated) == made);
                    is(base.batch_input, in_batch.base.input) && is(base.batch_output, in_batch.base.output)
                }),
            ),
            (
                "a tier costs less",
                prices.tiers.iter().all(|tier| {
                    is_at_most(base.input, tier.prices.input) && is_at_most(base.output, tier.prices.output)
                }),
            ),
        ] {
            if !is_right {
                wrong.push(format!("{target}: {what}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_what_is_listed_is_free() {
    let is_listed = |target: &str| {
        FREE.iter().any(|free| free.strip_suffix('*').map_or(*free == target, |start| target.starts_with(start)))
    };
    for (target, prices) in all_prices() {
        let units = [prices.per_image, prices.per_second, prices.per_search].into_iter().flatten();
        let has_price = each(&prices.base).chain(prices.per_million_characters).any(|price| price.picodollars() > 0)
            || units.map(|price| price.picodollars()).any(|price| price > 0);
        assert!(has_price || is_listed(&target.to_string()), "{target} is priced at 0 and not listed as free");
    }
}
