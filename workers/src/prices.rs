//! The operator's own prices: `[[prices]]` over the catalogue's, and the ceiling for usage that has none. Knows nothing of
//! providers but their names.

use penstock_runtime::config::Section;
use penstock_schemas::UnixMicros;
use penstock_schemas::model::PriceRow;
use penstock_schemas::name::Target;
use penstock_schemas::price::{BatchRates, Ceiling, PerMillion, PerUnit, Prices, Rate, Tier, TokenPrices};
use serde::Deserialize;

/// The operator's row over the catalogue's: each class and fee that it does not state is the catalogue's, and so are the
/// tiers, unless it states some of its own or a price of a class that they change.
pub(crate) fn over(own: &PriceRow, catalogue: Option<&PriceRow>) -> PriceRow {
    let Some(catalogue) = catalogue else { return own.clone() };
    let (ours, theirs) = (&own.prices, &catalogue.prices);
    let tiers = if ours.tiers.is_empty() && ours.base == TokenPrices::default() { &theirs.tiers } else { &ours.tiers };
    let prices = Prices {
        base: ours.base.or(theirs.base),
        per_million_characters: ours.per_million_characters.or(theirs.per_million_characters),
        per_image: ours.per_image.or(theirs.per_image),
        per_second: ours.per_second.or(theirs.per_second),
        per_search: ours.per_search.or(theirs.per_search),
        per_code_execution: ours.per_code_execution.or(theirs.per_code_execution),
        per_file_search: ours.per_file_search.or(theirs.per_file_search),
        tiers: tiers.clone(),
        batch: ours.batch.or(theirs.batch),
    };
    PriceRow { prices, ..own.clone() }
}

/// What usage without a price is charged at; `None` when the operator does not say.
pub(crate) fn read_ceiling(section: &mut Section) -> Option<Ceiling> {
    let per_million = section.get::<String>("unpriced_usd_per_million").and_then(|text| {
        let price = PerMillion::parse(&text);
        price.map_err(|error| section.mistake("unpriced_usd_per_million", &error.to_string())).ok()
    });
    let per_unit = section.get::<String>("unpriced_usd_per_unit").and_then(|text| {
        let price = PerUnit::parse(&text);
        price.map_err(|error| section.mistake("unpriced_usd_per_unit", &error.to_string())).ok()
    });
    (per_million.is_some() || per_unit.is_some()).then(|| Ceiling {
        per_million: per_million.unwrap_or(Ceiling::USUAL.per_million),
        per_unit: per_unit.unwrap_or(Ceiling::USUAL.per_unit),
    })
}

/// A tier of an operator's prices, in the names of the row that it stands in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnTier {
    above_input_tokens: u64,
    input_usd_per_million: Option<PerMillion>,
    output_usd_per_million: Option<PerMillion>,
    cache_read_usd_per_million: Option<PerMillion>,
    cache_write_usd_per_million: Option<PerMillion>,
    cache_write_1h_usd_per_million: Option<PerMillion>,
    reasoning_usd_per_million: Option<PerMillion>,
}

impl OwnTier {
    fn tier(self) -> Tier {
        let prices = TokenPrices {
            input: self.input_usd_per_million,
            output: self.output_usd_per_million,
            cache_read: self.cache_read_usd_per_million,
            cache_write: self.cache_write_usd_per_million,
            cache_write_1h: self.cache_write_1h_usd_per_million,
            reasoning: self.reasoning_usd_per_million,
            ..TokenPrices::default()
        };
        Tier { above_input_tokens: self.above_input_tokens, prices }
    }
}

/// What the provider's own batch API charges of the row's prices.
fn read_batch(section: &mut Section) -> Option<BatchRates> {
    let mut rate = |key: &str| {
        let text: String = section.get(key)?;
        Rate::parse(&text).map_err(|_| section.mistake(key, "must be 0 to 1, as text with at most three decimals")).ok()
    };
    let (tokens, cache_read) = (rate("batch_rate"), rate("batch_cache_read_rate"));
    Some(BatchRates { tokens: tokens?, cache_read })
}

/// Reads one row of `[[prices]]`.
pub(crate) fn read(mut section: Section) -> Option<(Target, PriceRow)> {
    let model: Option<String> = section.get("model");
    let mut price = |class: &str| {
        let key = format!("{class}_usd_per_million");
        let text: String = section.get(&key)?;
        PerMillion::parse(&text).map_err(|error| section.mistake(&key, &error.to_string())).ok()
    };
    let base = TokenPrices {
        input: price("input"),
        output: price("output"),
        cache_read: price("cache_read"),
        cache_write: price("cache_write"),
        cache_write_1h: price("cache_write_1h"),
        reasoning: price("reasoning"),
        input_audio: price("input_audio"),
        output_audio: price("output_audio"),
        input_image: price("input_image"),
        output_image: price("output_image"),
        ..TokenPrices::default()
    };
    let per_million_characters = price("characters");
    let mut unit = |class: &str| {
        let key = format!("usd_per_{class}");
        let text: String = section.get(&key)?;
        PerUnit::parse(&text).map_err(|error| section.mistake(&key, &error.to_string())).ok()
    };
    let (per_image, per_second, per_search) = (unit("image"), unit("second"), unit("search"));
    let (per_code_execution, per_file_search) = (unit("code_execution"), unit("file_search"));
    let batch = read_batch(&mut section);
    let tiers: Vec<OwnTier> = section.get("tiers").unwrap_or_default();
    let mut tiers: Vec<Tier> = tiers.into_iter().map(OwnTier::tier).collect();
    tiers.sort_by_key(|tier| tier.above_input_tokens);
    let Some(model) = model else {
        section.mistake("model", "is missing: write it as provider/model");
        return None;
    };
    let target = Target::parse(&model).map_err(|error| section.mistake("model", &error.to_string())).ok()?;
    let prices = Prices {
        base,
        per_million_characters,
        per_image,
        per_second,
        per_search,
        per_code_execution,
        per_file_search,
        tiers,
        batch,
    };
    Some((target, PriceRow { price_id: format!("own/{model}"), valid_from: UnixMicros(0), prices }))
}
