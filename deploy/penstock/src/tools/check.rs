//! `penstock check`: is the configuration right, and what does it amount to?

use crate::Place;
use crate::config::{self, Config};
use crate::tools::output::write;
use penstock_workers::ServedProviders;
use std::process::ExitCode;

pub(crate) fn run(place: &Place) -> anyhow::Result<ExitCode> {
    let config = Config::load_for(place, ServedProviders::All)?;
    let file = config::file(place).map_or("no file".to_owned(), |file| file.display().to_string());
    let list = |names: Vec<String>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let providers = list(config.workers.providers.iter().map(|provider| provider.id.to_string()).collect());
    let models = list(config.ingress.models.keys().cloned().collect());
    let prices = config.workers.prices.len();
    let declared = list(config.ingress.declared.names());
    write(
        format!(
            "The configuration is right ({file}).\n\
             listen: {}\nproviders: {providers}\nvirtual models: {models}\nown prices: {prices}\ndeclared: {declared}\n",
            config.ingress.listen
        )
        .as_bytes(),
    )?;
    Ok(ExitCode::SUCCESS)
}
