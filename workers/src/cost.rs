//! What an attempt can cost at most, and what it did cost. Knows prices and usage, and no provider.

use penstock_schemas::envelope::Operation;
use penstock_schemas::frame::Summary;
use penstock_schemas::model::ModelCard;
use penstock_schemas::money::Picodollars;
use penstock_schemas::usage::{Usage, UsageSource};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The longest answer of a model of which nothing is known, in tokens: the longest output of any model in the catalogue
/// that names no other limit.
const LONGEST_OUTPUT: u64 = 128_000;

/// The most tokens of one image. Source: <https://platform.openai.com/docs/guides/image-generation#cost-and-latency>,
/// 6,240 for the largest, and one of each look on the way to it.
const IMAGE_TOKENS: u64 = 8_192;

/// The most audio tokens that one character of text is spoken as: some 1,250 a minute of 900 characters, said slowly.
const TOKENS_A_CHARACTER: u64 = 4;

/// Audio of speech is never smaller, in bytes a second: 4 kbit/s.
const BYTES_A_SECOND: u64 = 500;

/// The audio tokens of a second of input. Source: <https://platform.openai.com/docs/guides/audio>, one per 100 ms.
const TOKENS_A_SECOND: u64 = 10;

/// Documents of one search, and the bytes from which one counts as several: at least one a token, of which 500.
/// Source: <https://docs.cohere.com/docs/how-does-cohere-pricing-work>.
const DOCUMENTS_A_SEARCH: u64 = 100;
const BYTES_A_DOCUMENT: u64 = 500;

/// The limits that a request sets itself.
#[derive(Default, Deserialize)]
struct Limits {
    max_completion_tokens: Option<u64>,
    max_tokens: Option<u64>,
    n: Option<u64>,
    best_of: Option<u64>,
    documents: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Spoken {
    input: String,
}

/// The most that `request` can cost at this model: every byte a token, and the longest answer it allows. `None` when the
/// model has no price.
pub fn worst_case(card: Option<&ModelCard>, operation: Operation, request: &[u8]) -> Option<Picodollars> {
    let card = card?;
    let prices = &card.price.as_ref()?.prices;
    let is_form = matches!(operation, Operation::Transcriptions | Operation::Translations);
    let limits: Limits = if is_form { Limits::default() } else { serde_json::from_slice(request).ok()? };
    let bytes = request.len() as u64;
    let longest = card.max_output.or(card.context).unwrap_or(LONGEST_OUTPUT);
    let several = limits.n.max(limits.best_of).unwrap_or(1);
    let input = Usage { input: Some(bytes), ..Usage::default() };
    // What one model charges by tokens, another charges by units: the dearer of what has a price counts.
    let ways = match operation {
        Operation::Chat | Operation::Completions => {
            let output = limits.max_completion_tokens.or(limits.max_tokens).unwrap_or(longest);
            vec![Usage { output: Some(output.saturating_mul(several)), ..input }]
        }
        Operation::Embeddings | Operation::Moderations | Operation::CountTokens => vec![input],
        Operation::Rerank => {
            let documents = limits.documents.map_or(0, |documents| documents.len() as u64) + bytes / BYTES_A_DOCUMENT;
            let searches = Some(documents.div_ceil(DOCUMENTS_A_SEARCH).max(1));
            vec![Usage { searches, ..input }, input]
        }
        Operation::Images => {
            let tokens = several.saturating_mul(IMAGE_TOKENS);
            vec![Usage { images: Some(several), ..Usage::default() }, Usage { output: Some(tokens), ..input }]
        }
        Operation::Speech => {
            let spoken = Some(bytes.saturating_mul(TOKENS_A_CHARACTER));
            vec![Usage { characters: Some(bytes), ..Usage::default() }, Usage { output_audio: spoken, ..input }]
        }
        Operation::Transcriptions | Operation::Translations => {
            let seconds = bytes.div_ceil(BYTES_A_SECOND);
            let heard = Some(seconds.saturating_mul(TOKENS_A_SECOND));
            let by_time = Usage { seconds: Some(seconds), ..Usage::default() };
            vec![by_time, Usage { input_audio: heard, output: Some(longest), ..Usage::default() }]
        }
    };
    ways.iter().filter_map(|usage| prices.cost(usage)).max()
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
    fn the_worst_case_is_a_token_a_byte_and_the_longest_answers() {
        let card = card(r#"{"input":"1","output":"10"}"#);
        let worst = |request: &str| worst_case(Some(&card), Operation::Chat, request.as_bytes()).unwrap().to_string();
        assert_eq!(worst("{}"), "0.010002");
        assert_eq!(worst(r#"{"max_tokens":5}"#), "0.000066");
        assert_eq!(worst(r#"{"max_tokens":5,"n":2}"#), "0.000122");
    }

    #[test]
    fn the_worst_case_of_each_operation_is_charged_as_its_model_charges() {
        use Operation::{Embeddings, Images, Rerank, Speech, Transcriptions};
        for (operation, prices, request, worst) in [
            (Embeddings, r#"{"input":"1"}"#, r#"{"input":"ab"}"#, Some("0.000014")),
            (Images, r#"{"per_image":"0.04"}"#, r#"{"n":3}"#, Some("0.12")),
            (Images, r#"{"input":"1","output":"10"}"#, r#"{"n":2}"#, Some("0.163847")),
            (Speech, r#"{"per_million_characters":"15"}"#, r#"{"input":"ab"}"#, Some("0.00021")),
            (Speech, r#"{"input":"1","output_audio":"10"}"#, r#"{"input":"ab"}"#, Some("0.000574")),
            (Transcriptions, r#"{"per_second":"0.0001"}"#, "--b 012345", Some("0.0001")),
            (Transcriptions, r#"{"input":"1","output":"10"}"#, "--b 012345", Some("0.01001")),
            (Rerank, r#"{"input":"0","per_search":"0.002"}"#, r#"{"documents":["a","b"]}"#, Some("0.002")),
            (Rerank, r#"{"input":"1"}"#, r#"{"documents":["a","b"]}"#, Some("0.000023")),
            (Images, r#"{"input":"1"}"#, r#"{"n":2}"#, None),
        ] {
            let found = worst_case(Some(&card(prices)), operation, request.as_bytes()).map(|cost| cost.to_string());
            assert_eq!(found.as_deref(), worst, "{operation:?} {prices} {request}");
        }
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
