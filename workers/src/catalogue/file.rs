//! Reads one file of the catalogue. Knows the format, not the folder.

use super::ProviderEntry;
use crate::providers::Quirk;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::model::{ModelCard, PriceRow};
use penstock_schemas::name::{ModelId, ProviderId};
use penstock_schemas::price::{PerMillion, PerUnit, Prices, Tier, TokenPrices};
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
    key_env: Vec<String>,
    most_inputs: Option<u32>,
    #[serde(default)]
    setting_env: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    quirks: Vec<Quirk>,
    priced_on: Date,
    #[serde(default)]
    fees: Fees,
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
    let models = raw.models.into_iter().map(|(model, line)| card(id, model, line, (raw.priced_on, raw.fees)));
    Ok(ProviderEntry {
        id: ProviderId::parse(id).map_err(|error| error.to_string())?,
        dialect: raw.dialect,
        also: raw.also,
        base_url: raw.base_url,
        most_inputs: raw.most_inputs,
        key_env: raw.key_env.iter().map(|names| names.split(" + ").map(str::to_owned).collect()).collect(),
        setting_env: raw.setting_env,
        quirks: raw.quirks,
        models: models.collect::<Result<_, _>>()?,
    })
}

fn card(provider: &str, model: String, line: RawModel, (priced_on, fees): (Date, Fees)) -> Result<ModelCard, String> {
    let day = line.priced_on.unwrap_or(priced_on);
    let mut prices = prices(&line);
    let talks = matches!(line.mode.as_deref(), None | Some("chat" | "responses"));
    if talks && prices != Prices::default() {
        prices.per_search = prices.per_search.or(fees.per_search);
        prices.per_code_execution = prices.per_code_execution.or(fees.per_code_execution);
        prices.per_file_search = prices.per_file_search.or(fees.per_file_search);
    }
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
        assert_eq!(entry.base_url.as_deref(), Some("https://{region}.example.com/v1"));
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
