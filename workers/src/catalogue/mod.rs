//! The providers, models and prices that the project knows: `workers/catalogue/*.toml`, held by the binary and read one
//! provider at a time. Knows nothing of what an operator configures on top. The format: `workers/catalogue/README.md`.

mod file;

#[cfg(test)]
mod checks;

use crate::providers::batch_api::BatchDialect;
use penstock_dialects::provider::{PerModel, Quirk};
use penstock_schemas::envelope::Dialect;
use penstock_schemas::model::{ModelCard, PriceRow};
use penstock_schemas::name::{ProviderId, Target};
use std::collections::BTreeMap;

include!(concat!(env!("OUT_DIR"), "/catalogue.rs"));

/// What the catalogue knows of one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderEntry {
    /// The provider.
    pub id: ProviderId,
    /// The format it speaks.
    pub dialect: Dialect,
    /// What it speaks besides.
    pub also: Vec<Dialect>,
    /// What its own SDK takes as its base URL; `{name}` stands for a setting. `None`: only the operator can know it.
    pub base_url: Option<String>,
    /// The same for regions that have an address of another form: `global`.
    pub region_urls: BTreeMap<String, String>,
    /// The most texts that one request for embeddings may hold, where it is not the dialect's usual limit.
    pub most_inputs: Option<u32>,
    /// Its own batch API, if it has one that is spoken here.
    pub batch_api: Option<BatchDialect>,
    /// The environment variables that hold its key: alternatives, each of one or more that are needed together.
    /// Empty: it needs no key.
    pub key_env: Vec<Vec<String>>,
    /// The environment variables that hold a setting which the operator does not give, by the setting's name; the first
    /// that is set counts.
    pub setting_env: BTreeMap<String, Vec<String>>,
    /// In what it differs from the dialect it copies.
    pub quirks: Vec<Quirk>,
    /// In what some of its models do.
    pub model_quirks: PerModel<Quirk>,
    /// The fields that some of its models refuse.
    pub lacks: PerModel<String>,
    /// Its models, sorted by name.
    pub models: Vec<ModelCard>,
}

impl ProviderEntry {
    /// Its base URL for a region.
    pub fn url(&self, region: Option<&str>) -> Option<&str> {
        let own = region.and_then(|region| self.region_urls.get(region));
        own.or(self.base_url.as_ref()).map(String::as_str)
    }
}

/// A file of the catalogue is not what it should be. The tests read every file, so this says that they were not run.
#[derive(Debug, thiserror::Error)]
#[error("workers/catalogue/{file}.toml: {reason}")]
pub struct BadFile {
    file: &'static str,
    reason: String,
}

/// The providers that the catalogue knows, sorted.
pub fn providers() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(id, _)| *id)
}

/// One provider; `None` when the catalogue does not know it.
pub fn provider(id: &str) -> Option<Result<ProviderEntry, BadFile>> {
    let at = FILES.binary_search_by_key(&id, |(id, _)| id).ok()?;
    let (id, text) = FILES[at];
    Some(file::read(id, text).map_err(|reason| BadFile { file: id, reason }))
}

/// Every price, for the ledger's price table. Reads the whole catalogue: some ten milliseconds.
///
/// # Errors
/// When a file cannot be read.
pub fn price_rows() -> Result<Vec<(Target, PriceRow)>, BadFile> {
    let mut rows = Vec::new();
    for entry in providers().filter_map(provider) {
        let ProviderEntry { id, models, .. } = entry?;
        rows.extend(models.into_iter().filter_map(|card| {
            let target = Target { provider: id.clone(), model: card.model };
            Some((target, card.price?))
        }));
    }
    Ok(rows)
}
