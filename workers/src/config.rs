//! Which providers a worker serves and how: sections `[providers.NAME]` and `[[prices]]` over the catalogue's rows.
//! Knows nothing of calls.

mod section;

use crate::catalogue;
use crate::keys::ConfiguredKey;
use crate::media::MediaGuard;
use crate::prices;
use crate::providers::batch_api::BatchDialect;
use crate::providers::local::{self, LocalModel};
use crate::providers::{self, demo};
use crate::slots::BatchShare;
use penstock_dialects::provider::{FormatSettings, ProviderFormat};
use penstock_runtime::config::{Document, Section};
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::model::{ModelCard, PriceRow};
use penstock_schemas::name::{ModelId, ProviderId, Target};
use penstock_schemas::price::{Ceiling, Prices};
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
            if is_asked || is_here || section::is_in_environment(name) {
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
            if let Some(provider) = section::read(&name, &mut section, usual, serving.includes(&name)) {
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
        let entry = section::entry(demo::NAME).expect("the demo is in the catalogue");
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
