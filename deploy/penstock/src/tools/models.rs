//! `penstock models`: what the pools of this cluster serve, and what it costs.

use super::output::print;
use crate::{Format, Place};
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  penstock models --provider openai")]
pub(crate) struct ModelOptions {
    /// Only this provider's
    #[arg(long)]
    provider: Option<String>,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn run(place: &Place, options: &ModelOptions) -> anyhow::Result<ExitCode> {
    let mut cards = super::bus(place).await?.models().await?.list().await?;
    if let Some(provider) = &options.provider {
        cards.retain(|card| card.provider.as_str() == provider);
    }
    let mut rows: Vec<[String; 6]> = Vec::new();
    for card in &cards {
        for model in &card.models {
            let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
            let price = model.price.as_ref().map(|price| price.prices.base);
            let usd = |price: Option<penstock_schemas::price::PerMillion>| price.map(String::from).unwrap_or_default();
            rows.push([
                format!("{}/{}", card.provider, model.model),
                model.mode.clone(),
                number(model.context),
                number(model.max_output),
                usd(price.and_then(|price| price.input)),
                usd(price.and_then(|price| price.output)),
            ]);
        }
    }
    let columns = ["model", "mode", "context", "max_output", "input_usd_per_million", "output_usd_per_million"];
    print(options.format, &columns, &rows, &cards)?;
    Ok(ExitCode::SUCCESS)
}
