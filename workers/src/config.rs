//! Which providers a worker serves and how: sections `[providers.NAME]` and `[[prices]]` over the catalogue's rows.
//! Knows nothing of calls.

use crate::catalogue::{self, ProviderEntry};
use crate::keys::ConfiguredKey;
use crate::media::MediaGuard;
use crate::prices;
use crate::providers::batch_api::BatchDialect;
use crate::providers::local::{self, LocalModel};
use crate::providers::{self, demo};
use crate::slots::BatchShare;
use penstock_dialects::provider::{FormatSettings, ProviderFormat};
use penstock_runtime::Secret;
use penstock_runtime::config::{Document, Section};
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::model::{ModelCard, PriceRow};
use penstock_schemas::name::{ModelId, ProviderId, Target};
use penstock_schemas::price::{Ceiling, Prices};
use penstock_schemas::provider_key::{self, HEAVIEST, usual_weight};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Calls at once, when a provider's section does not say.
const CONCURRENCY: usize = 256;

/// What calls may take of a process's memory together, when the section does not say, in bytes.
const MEMORY: usize = 1 << 30;

/// Stands for the address of this process's own server until that listens: no other provider can be there.
const OWN_SERVER: &str = "http://127.0.0.1:0/v1";

/// Which providers a process calls. Their keys must be here; those of others may be where it cannot read them.
#[derive(Clone, Copy, Debug)]
pub enum ServedProviders<'a> {
    /// None: it only wants to know what is configured.
    Nothing,
    /// Every one that is configured.
    All,
    /// These, whether a section names them or not.
    Only(&'a [String]),
}

impl ServedProviders<'_> {
    fn includes(&self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Only(names) => names.iter().any(|one| one == name),
        }
    }
}

/// Every provider that could be served here.
#[derive(Clone, Debug)]
pub struct WorkersConfig {
    /// Those that a section names, or whose keys are in the environment.
    pub providers: Vec<ProviderConfig>,
    /// The model that this process can run itself.
    pub local: Option<LocalModel>,
    /// The operator's own prices.
    pub prices: Vec<(Target, PriceRow)>,
    /// What calls may take of a process's memory together, in bytes.
    pub memory: usize,
    /// What part of a pool's slots calls of batches may have.
    pub batch_share: BatchShare,
    /// Where a worker that runs by itself tells its metrics; absent: nowhere.
    pub metrics: Option<SocketAddr>,
}

/// One provider as it is served here.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// Its name.
    pub id: ProviderId,
    /// How it is spoken to.
    pub dialect: Dialect,
    /// What it speaks besides.
    pub also: Vec<Dialect>,
    /// What its dialect needs to know.
    pub settings: FormatSettings,
    /// Where it is: what its own SDK takes as its base URL.
    pub base_url: String,
    /// Its keys, used in turn; none for a server that wants none.
    pub keys: Vec<ConfiguredKey>,
    /// The most texts that one request for embeddings may hold.
    pub most_inputs: Option<u32>,
    /// Its own batch API, if it has one that is spoken here.
    pub batch_api: Option<BatchDialect>,
    /// Calls at once, per worker process.
    pub concurrency: usize,
    /// Whether it may be asked if it is there, when a target of it is in doubt.
    pub probe: bool,
    /// Which addresses of images and documents are fetched for it.
    pub media: MediaGuard,
    /// The models that are known.
    pub models: Vec<ModelCard>,
    /// What every other model is taken for; `None`: it has no price.
    pub unknown: Option<ModelCard>,
}

impl WorkersConfig {
    /// Reads the sections, for a process that serves these providers.
    pub fn read(document: &mut Document, serving: ServedProviders<'_>) -> Self {
        let prices: Vec<_> = document.entries("prices").into_iter().filter_map(prices::read).collect();
        let mut sections: BTreeMap<String, Option<Section>> =
            document.sections("providers").into_iter().map(|(name, section)| (name, Some(section))).collect();
        let local = LocalModel::read(&mut document.section(local::SECTION));
        for name in catalogue::providers() {
            // A variable may be set for other reasons: what cannot be served is passed over, unless somebody asks for it.
            let is_asked = matches!(serving, ServedProviders::Only(names) if names.iter().any(|asked| asked == name));
            let is_here = local.is_some() && name == local::NAME;
            if is_asked || is_here || entry(name).is_some_and(|entry| has_key(&entry.key_env) && can_be_served(&entry))
            {
                sections.entry(name.to_owned()).or_insert(None);
            }
        }
        let mut config = Self {
            providers: Vec::new(),
            local,
            prices,
            memory: MEMORY,
            batch_share: BatchShare::USUAL,
            metrics: None,
        };
        for (name, section) in sections {
            let mut section = section.unwrap_or_else(|| document.empty(&format!("providers.{name}")));
            let usual = (name == local::NAME && config.local.is_some()).then(|| OWN_SERVER.to_owned());
            if let Some(provider) = read_provider(&name, &mut section, usual, serving.includes(&name)) {
                config.providers.push(provider);
            }
        }
        let mut section = document.section("workers");
        config.batch_share = read_share(&mut document.part("batch", &["share"]));
        let ceiling = prices::read_ceiling(&mut section);
        config.memory = section.size("memory").unwrap_or(MEMORY);
        config.metrics = section.get("metrics");
        if section.or("allow_private_media", false) {
            config.providers.iter_mut().for_each(|provider| provider.media = MediaGuard::Open);
        }
        config.price_models();
        if let Some(ceiling) = ceiling {
            config.price_others(ceiling);
        }
        config
    }

    /// Adds the simulator, whose server is at `base_url`.
    pub fn add_demo(&mut self, base_url: String) {
        let entry = entry(demo::NAME).expect("the demo is in the catalogue");
        self.providers.push(ProviderConfig {
            id: ProviderId::parse(demo::NAME).expect("demo is a name"),
            dialect: entry.dialect,
            also: entry.also,
            settings: FormatSettings::default(),
            base_url,
            keys: Vec::new(),
            most_inputs: entry.most_inputs,
            batch_api: None,
            concurrency: CONCURRENCY,
            probe: true,
            media: MediaGuard::Public,
            models: entry.models,
            unknown: None,
        });
    }

    /// The provider that this process is to serve itself, if there is one.
    pub fn own(&mut self) -> Option<(&mut ProviderConfig, &LocalModel)> {
        let provider = self.providers.iter_mut().find(|provider| provider.base_url == OWN_SERVER)?;
        Some((provider, self.local.as_ref()?))
    }

    /// Lays the operator's own prices over the catalogue's: what they do not state stays as it is there.
    fn price_models(&mut self) {
        for provider in &mut self.providers {
            for (target, row) in self.prices.iter().filter(|(target, _)| target.provider == provider.id) {
                match provider.models.iter_mut().find(|card| card.model == target.model) {
                    Some(card) => card.price = Some(prices::over(row, card.price.as_ref())),
                    None => provider.models.push(priced(target.model.clone(), row.clone())),
                }
            }
        }
    }

    /// Gives every model that has no price the ceiling, and the others it for what of them has none; and all of them the
    /// smallest limit of an answer that their provider takes.
    fn price_others(&mut self, ceiling: Ceiling) {
        let prices = Prices::default().filled(&ceiling);
        let row = PriceRow { price_id: "ceiling".to_owned(), valid_from: UnixMicros(0), prices };
        let any = ModelId::parse("*").expect("a star has no spaces");
        for provider in &mut self.providers {
            for card in &mut provider.models {
                card.price.get_or_insert_with(|| row.clone());
                card.ceiling = Some(ceiling);
            }
            provider.unknown = Some(priced(any.clone(), row.clone()));
            let least = providers::of(provider.dialect).and_then(ProviderFormat::least_output);
            let cards = provider.models.iter_mut().chain(&mut provider.unknown);
            cards.for_each(|card| card.least_output = least);
        }
    }
}

fn read_share(section: &mut Section) -> BatchShare {
    let Some(share) = section.get::<f64>("share") else { return BatchShare::USUAL };
    BatchShare::parse(share).unwrap_or_else(|| {
        section.mistake("share", "must be 0.05 to 1: the part of a pool's slots that calls of batches may have");
        BatchShare::USUAL
    })
}

/// A model of which only the price is known.
fn priced(model: ModelId, price: PriceRow) -> ModelCard {
    ModelCard {
        model,
        mode: "chat".to_owned(),
        context: None,
        max_output: None,
        least_output: None,
        capabilities: Vec::new(),
        deprecated_on: None,
        price: Some(price),
        ceiling: None,
    }
}

fn entry(name: &str) -> Option<ProviderEntry> {
    catalogue::provider(name).map(|entry| entry.expect("a test reads every file of the catalogue"))
}

/// Whether its row alone says enough.
fn can_be_served(entry: &ProviderEntry) -> bool {
    let settings = FormatSettings {
        api_version: from_environment(entry, "api_version"),
        region: from_environment(entry, "region"),
        project: from_environment(entry, "project"),
        quirks: Vec::new(),
    };
    let url = entry.base_url.as_ref().map(|url| fill(url, &settings));
    providers::of(entry.dialect).is_some() && url.is_some_and(|url| !url.contains('{'))
}

/// A setting that a variable of the catalogue's row holds.
fn from_environment(entry: &ProviderEntry, setting: &str) -> Option<String> {
    let names = entry.setting_env.get(setting)?;
    names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// The URL with the settings in the places that are named like them.
fn fill(url: &str, settings: &FormatSettings) -> String {
    let FormatSettings { api_version, region, project, .. } = settings;
    let mut filled = url.to_owned();
    for (place, setting) in [("{api_version}", api_version), ("{region}", region), ("{project}", project)] {
        if let Some(setting) = setting {
            filled = filled.replace(place, setting);
        }
    }
    filled
}

/// Whether one of the alternatives has all its variables set.
fn has_key(alternatives: &[Vec<String>]) -> bool {
    alternatives
        .iter()
        .any(|names| !names.is_empty() && names.iter().all(|name| std::env::var(name).is_ok_and(|key| !key.is_empty())))
}

/// `usual_url`: where it is when nobody says. `is_served`: whether its keys must be here.
fn read_provider(
    name: &str,
    section: &mut Section,
    usual_url: Option<String>,
    is_served: bool,
) -> Option<ProviderConfig> {
    let id = ProviderId::parse(name).map_err(|error| section.mistake("", &error.to_string())).ok()?;
    let entry = entry(name);
    let dialect = section.get("dialect").or(entry.as_ref().map(|entry| entry.dialect));
    let own_url = section.get::<String>("base_url");
    let base_url = own_url.clone().or(entry.as_ref().and_then(|entry| entry.base_url.clone())).or(usual_url);
    let needs_key = entry.as_ref().is_some_and(|entry| !entry.key_env.is_empty());
    let concurrency = section.or("concurrency", CONCURRENCY);
    if concurrency == 0 {
        section.mistake("concurrency", "must be at least 1");
    }
    let mut setting =
        |name: &str| section.get(name).or_else(|| entry.as_ref().and_then(|entry| from_environment(entry, name)));
    let (api_version, region, project) = (setting("api_version"), setting("region"), setting("project"));
    let quirks = section.get("quirks").or(entry.as_ref().map(|entry| entry.quirks.clone())).unwrap_or_default();
    let settings = FormatSettings { api_version, region, project, quirks };
    let also = section.get("also").or(entry.as_ref().map(|entry| entry.also.clone())).unwrap_or_default();
    let of_row = entry.as_ref().and_then(|entry| entry.most_inputs);
    let most_inputs = section.get("most_inputs").or(of_row);
    if most_inputs == Some(0) {
        section.mistake("most_inputs", "must be at least 1");
    }
    let batch_api = section.get("batch_api").or(entry.as_ref().and_then(|entry| entry.batch_api));
    let keys = read_keys(section, entry.as_ref().map_or(&[][..], |entry| &entry.key_env), is_served);
    let models = entry.map(|entry| entry.models).unwrap_or_default();
    let Some(dialect) = dialect else {
        section.mistake("dialect", "is missing: the catalogue has no such provider. Most servers speak \"openai\"");
        return None;
    };
    let Some(adapter) = providers::of(dialect) else {
        section.mistake("dialect", "is not spoken yet by this version");
        return None;
    };
    let most_inputs = most_inputs.or(adapter.most_inputs());
    let Some(base_url) = base_url else {
        section.mistake("base_url", why_no_address(name));
        return None;
    };
    let base_url = fill(&base_url, &settings);
    check_url(section, &base_url)?;
    // Who writes that there are none has others in mind: those that are managed while everything runs.
    if keys.is_none() && needs_key && own_url.is_none() && is_served {
        section.mistake("keys", "are missing, and none of the provider's variables is set");
    }
    let keys = keys.unwrap_or_default();
    Some(ProviderConfig {
        id,
        dialect,
        also,
        settings,
        base_url,
        keys,
        most_inputs,
        batch_api,
        concurrency,
        probe: section.or("probe", true),
        media: MediaGuard::Public,
        models,
        unknown: None,
    })
}

fn why_no_address(name: &str) -> &'static str {
    match name {
        local::NAME => "is missing, and the local model is not here: `deploy/setup model` fetches it",
        _ => "is missing: the catalogue knows none for this provider",
    }
}

fn check_url(section: &Section, base_url: &str) -> Option<()> {
    if let Some(brace) = base_url.find('{') {
        let setting = base_url[brace..].split('}').next().unwrap_or_default();
        let why = format!("`{base_url}` needs `{}`: set that, or write the whole URL here", &setting[1..]);
        section.mistake("base_url", &why);
        return None;
    }
    if !base_url.starts_with("http://") && !base_url.starts_with("https://") {
        section.mistake("base_url", "must begin with http:// or https://");
        return None;
    }
    // Everything behind them would be part of them, and no path.
    if base_url.contains(['?', '#']) || base_url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        section.mistake("base_url", "must hold no `?`, no `#` and no spaces: paths are appended to it");
        return None;
    }
    Some(())
}

/// An entry of `keys`: where a key is, with its weight or without.
#[derive(Deserialize)]
#[serde(untagged)]
enum KeyEntry {
    Source(String),
    Weighted(WeightedKey),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightedKey {
    source: String,
    #[serde(default = "usual_weight")]
    weight: u32,
}

/// The keys that the section names, else those of the provider's own variables. `None` when there is neither.
fn read_keys(section: &mut Section, key_env: &[Vec<String>], is_served: bool) -> Option<Vec<ConfiguredKey>> {
    let Some(entries) = section.get::<Vec<KeyEntry>>("keys") else {
        let names = key_env.iter().find(|names| has_key(std::slice::from_ref(*names)))?;
        let parts = names.iter().filter_map(|name| std::env::var(name).ok());
        let parts: Vec<String> = parts.map(|part| part.trim().to_owned()).collect();
        let id = format!("env:{}", names.join("+"));
        let key = ConfiguredKey::new(id, Secret::new(parts.join(":")));
        check_key(section, &key);
        return Some(vec![key]);
    };
    let mut keys = Vec::new();
    for (at, entry) in entries.into_iter().enumerate() {
        let (source, weight) = match entry {
            KeyEntry::Source(source) => (source, usual_weight()),
            KeyEntry::Weighted(WeightedKey { source, weight }) => (source, weight),
        };
        if !(1..=HEAVIEST).contains(&weight) {
            section.mistake("keys", &format!("a weight must be 1 to {HEAVIEST}"));
        }
        if !is_served {
            continue; // it is where those who serve the provider can read it
        }
        // A key that stands there itself must not become its own name.
        let id = match source.split_ascii_whitespace().next() {
            Some(place) if Secret::is_reference(place) => place.to_owned(),
            _ => format!("config:{}", at + 1),
        };
        match Secret::of_configuration(&source) {
            Ok(secret) => {
                let key = ConfiguredKey { id, secret, weight };
                check_key(section, &key);
                keys.push(key);
            }
            Err(why) => section.mistake("keys", &why),
        }
    }
    Some(keys)
}

/// A key that no request can carry would fail at every call.
fn check_key(section: &mut Section, key: &ConfiguredKey) {
    if let Some(why) = provider_key::mistake(key.secret.reveal()) {
        section.mistake("keys", &format!("{}: {why}", key.id));
    }
}
