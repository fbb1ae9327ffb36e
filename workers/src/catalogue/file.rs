//! Reads one file of the catalogue. Knows the format, not the folder.

use super::ProviderEntry;
use crate::providers::batch_api::BatchDialect;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use penstock_dialects::provider::{PerModel, Quirk};
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::model::{ModelCard, PriceRow};
use penstock_schemas::name::{ModelId, ProviderId};
use penstock_schemas::price::{BatchRates, PerMillion, PerUnit, Prices, Rate, Tier, TokenPrices};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProvider {
    dialect: Dialect,
    #[serde(default)]
    also: Vec<Dialect>,
    base_url: Option<String>,
    #[serde(default)]
    region_urls: BTreeMap<String, String>,
    #[serde(default)]
    key_env: Vec<String>,
    most_inputs: Option<u32>,
    #[serde(default)]
    setting_env: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    quirks: Vec<Quirk>,
    #[serde(default)]
    model_quirks: PerModel<Quirk>,
    #[serde(default)]
    lacks: PerModel<String>,
    priced_on: Date,
    #[serde(default)]
    fees: Fees,
    #[serde(default)]
    batch: RawBatch,
    #[serde(default)]
    models: BTreeMap<String, RawModel>,
}

/// What a provider asks for its own tools at every model that talks and has prices, unless the model's line says otherwise.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fees {
    per_search: Option<PerUnit>,
    per_code_execution: Option<PerUnit>,
    per_file_search: Option<PerUnit>,
}

/// What the provider's own batch API charges, where the lines of the models do not say it all.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBatch {
    /// How it is spoken to; absent: it is not.
    api: Option<BatchDialect>,
    /// Of every price per token of every model; absent: of the models alone whose lines have prices of a batch.
    rate: Option<Rate>,
    /// Of what is read from a cache; absent: that costs as other input.
    cache_read: Option<Rate>,
    /// The models that it does so for, with `*` at the end for any ending; none: for all.
    #[serde(default)]
    cache_read_models: Vec<String>,
}

impl RawBatch {
    fn rates(&self, model: &str, line: &RawModel) -> Option<BatchRates> {
        let is_priced = line.input.is_some() || line.output.is_some();
        let stated = [(line.batch_input, line.input), (line.batch_output, line.output)];
        let stated = stated.into_iter().filter_map(|(part, whole)| Some((part?, whole?)));
        // What is free is so in a batch too.
        let mut stated = stated.filter(|(_, whole)| whole.picodollars() > 0);
        let tokens = match stated.next() {
            None => self.rate.filter(|_| is_priced)?,
            Some((part, whole)) => {
                let rate = Rate::between(part, whole)?;
                // Prices that are no one part of the others, as where a list rounds, are none that can be told so.
                stated.all(|(part, whole)| Rate::between(part, whole) == Some(rate)).then_some(rate)?
            }
        };
        let is_like = |name: &String| name.strip_suffix('*').map_or(name == model, |start| model.starts_with(start));
        let is_read = self.cache_read_models.is_empty() || self.cache_read_models.iter().any(is_like);
        Some(BatchRates { tokens, cache_read: self.cache_read.filter(|_| is_read) })
    }
}

/// One line. The prices' names are spelt out, so that a misspelt one is an error and not a missing price.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    mode: Option<String>,
    priced_on: Option<Date>,
    input: Option<PerMillion>,
    output: Option<PerMillion>,
    cache_read: Option<PerMillion>,
    cache_write: Option<PerMillion>,
    cache_write_1h: Option<PerMillion>,
    reasoning: Option<PerMillion>,
    input_audio: Option<PerMillion>,
    output_audio: Option<PerMillion>,
    output_image: Option<PerMillion>,
    input_image: Option<PerMillion>,
    batch_input: Option<PerMillion>,
    batch_output: Option<PerMillion>,
    per_million_characters: Option<PerMillion>,
    per_image: Option<PerUnit>,
    per_second: Option<PerUnit>,
    per_search: Option<PerUnit>,
    per_code_execution: Option<PerUnit>,
    per_file_search: Option<PerUnit>,
    #[serde(default)]
    tiers: Vec<RawTier>,
    context: Option<u64>,
    max_output: Option<u64>,
    #[serde(default)]
    capabilities: Vec<String>,
    deprecated_on: Option<Date>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTier {
    above_input_tokens: u64,
    input: Option<PerMillion>,
    output: Option<PerMillion>,
    cache_read: Option<PerMillion>,
    cache_write: Option<PerMillion>,
    cache_write_1h: Option<PerMillion>,
    reasoning: Option<PerMillion>,
    input_audio: Option<PerMillion>,
    output_audio: Option<PerMillion>,
    output_image: Option<PerMillion>,
    input_image: Option<PerMillion>,
    batch_input: Option<PerMillion>,
    batch_output: Option<PerMillion>,
}

/// The token prices of a line or a tier, which spell them alike.
macro_rules! token_prices {
    ($raw:expr) => {
        TokenPrices {
            input: $raw.input,
            output: $raw.output,
            cache_read: $raw.cache_read,
            cache_write: $raw.cache_write,
            cache_write_1h: $raw.cache_write_1h,
            reasoning: $raw.reasoning,
            input_audio: $raw.input_audio,
            output_audio: $raw.output_audio,
            output_image: $raw.output_image,
            input_image: $raw.input_image,
            batch_input: $raw.batch_input,
            batch_output: $raw.batch_output,
        }
    };
}

/// The provider that the file `id` describes, or what is wrong with the file.
pub(super) fn read(id: &str, text: &str) -> Result<ProviderEntry, String> {
    let raw: RawProvider = toml::from_str(text).map_err(|error| error.to_string())?;
    let (day, fees, batch) = (raw.priced_on, raw.fees, raw.batch);
    let batch_api = batch.api;
    let models = raw.models.into_iter().map(|(model, line)| {
        let rates = batch.rates(&model, &line);
        card(id, model, line, (day, fees, rates))
    });
    Ok(ProviderEntry {
        id: ProviderId::parse(id).map_err(|error| error.to_string())?,
        dialect: raw.dialect,
        also: raw.also,
        base_url: raw.base_url,
        region_urls: raw.region_urls,
        most_inputs: raw.most_inputs,
        batch_api,
        key_env: raw.key_env.iter().map(|names| names.split(" + ").map(str::to_owned).collect()).collect(),
        setting_env: raw.setting_env,
        quirks: raw.quirks,
        model_quirks: raw.model_quirks,
        lacks: raw.lacks,
        models: models.collect::<Result<_, _>>()?,
    })
}

fn card(
    provider: &str,
    model: String,
    line: RawModel,
    (priced_on, fees, batch): (Date, Fees, Option<BatchRates>),
) -> Result<ModelCard, String> {
    let day = line.priced_on.unwrap_or(priced_on);
    let mut prices = prices(&line);
    let talks = matches!(line.mode.as_deref(), None | Some("chat" | "responses"));
    if talks && prices != Prices::default() {
        prices.per_search = prices.per_search.or(fees.per_search);
        prices.per_code_execution = prices.per_code_execution.or(fees.per_code_execution);
        prices.per_file_search = prices.per_file_search.or(fees.per_file_search);
    }
    prices.batch = batch;
    let price = if prices == Prices::default() {
        None
    } else {
        Some(PriceRow { price_id: format!("{day}/{provider}/{model}"), valid_from: midnight(day)?, prices })
    };
    Ok(ModelCard {
        model: ModelId::parse(model).map_err(|error| error.to_string())?,
        mode: line.mode.unwrap_or_else(|| "chat".into()),
        context: line.context,
        max_output: line.max_output,
        least_output: None,
        capabilities: line.capabilities,
        deprecated_on: line.deprecated_on.map(|day| day.to_string()),
        price,
        ceiling: None,
    })
}

fn prices(line: &RawModel) -> Prices {
    let mut tiers: Vec<Tier> = line
        .tiers
        .iter()
        .map(|tier| Tier { above_input_tokens: tier.above_input_tokens, prices: token_prices!(tier) })
        .collect();
    tiers.sort_by_key(|tier| tier.above_input_tokens);
    Prices {
        base: token_prices!(line),
        per_million_characters: line.per_million_characters,
        per_image: line.per_image,
        per_second: line.per_second,
        per_search: line.per_search,
        per_code_execution: line.per_code_execution,
        per_file_search: line.per_file_search,
        tiers,
        batch: None,
    }
}

/// When a day begins, in UTC.
fn midnight(day: Date) -> Result<UnixMicros, String> {
    let start = day.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
    let micros = u64::try_from(start.timestamp().as_microsecond()).map_err(|_| format!("{day} is before 1970"))?;
    Ok(UnixMicros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_who_what_and_since_when() {
        let entry = read(
            "alpha",
            r#"
            dialect = "openai"
            base_url = "https://{region}.example.com/v1"
            key_env = ["ALPHA_KEY", "ALPHA_ID + ALPHA_SECRET"]
            setting_env = { region = ["ALPHA_REGION"] }
            region_urls = { global = "https://example.com/v1" }
            priced_on = "2026-11-22"
            [models]
            "b/2" = { mode = "embedding", priced_on = "2026-12-01", input = "0.02" }
            "a" = { tiers = [{ above_input_tokens = 9, input = "3" }, { above_input_tokens = 5, input = "2" }], input = "1", context = 10 }
            "c" = { deprecated_on = "2027-01-01" }
            [fees]
            per_search = "0.01"
            "#,
        )
        .unwrap();
        assert_eq!(entry.url(Some("east")), Some("https://{region}.example.com/v1"));
        assert_eq!(
            (entry.url(None), entry.url(Some("global"))),
            (entry.base_url.as_deref(), Some("https://example.com/v1"))
        );
        assert_eq!(entry.key_env, [vec!["ALPHA_KEY"], vec!["ALPHA_ID", "ALPHA_SECRET"]]);
        assert_eq!(entry.setting_env["region"], ["ALPHA_REGION"]);
        let [a, b, c] = &entry.models[..] else { panic!("three models") };
        let (price_a, price_b) = (a.price.as_ref().unwrap(), b.price.as_ref().unwrap());
        assert_eq!(
            (price_a.price_id.as_str(), price_a.valid_from),
            ("2026-11-22/alpha/a", UnixMicros(1_795_305_600_000_000))
        );
        assert_eq!((price_b.price_id.as_str(), b.mode.as_str()), ("2026-12-01/alpha/b/2", "embedding"));
        let at = |tokens| price_a.prices.for_input(tokens).input.unwrap().to_string();
        assert_eq!([at(5), at(6), at(10)], ["1", "2", "3"]);
        let search = |price: &PriceRow| price.prices.per_search.map(|price| price.to_string());
        assert_eq!((search(price_a).as_deref(), search(price_b)), (Some("0.01"), None));
        assert_eq!((&c.price, c.deprecated_on.as_deref()), (&None, Some("2027-01-01")));
    }

    #[test]
    fn a_batch_costs_what_the_lines_say_or_the_files_rate() {
        let rates = |batch: &str| {
            let text = format!(
                r#"
                dialect = "openai"
                priced_on = "2026-11-22"
                [batch]
                {batch}
                [models]
                "a-1" = {{ input = "2", output = "8", batch_input = "1", batch_output = "4" }}
                "b" = {{ input = "2", batch_input = "2" }}
                "c" = {{ input = "2" }}
                "d" = {{ per_image = "2" }}
                "#
            );
            let models = read("alpha", &text).unwrap().models;
            let rates = models.iter().map(|card| {
                let rates = card.price.as_ref()?.prices.batch?;
                Some((rates.tokens.thousandths(), rates.cache_read.map(Rate::thousandths)))
            });
            rates.collect::<Vec<_>>()
        };
        assert_eq!(rates(""), [Some((500, None)), Some((1000, None)), None, None]);
        let some = rates("cache_read = \"0.25\"\ncache_read_models = [\"a-*\"]");
        assert_eq!(some, [Some((500, Some(250))), Some((1000, None)), None, None]);
        let all = rates("rate = \"0.4\"\ncache_read = \"1\"");
        assert_eq!(all, [Some((500, Some(1000))), Some((1000, Some(1000))), Some((400, Some(1000))), None]);
    }

    #[test]
    fn a_mistake_is_found_and_told() {
        for (line, told) in [
            (r#""a" = { inptu = "1" }"#, "unknown field `inptu`"),
            (r#""a" = { input = 1.5 }"#, "expected a string"),
            (r#""a" = { input = "1e3" }"#, "`1e3` is not an amount of dollars"),
            (r#""a" = { input = "-1" }"#, "`-1` is not an amount of dollars"),
            ("\"a\" = {}\n\"a\" = {}", "duplicate key"),
            (r#""a b" = {}"#, "model `a b` is not valid"),
        ] {
            let text = format!("dialect = \"openai\"\npriced_on = \"2026-11-22\"\n[models]\n{line}\n");
            let error = read("alpha", &text).unwrap_err();
            assert!(error.contains(told), "{line}: {error}");
        }
    }
}
