//! What a request can come to at most, and what it will probably come to, before a provider is called: from its extent and
//! from what is known of the model. Knows prices; never sees the request itself.

use crate::envelope::Operation;
use crate::extent::{Extent, IMAGE_TOKENS};
use crate::model::ModelCard;
use crate::plan::Worst;
use crate::price::Prices;
use crate::usage::Usage;

/// The longest answer of a model of which nothing is known, in tokens: the longest output of any model in the catalogue
/// that names no other limit.
const LONGEST_OUTPUT: u64 = 128_000;

/// The longest input of a model of which nothing is known, in tokens: the longest of the catalogue, but for a few.
const LONGEST_INPUT: u64 = 1_048_576;

/// The longest input and output of one response of a session at a model of which nothing is known, in tokens: those of the
/// largest realtime model in the catalogue. What a session holds is not known before, so a response counts as all of it.
const LONGEST_REALTIME: (u64, u64) = (131_072, 32_768);

/// The most tokens of one image that is looked at. Source: <https://platform.openai.com/docs/guides/images-vision>: 2,833 and
/// 5,667 for each of up to 8 tiles at the dearest model.
const SEEN_IMAGE_TOKENS: u64 = 48_169;

/// What providers put in front of tools. Source: <https://docs.anthropic.com/en/docs/build-with-claude/tool-use/overview>, up
/// to 346 for the choice and 735 for a tool of their own; others say less or nothing.
const TOOLS_TOKENS: u64 = 2_048;

/// The most audio tokens that one character of text is spoken as: some 1,250 a minute of 900 characters, said slowly.
const TOKENS_A_CHARACTER: u64 = 4;

/// Audio of speech is never smaller, in bytes a second: 4 kbit/s.
const BYTES_A_SECOND: u64 = 500;

/// The audio tokens of a second of input. Source: <https://platform.openai.com/docs/guides/audio>, one per 100 ms.
const TOKENS_A_SECOND: u64 = 10;

/// Documents of one search, and the bytes from which one counts as several: at least one a token, of which 500.
/// Source: <https://docs.cohere.com/docs/how-does-cohere-pricing-work>.
pub const DOCUMENTS_A_SEARCH: u64 = 100;
const BYTES_A_DOCUMENT: u64 = 500;

/// What a text of so many bytes usually is in tokens; and an answer of which nothing is known.
const USUAL_BYTES_A_TOKEN: u64 = 4;
const USUAL_OUTPUT: u64 = 1_024;

/// The most that a request of this extent can come to at this model, in picodollars and in tokens. No money when something
/// that it may use has no price: the tokens are bounded all the same.
pub fn worst(card: Option<&ModelCard>, operation: Operation, extent: &Extent) -> Worst {
    let ways = worst_ways(card, operation, extent);
    let tokens = ways.iter().map(|usage| usage.input_total().saturating_add(usage.output_total())).max();
    let priced = card.filter(|_| !extent.is_priority).and_then(|card| Some((card, card.price.as_ref()?)));
    let cost = priced.and_then(|(card, price)| match &card.ceiling {
        Some(ceiling) => dearest(&price.prices.filled(ceiling), &ways),
        None => dearest(&price.prices, &ways),
    });
    Worst { usd: cost, tokens: tokens.unwrap_or(0) }
}

/// The most that an answer can use of each class, in whichever way it is charged.
pub fn most(card: Option<&ModelCard>, operation: Operation, extent: &Extent) -> Usage {
    let larger = |a: Option<u64>, b: Option<u64>| a.max(b);
    worst_ways(card, operation, extent).into_iter().fold(Usage::default(), |most, way| Usage {
        input: larger(most.input, Some(way.input_total())),
        output: larger(most.output, Some(way.output_total())),
        images: larger(most.images, way.images),
        seconds: larger(most.seconds, way.seconds),
        characters: larger(most.characters, way.characters),
        searches: larger(most.searches, way.searches),
        ..Usage::default()
    })
}

/// The most tokens of input that it can be.
pub fn longest_input(card: Option<&ModelCard>, extent: &Extent) -> u64 {
    input_of(card, extent).input_total()
}

/// What it will probably come to, in the same units: no bound.
pub fn usual(card: Option<&ModelCard>, operation: Operation, extent: &Extent) -> Worst {
    let is_text = matches!(operation, Operation::Chat | Operation::Completions | Operation::Embeddings);
    if !is_text {
        return worst(card, operation, extent);
    }
    let output = match operation {
        Operation::Embeddings => None,
        _ => Some(extent.output.unwrap_or(USUAL_OUTPUT).min(USUAL_OUTPUT).saturating_mul(extent.answers())),
    };
    let input = Some(extent.bytes / USUAL_BYTES_A_TOKEN + 1);
    let usage = Usage { input, output, ..Usage::default() };
    let price = card.filter(|_| !extent.is_priority).and_then(|card| card.price.as_ref());
    let cost = price.and_then(|price| price.prices.cost(&usage));
    let usd = cost.map(|cost| u64::try_from(cost.0).unwrap_or(0));
    Worst { usd, tokens: usage.input_total().saturating_add(usage.output_total()) }
}

/// One class of tokens, as usage.
type Class = fn(u64) -> Usage;

const INPUTS: [Class; 6] = [
    |n| Usage { input: Some(n), ..Usage::default() },
    |n| Usage { cache_read: Some(n), ..Usage::default() },
    |n| Usage { cache_write: Some(n), ..Usage::default() },
    |n| Usage { cache_write_1h: Some(n), ..Usage::default() },
    |n| Usage { input_audio: Some(n), ..Usage::default() },
    |n| Usage { input_image: Some(n), ..Usage::default() },
];

const OUTPUTS: [Class; 4] = [
    |n| Usage { output: Some(n), ..Usage::default() },
    |n| Usage { reasoning: Some(n), ..Usage::default() },
    |n| Usage { output_audio: Some(n), ..Usage::default() },
    |n| Usage { output_image: Some(n), ..Usage::default() },
];

/// What a turn of the provider's own is charged as.
const OWN: [Class; 3] = [
    |n| Usage { searches: Some(n), ..Usage::default() },
    |n| Usage { code_executions: Some(n), ..Usage::default() },
    |n| Usage { file_searches: Some(n), ..Usage::default() },
];

/// What one model charges by tokens, another charges by units: the dearer of what has a price counts, and of the classes of
/// input and output the dearest, because which of them it will be is not known before. A shorter input may fall under a
/// dearer tier.
fn dearest(prices: &Prices, ways: &[Usage]) -> Option<u64> {
    let mut dearest = None;
    for way in ways {
        let (most, output) = (way.input_total(), way.output_total());
        let units = |own: &Class| {
            let units =
                Usage { images: way.images, seconds: way.seconds, characters: way.characters, ..Usage::default() };
            way.searches.map_or(units, |turns| units.plus(own(turns)))
        };
        let at_tiers = prices.tiers.iter().map(|tier| tier.above_input_tokens).filter(|input| *input < most);
        for input in at_tiers.chain([most]) {
            let with = |usage: Usage, class: &Class, count| if count == 0 { usage } else { usage.plus(class(count)) };
            let owns = if way.searches.is_some() { &OWN[..] } else { &OWN[..1] };
            // What stands beside it does not change what a token of input costs.
            let Some(of_input) = INPUTS.iter().max_by_key(|class| prices.cost(&class(input))) else { continue };
            for (of_output, own) in OUTPUTS.iter().flat_map(|of_output| owns.iter().map(move |own| (of_output, own))) {
                let usage = with(with(units(own), of_input, input), of_output, output);
                let cost = prices.cost(&usage).map(|cost| u64::try_from(cost.0).unwrap_or(u64::MAX));
                dearest = dearest.max(cost);
            }
        }
    }
    dearest
}

/// The longest input and output, in each of the ways in which the operation may be charged.
fn worst_ways(card: Option<&ModelCard>, operation: Operation, extent: &Extent) -> Vec<Usage> {
    let longest = card.and_then(|card| card.max_output.or(card.context)).unwrap_or(LONGEST_OUTPUT);
    let input = Usage { input: Some(extent.bytes), ..Usage::default() };
    match operation {
        Operation::Chat | Operation::Completions => {
            let least = card.and_then(|card| card.least_output).unwrap_or(0);
            let output = extent.output_within(longest).max(least).saturating_mul(extent.answers());
            vec![Usage { output: Some(output), ..input_of(card, extent) }]
        }
        Operation::Embeddings | Operation::Moderations => vec![input_of(card, extent)],
        Operation::CountTokens => vec![Usage::default()],
        Operation::Realtime => {
            let (context, output) = LONGEST_REALTIME;
            let input = Some(card.and_then(|card| card.context).unwrap_or(context));
            let output = Some(card.and_then(|card| card.max_output).unwrap_or(output));
            vec![Usage { input, output, ..Usage::default() }]
        }
        Operation::Rerank => {
            let parts = extent.documents.saturating_add(extent.bytes / BYTES_A_DOCUMENT);
            let searches = Some(parts.div_ceil(DOCUMENTS_A_SEARCH).max(1));
            // Where tokens are charged, the query counts with each document.
            let pairs = extent.bytes.saturating_add(extent.query.saturating_mul(extent.documents));
            let by_tokens = Usage { input: Some(pairs), ..Usage::default() };
            vec![Usage { searches, ..by_tokens }, by_tokens]
        }
        Operation::Images | Operation::ImageEdits | Operation::ImageVariations => {
            let images = extent.answers();
            let tokens = Some(images.saturating_mul(extent.image_tokens.max(IMAGE_TOKENS)));
            let input = input_of(card, extent);
            let by_image = Usage { images: Some(images), ..Usage::default() };
            vec![by_image, by_image.plus(input), Usage { output_image: tokens, ..input }]
        }
        Operation::Speech => {
            let spoken = extent.bytes.saturating_mul(TOKENS_A_CHARACTER).saturating_mul(extent.slowness.max(1));
            let by_length = Usage { characters: Some(extent.bytes), ..Usage::default() };
            vec![by_length, by_length.plus(input), Usage { output_audio: Some(spoken), ..input }]
        }
        Operation::Transcriptions | Operation::Translations => {
            let seconds = extent.bytes.div_ceil(BYTES_A_SECOND);
            let heard = Some(seconds.saturating_mul(TOKENS_A_SECOND));
            let by_time = Usage { seconds: Some(seconds), ..Usage::default() };
            vec![by_time, Usage { input_audio: heard, output: Some(longest), ..Usage::default() }]
        }
    }
}

/// Every byte a token; what is not text counts as the most that it can be, though no text as more than the context holds.
/// What the provider does by itself reads everything again each time.
fn input_of(card: Option<&ModelCard>, extent: &Extent) -> Usage {
    let context = card.and_then(|card| card.context).unwrap_or(LONGEST_INPUT);
    let most = context.saturating_mul(extent.texts.max(1));
    let tools = if extent.has_tools { TOOLS_TOKENS } else { 0 };
    let bytes = extent.bytes.saturating_add(extent.images.saturating_mul(SEEN_IMAGE_TOKENS)).saturating_add(tools);
    let once = if extent.is_open { most } else { bytes.min(most) };
    if extent.own_turns > 0 {
        let input = Some(context.saturating_mul(extent.own_turns));
        return Usage { input, searches: Some(extent.own_turns), ..Usage::default() };
    }
    Usage { input: Some(once), ..Usage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Dialect;

    fn card(prices: &str) -> ModelCard {
        let json = format!(
            r#"{{"model":"m","mode":"chat","context":100000,"max_output":1000,"price":{{"price_id":"p","valid_from":0,"prices":{prices}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn dollars(pico: Option<u64>) -> Option<String> {
        pico.map(|pico| crate::money::Picodollars(i64::try_from(pico).unwrap()).to_string())
    }

    fn worst_of(card: &ModelCard, operation: Operation, request: &str) -> Worst {
        worst(Some(card), operation, &extent(operation, request))
    }

    /// As the callers of each dialect spell it.
    fn extent(operation: Operation, request: &str) -> Extent {
        let dialect = match request {
            _ if request.contains("eneration") => Dialect::Google,
            _ if request.contains("max_output_tokens") => Dialect::Responses,
            _ => Dialect::Openai,
        };
        match operation {
            Operation::Transcriptions => Extent { bytes: request.len() as u64, ..Extent::default() },
            _ => Extent::read(dialect, operation, request.as_bytes()).unwrap(),
        }
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
            let Worst { usd: found, tokens: counted } = worst_of(&card, Operation::Chat, request);
            let is_web = request.contains("web_search");
            let expected = if is_web { None } else { Some(cost.to_owned()) };
            assert_eq!((dollars(found), counted), (expected, tokens), "{request}");
        }
    }

    #[test]
    fn a_limit_that_the_provider_raises_counts_as_raised() {
        let plain = card(r#"{"input":"0","output":"10"}"#);
        let raising = ModelCard { least_output: Some(16), ..plain.clone() };
        for (request, of_plain, of_raising) in
            [(r#"{"max_tokens":5,"n":2}"#, "0.0001", "0.00032"), (r#"{"max_tokens":20}"#, "0.0002", "0.0002")]
        {
            let found = [&plain, &raising].map(|card| dollars(worst_of(card, Operation::Chat, request).usd).unwrap());
            assert_eq!(found, [of_plain, of_raising], "{request}");
        }
    }

    #[test]
    fn the_dearest_class_counts() {
        let card = card(
            r#"{"input":"1","cache_write":"1.25","cache_write_1h":"2","output":"10","reasoning":"12","per_search":"0.01"}"#,
        );
        let Worst { usd: cost, .. } = worst_of(&card, Operation::Chat, r#"{"max_tokens":5}"#);
        assert_eq!(dollars(cost).unwrap(), "0.000092");
        let Worst { usd: cost, .. } =
            worst_of(&card, Operation::Chat, r#"{"max_tokens":1,"tools":[{"type":"web_search"}]}"#);
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
            let Worst { usd: found, .. } = worst_of(&card(prices), operation, request);
            assert_eq!(dollars(found).as_deref(), cost, "{operation:?} {prices} {request}");
        }
    }

    #[test]
    fn what_has_no_price_still_has_a_bound_in_tokens() {
        let extent = extent(Operation::Chat, r#"{"max_tokens":5}"#);
        assert_eq!(worst(None, Operation::Chat, &extent), Worst { usd: None, tokens: 21 });
        assert_eq!(usual(None, Operation::Chat, &extent), Worst { usd: None, tokens: 10 });
    }
}
