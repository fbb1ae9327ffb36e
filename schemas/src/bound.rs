//! What a request can come to at most, and what it will probably come to, before anybody is called: read from the request in
//! any dialect, and from what is known of the model. Knows prices, and no provider.

use crate::envelope::Operation;
use crate::model::ModelCard;
use crate::plan::Worst;
use crate::price::Prices;
use crate::usage::Usage;
use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The longest answer of a model of which nothing is known, in tokens: the longest output of any model in the catalogue
/// that names no other limit.
const LONGEST_OUTPUT: u64 = 128_000;

/// The longest input of a model of which nothing is known, in tokens: the longest of the catalogue, but for a few.
const LONGEST_INPUT: u64 = 1_048_576;

/// The most tokens of one image that is made. Source: <https://platform.openai.com/docs/guides/image-generation#cost-and-latency>,
/// 6,240 for the largest, and one of each look on the way to it.
const IMAGE_TOKENS: u64 = 8_192;

/// The most tokens of one image that is looked at. Source: <https://platform.openai.com/docs/guides/images-vision>: 2,833 and
/// 5,667 for each of up to 8 tiles at the dearest model.
const SEEN_IMAGE_TOKENS: u64 = 48_169;

/// What providers put in front of tools. Source: <https://docs.anthropic.com/en/docs/build-with-claude/tool-use/overview>, up
/// to 346 for the choice and 735 for a tool of their own; others say less or nothing.
const TOOLS_TOKENS: u64 = 2_048;

/// Turns that a provider takes by itself when it may search: Anthropic's own example of a limit is 5, and 10 its default.
const OWN_TURNS: u64 = 10;

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

/// What a text of so many bytes usually is in tokens; and an answer of which nothing is known.
const USUAL_BYTES_A_TOKEN: u64 = 4;
const USUAL_OUTPUT: u64 = 1_024;

/// Words of a request, as they stand in its JSON, that stand for an image; for what may fill the whole context; and for
/// tools with which the provider works by itself. A text that quotes them is only taken for dearer than it is.
const IMAGES: [&str; 4] = ["\"image_url\"", "\"input_image\"", "\"image\"", "\"image/"];
const FILES: [&str; 10] = [
    "\"file\"",
    "\"input_file\"",
    "\"file_id\"",
    "\"document\"",
    "\"input_audio\"",
    "\"video",
    "\"audio/",
    "\"application/pdf\"",
    "\"fileData\"",
    "\"file_data\"",
];
const OWN_TOOLS: [&str; 7] = [
    "\"web_search",
    "\"web_fetch",
    "\"google_search",
    "\"googleSearch",
    "\"code_execution",
    "\"code_interpreter",
    "\"file_search",
];

/// The limits that a request sets itself, in every dialect's spelling.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Limits {
    max_completion_tokens: Option<u64>,
    max_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    #[serde(alias = "generationConfig")]
    generation_config: Option<GenerationConfig>,
    n: Option<u64>,
    best_of: Option<u64>,
    documents: Option<Vec<IgnoredAny>>,
    tools: Option<IgnoredAny>,
    functions: Option<IgnoredAny>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct GenerationConfig {
    #[serde(alias = "maxOutputTokens")]
    max_output_tokens: Option<u64>,
    #[serde(alias = "candidateCount")]
    candidate_count: Option<u64>,
}

impl Limits {
    fn read(operation: Operation, request: &[u8]) -> Self {
        let is_form = matches!(operation, Operation::Transcriptions | Operation::Translations);
        // What cannot be read here sets no limit; whoever is asked will refuse it.
        if is_form { Self::default() } else { serde_json::from_slice(request).unwrap_or_default() }
    }

    fn output(&self) -> Option<u64> {
        let of_google = self.generation_config.and_then(|config| config.max_output_tokens);
        // Where several are given, providers differ in which they read.
        [self.max_completion_tokens, self.max_tokens, self.max_output_tokens, of_google].into_iter().flatten().max()
    }

    fn several(&self) -> u64 {
        let candidates = self.generation_config.and_then(|config| config.candidate_count);
        self.n.max(self.best_of).max(candidates).unwrap_or(1).max(1)
    }
}

/// The most that `request` can come to at this model, in picodollars and in tokens. `None` when the model has no price: the
/// tokens are bounded all the same.
pub fn worst(card: Option<&ModelCard>, operation: Operation, request: &[u8]) -> Worst {
    let limits = Limits::read(operation, request);
    let ways = worst_ways(card, operation, request, &limits);
    let tokens = ways.iter().map(|usage| usage.input_total().saturating_add(usage.output_total())).max();
    let cost = card.and_then(|card| card.price.as_ref()).and_then(|price| dearest(&price.prices, &ways));
    Worst { usd: cost, tokens: tokens.unwrap_or(0) }
}

/// What it will probably come to, in the same units: no bound.
pub fn usual(card: Option<&ModelCard>, operation: Operation, request: &[u8]) -> Worst {
    let limits = Limits::read(operation, request);
    let is_text = matches!(operation, Operation::Chat | Operation::Completions | Operation::Embeddings);
    if !is_text {
        return worst(card, operation, request);
    }
    let output = match operation {
        Operation::Embeddings => None,
        _ => Some(limits.output().unwrap_or(USUAL_OUTPUT).min(USUAL_OUTPUT).saturating_mul(limits.several())),
    };
    let input = Some(request.len() as u64 / USUAL_BYTES_A_TOKEN + 1);
    let usage = Usage { input, output, ..Usage::default() };
    let cost = card.and_then(|card| card.price.as_ref()).and_then(|price| price.prices.cost(&usage));
    let usd = cost.map(|cost| u64::try_from(cost.0).unwrap_or(0));
    Worst { usd, tokens: usage.input_total() + usage.output_total() }
}

/// What one model charges by tokens, another charges by units: the dearer of what has a price counts, and of the classes of
/// input and output the dearest, because nobody knows before which of them it will be.
fn dearest(prices: &Prices, ways: &[Usage]) -> Option<u64> {
    let costs = ways.iter().flat_map(|way| {
        let inputs: [fn(u64) -> Usage; 5] = [
            |n| Usage { input: Some(n), ..Usage::default() },
            |n| Usage { cache_write: Some(n), ..Usage::default() },
            |n| Usage { cache_write_1h: Some(n), ..Usage::default() },
            |n| Usage { input_audio: Some(n), ..Usage::default() },
            |n| Usage { input_image: Some(n), ..Usage::default() },
        ];
        let outputs: [fn(u64) -> Usage; 3] = [
            |n| Usage { output: Some(n), ..Usage::default() },
            |n| Usage { reasoning: Some(n), ..Usage::default() },
            |n| Usage { output_audio: Some(n), ..Usage::default() },
        ];
        let (input, output) = (way.input_total(), way.output_total());
        let rest = Usage {
            images: way.images,
            seconds: way.seconds,
            characters: way.characters,
            searches: way.searches,
            ..Usage::default()
        };
        inputs.into_iter().flat_map(move |of_input| {
            outputs.map(|of_output| {
                let with = |usage: Usage, part: Usage, count| if count == 0 { usage } else { usage.plus(part) };
                with(with(rest, of_input(input), input), of_output(output), output)
            })
        })
    });
    costs.filter_map(|usage| prices.cost(&usage)).map(|cost| u64::try_from(cost.0).unwrap_or(u64::MAX)).max()
}

/// The longest input and output, in each of the ways in which the operation may be charged.
fn worst_ways(card: Option<&ModelCard>, operation: Operation, request: &[u8], limits: &Limits) -> Vec<Usage> {
    let bytes = request.len() as u64;
    let longest = card.and_then(|card| card.max_output.or(card.context)).unwrap_or(LONGEST_OUTPUT);
    let several = limits.several();
    let input = Usage { input: Some(bytes), ..Usage::default() };
    match operation {
        Operation::Chat | Operation::Completions => {
            let output = limits.output().unwrap_or(longest).saturating_mul(several);
            vec![Usage { output: Some(output), ..longest_input(card, request, limits) }]
        }
        Operation::Embeddings | Operation::Moderations => vec![longest_input(card, request, limits)],
        Operation::CountTokens => vec![Usage::default()],
        Operation::Rerank => {
            let documents = limits.documents.as_ref().map_or(0, |documents| documents.len() as u64);
            let searches = Some((documents + bytes / BYTES_A_DOCUMENT).div_ceil(DOCUMENTS_A_SEARCH).max(1));
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
    }
}

/// Every byte a token; what is not text counts as the most that it can be, though never as more than the context holds.
fn longest_input(card: Option<&ModelCard>, request: &[u8], limits: &Limits) -> Usage {
    let has = |words: &[&str]| words.iter().any(|word| memmem::find(request, word.as_bytes()).is_some());
    let context = card.and_then(|card| card.context).unwrap_or(LONGEST_INPUT);
    let images =
        IMAGES.iter().map(|word| memmem::find_iter(request, word.as_bytes()).count() as u64).max().unwrap_or(0);
    let tools = if limits.tools.is_some() || limits.functions.is_some() { TOOLS_TOKENS } else { 0 };
    let bytes = (request.len() as u64).saturating_add(images.saturating_mul(SEEN_IMAGE_TOKENS)).saturating_add(tools);
    let once = if has(&FILES) { context } else { bytes.min(context) };
    if has(&OWN_TOOLS) {
        let input = Some(context.saturating_mul(OWN_TURNS));
        return Usage { input, searches: Some(OWN_TURNS), ..Usage::default() };
    }
    Usage { input: Some(once), ..Usage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(prices: &str) -> ModelCard {
        let json = format!(
            r#"{{"model":"m","mode":"chat","context":100000,"max_output":1000,"price":{{"price_id":"p","valid_from":0,"prices":{prices}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn dollars(pico: Option<u64>) -> Option<String> {
        pico.map(|pico| crate::money::Picodollars(i64::try_from(pico).unwrap()).to_string())
    }

    #[test]
    fn the_worst_case_is_a_token_a_byte_and_the_longest_answers_in_every_dialect() {
        let card = card(r#"{"input":"1","output":"10"}"#);
        for (request, cost, tokens) in [
            ("{}", "0.010002", 1002),
            (r#"{"max_tokens":5}"#, "0.000066", 21),
            (r#"{"max_tokens":5,"n":2}"#, "0.000122", 32),
            (r#"{"max_tokens":5,"max_completion_tokens":7}"#, "0.000112", 49),
            (r#"{"max_output_tokens":5}"#, "0.000073", 28),
            (r#"{"generationConfig":{"maxOutputTokens":5,"candidateCount":2}}"#, "0.000161", 71),
            (r#"{"generation_config":{"max_output_tokens":5}}"#, "0.000095", 50),
            (r#"{"max_tokens":5,"tools":[]}"#, "0.002125", 2080),
            (r#"{"max_tokens":1,"messages":[{"image_url":""}]}"#, "0.048225", 48_216),
            (r#"{"max_tokens":1,"input":[{"type":"input_file"}]}"#, "0.10001", 100_001),
            (r#"{"max_tokens":1,"tools":[{"type":"web_search"}]}"#, "1.00001", 1_000_001),
        ] {
            let Worst { usd: found, tokens: counted } = worst(Some(&card), Operation::Chat, request.as_bytes());
            let is_web = request.contains("web_search");
            let expected = if is_web { None } else { Some(cost.to_owned()) };
            assert_eq!((dollars(found), counted), (expected, tokens), "{request}");
        }
    }

    #[test]
    fn the_dearest_class_counts() {
        let card = card(
            r#"{"input":"1","cache_write":"1.25","cache_write_1h":"2","output":"10","reasoning":"12","per_search":"0.01"}"#,
        );
        let Worst { usd: cost, .. } = worst(Some(&card), Operation::Chat, br#"{"max_tokens":5}"#);
        assert_eq!(dollars(cost).unwrap(), "0.000092");
        let Worst { usd: cost, .. } =
            worst(Some(&card), Operation::Chat, br#"{"max_tokens":1,"tools":[{"type":"web_search"}]}"#);
        assert_eq!(dollars(cost).unwrap(), "2.100012");
    }

    #[test]
    fn the_worst_case_of_each_operation_is_charged_as_its_model_charges() {
        use Operation::{CountTokens, Embeddings, Images, Rerank, Speech, Transcriptions};
        for (operation, prices, request, cost) in [
            (Embeddings, r#"{"input":"1"}"#, r#"{"input":"ab"}"#, Some("0.000014")),
            (Images, r#"{"per_image":"0.04"}"#, r#"{"n":3}"#, Some("0.12")),
            (Images, r#"{"input":"1","output":"10"}"#, r#"{"n":2}"#, Some("0.163847")),
            (Speech, r#"{"per_million_characters":"15"}"#, r#"{"input":"ab"}"#, Some("0.00021")),
            (Speech, r#"{"input":"1","output_audio":"10"}"#, r#"{"input":"ab"}"#, Some("0.000574")),
            (Transcriptions, r#"{"per_second":"0.0001"}"#, "--b 012345", Some("0.0001")),
            (Transcriptions, r#"{"input":"1","output":"10"}"#, "--b 012345", Some("0.01001")),
            (Rerank, r#"{"input":"0","per_search":"0.002"}"#, r#"{"documents":["a","b"]}"#, Some("0.002")),
            (Rerank, r#"{"input":"1"}"#, r#"{"documents":["a","b"]}"#, Some("0.000023")),
            (CountTokens, r#"{"input":"1"}"#, r#"{"messages":[]}"#, Some("0")),
            (Images, r#"{"input":"1"}"#, r#"{"n":2}"#, None),
        ] {
            let Worst { usd: found, .. } = worst(Some(&card(prices)), operation, request.as_bytes());
            assert_eq!(dollars(found).as_deref(), cost, "{operation:?} {prices} {request}");
        }
    }

    #[test]
    fn what_has_no_price_still_has_a_bound_in_tokens() {
        assert_eq!(worst(None, Operation::Chat, br#"{"max_tokens":5}"#), Worst { usd: None, tokens: 21 });
        assert_eq!(usual(None, Operation::Chat, br#"{"max_tokens":5}"#), Worst { usd: None, tokens: 10 });
    }
}
