//! The models that can be asked for, in memory: what the pools of this cluster tell over the bus, and the operator's own
//! names. Knows no provider and makes no choice between targets.

use crate::config::VirtualModel;
use penstock_runtime::bus::{Bucket, Change};
use penstock_schemas::envelope::Dialect;
use penstock_schemas::model::{ModelCard, ProviderCard};
use penstock_schemas::name::{ModelId, ProviderId, Target};
use penstock_schemas::native_batch::NativeBatchCard;
use penstock_schemas::pattern::matches;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Names that are suggested for a name that does not exist.
const SUGGESTIONS: usize = 3;

/// How much a name may differ from one that is suggested for it: in length, and in the letters and digits that only one of
/// the two has. Only what passes this is compared in full, so that a name that does not exist costs no more than others.
const DIFFERENT: (usize, u32) = (8, 6);

/// All models. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Models(Arc<Shared>);

struct Shared {
    own: BTreeMap<String, VirtualModel>,
    served: RwLock<Served>,
    current: AtomicBool,
}

#[derive(Default)]
struct Served {
    cards: BTreeMap<String, Arc<ProviderCard>>,
    /// Model names without a provider, and all the targets they may mean.
    bare: HashMap<String, Vec<Target>>,
    /// Every model that is known, by its provider and its name.
    known: HashMap<String, HashMap<ModelId, Arc<ModelCard>>>,
    /// What every other model is taken for, by its provider.
    unknown: HashMap<String, Arc<ModelCard>>,
    /// What may be suggested.
    names: Vec<Spelling>,
    /// The model that embeds where nothing else is set.
    embedder: Option<Target>,
}

/// A name and what is compared of it first.
struct Spelling {
    name: String,
    /// Where the model begins in it, behind its provider.
    model: usize,
    letters: u64,
}

/// What a name stands for.
#[derive(Debug)]
pub(crate) enum Named<'a> {
    /// A virtual model of the operator's.
    Own(&'a VirtualModel),
    /// One model at one provider.
    Target(Target),
    /// A name that several providers have.
    Ambiguous(Vec<Target>),
    /// Nothing, but these names are near.
    Unknown(Vec<String>),
}

/// A name that can be asked for. Of the operator's own, no provider and no card is known.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) provider: Option<String>,
    pub(crate) model: Option<ModelCard>,
}

impl Spelling {
    fn of(name: String) -> Self {
        let model = name.find('/').map_or(0, |slash| slash + 1);
        let letters = letters(&name[model..]);
        Self { name, model, letters }
    }

    /// How alike a name and this one are, from 0 to 1; `None` when they surely are not.
    fn likeness(&self, name: &str) -> Option<f64> {
        let model = &self.name[self.model..];
        // What is asked for may have a provider in front, or not.
        let asked = name.split_once('/').map_or(name, |(_, asked)| asked);
        let is_near = asked.len().abs_diff(model.len()) <= DIFFERENT.0
            && (letters(asked) ^ self.letters).count_ones() <= DIFFERENT.1;
        is_near.then(|| strsim::jaro_winkler(name, &self.name).max(strsim::jaro_winkler(name, model)))
    }
}

/// Which letters and digits a name has, whatever their case: a bit each.
fn letters(name: &str) -> u64 {
    let bit = |byte: u8| match byte.to_ascii_lowercase() {
        letter @ b'a'..=b'z' => 1 << (letter - b'a'),
        digit @ b'0'..=b'9' => 1 << (26 + digit - b'0'),
        _ => 0,
    };
    name.bytes().fold(0, |letters, byte| letters | bit(byte))
}

impl Served {
    fn nearest(&self, name: &str) -> Vec<String> {
        let likeness =
            |known: &Spelling| Some((known.likeness(name).filter(|likeness| *likeness > 0.8)?, known.name.clone()));
        let mut near: Vec<(f64, String)> = self.names.iter().filter_map(likeness).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        near.into_iter().take(SUGGESTIONS).map(|(_, name)| name).collect()
    }
}

impl Models {
    pub(crate) fn new(own: BTreeMap<String, VirtualModel>) -> Self {
        Self(Arc::new(Shared { own, served: RwLock::default(), current: AtomicBool::new(false) }))
    }

    /// Keeps up with what the pools tell.
    pub(crate) fn follow(&self, bucket: &Bucket<ProviderCard>) {
        let models = self.clone();
        bucket.follow(move |change| models.change(change));
    }

    /// Whether everything that was known when this process started has been read.
    pub(crate) fn is_current(&self) -> bool {
        self.0.current.load(Ordering::Acquire)
    }

    pub(crate) fn change(&self, change: Change<ProviderCard>) {
        let mut served = self.0.served.write().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Put(name, card) => drop(served.cards.insert(name, Arc::new(card))),
            Change::Deleted(name) => drop(served.cards.remove(&name)),
            Change::Current => self.0.current.store(true, Ordering::Release),
        }
        let mut bare: HashMap<String, Vec<Target>> = HashMap::new();
        let mut known: HashMap<String, HashMap<ModelId, Arc<ModelCard>>> = HashMap::new();
        let mut embedder = None;
        for card in served.cards.values() {
            let of_provider = known.entry(card.provider.as_str().to_owned()).or_default();
            for model in &card.models {
                of_provider.insert(model.model.clone(), Arc::new(model.clone()));
                let target = Target { provider: card.provider.clone(), model: model.model.clone() };
                if model.is_built_in_embedder() {
                    embedder.get_or_insert(target.clone());
                }
                bare.entry(model.model.as_str().to_owned()).or_default().push(target);
            }
        }
        let unknown =
            served.cards.iter().filter_map(|(name, card)| Some((name.clone(), Arc::new(card.unknown.clone()?))));
        let unknown = unknown.collect();
        let full = bare.values().flatten().map(ToString::to_string);
        let names = self.0.own.keys().cloned().chain(full).map(Spelling::of).collect();
        (served.bare, served.known, served.unknown, served.names) = (bare, known, unknown, names);
        served.embedder = embedder;
    }

    /// What `name` stands for: the operator's own names first, then `provider/model`, then bare names of the catalogue.
    pub(crate) fn find(&self, name: &str) -> Named<'_> {
        if let Some(own) = self.0.own.get(name) {
            return Named::Own(own);
        }
        let served = self.0.served.read().unwrap_or_else(PoisonError::into_inner);
        if let Ok(target) = Target::parse(name)
            && served.cards.contains_key(target.provider.as_str())
        {
            return Named::Target(target);
        }
        match served.bare.get(name).map(Vec::as_slice) {
            Some([target]) => Named::Target(target.clone()),
            Some(targets) => Named::Ambiguous(targets.to_vec()),
            None => Named::Unknown(served.nearest(name)),
        }
    }

    /// Whether a provider speaks a dialect, so that a request in it can be passed on untouched.
    pub(crate) fn speaks(&self, provider: &ProviderId, dialect: Dialect) -> bool {
        let served = self.0.served.read().unwrap_or_else(PoisonError::into_inner);
        served.cards.get(provider.as_str()).is_some_and(|card| {
            let mut all = std::iter::once(&card.dialect).chain(&card.also);
            all.any(|spoken| spoken.form() == dialect.form())
        })
    }

    /// The dialect that a provider speaks.
    pub(crate) fn dialect(&self, provider: &ProviderId) -> Option<Dialect> {
        let served = self.0.served.read().unwrap_or_else(PoisonError::into_inner);
        served.cards.get(provider.as_str()).map(|card| card.dialect)
    }

    /// Whether a provider is served.
    pub(crate) fn serves(&self, provider: &ProviderId) -> bool {
        self.0.served.read().unwrap_or_else(PoisonError::into_inner).cards.contains_key(provider.as_str())
    }

    /// The most texts that one request for embeddings may hold at a provider.
    pub(crate) fn most_inputs(&self, provider: &ProviderId) -> Option<u32> {
        let served = self.0.served.read().unwrap_or_else(PoisonError::into_inner);
        served.cards.get(provider.as_str())?.most_inputs
    }

    /// What a provider's own batch API takes; `None` where it has none that is spoken here.
    pub(crate) fn native_batch(&self, provider: &ProviderId) -> Option<NativeBatchCard> {
        let served = self.0.served.read().unwrap_or_else(PoisonError::into_inner);
        served.cards.get(provider.as_str())?.native_batch.clone()
    }

    /// The model that embeds where nothing else is set; `None` when no worker has it.
    pub(crate) fn built_in_embedder(&self) -> Option<Target> {
        self.0.served.read().unwrap_or_else(PoisonError::into_inner).embedder.clone()
    }

    /// What is known of a model.
    pub(crate) fn card(&self, target: &Target) -> Option<Arc<ModelCard>> {
        let served = self.0.served.read().unwrap_or_else(PoisonError::into_inner);
        let provider = target.provider.as_str();
        let known = served.known.get(provider).and_then(|models| models.get(&target.model));
        known.or_else(|| served.unknown.get(provider)).cloned()
    }

    /// What a model is for, where the catalogue says it.
    pub(crate) fn mode(&self, target: &Target) -> Option<String> {
        self.card(target).map(|card| card.mode.clone())
    }

    /// Whether a pattern matches a name that can be asked for, as far as any are known.
    pub(crate) fn has_match(&self, pattern: &str) -> bool {
        if !pattern.contains('*') {
            return !matches!(self.find(pattern), Named::Unknown(_)) || self.is_empty();
        }
        let served = self.0.served.read().unwrap_or_else(PoisonError::into_inner);
        let mut targets = served.bare.values().flatten();
        served.cards.is_empty()
            || self.0.own.keys().chain(served.bare.keys()).any(|name| matches(pattern, name))
            || served.cards.keys().any(|provider| matches(pattern, &format!("{provider}/")))
            || targets.any(|target| matches(pattern, &target.to_string()))
    }

    /// Whether a pattern matches a provider that is served, as far as any are known.
    pub(crate) fn has_provider(&self, pattern: &str) -> bool {
        let served = self.0.served.read().unwrap_or_else(PoisonError::into_inner);
        served.cards.is_empty() || served.cards.keys().any(|provider| matches(pattern, provider))
    }

    /// Whether no provider is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.served.read().unwrap_or_else(PoisonError::into_inner).cards.is_empty()
    }

    /// All names, the operator's own first.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let served = self.0.served.read().unwrap_or_else(PoisonError::into_inner);
        let own = self.0.own.keys().map(|name| Listed { name: name.clone(), provider: None, model: None });
        let catalogue = served.cards.values().flat_map(|card| {
            card.models.iter().map(|model| Listed {
                name: format!("{}/{}", card.provider, model.model),
                provider: Some(card.provider.to_string()),
                model: Some(model.clone()),
            })
        });
        own.chain(catalogue).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models() -> Models {
        let models = Models::new(BTreeMap::new());
        for (provider, names) in [("openai", &["gpt-4o-mini", "gpt-4o"][..]), ("azure", &["gpt-4o"][..])] {
            let cards: Vec<_> = names.iter().map(|name| format!(r#"{{"model":"{name}","mode":"chat"}}"#)).collect();
            let json = format!(r#"{{"provider":"{provider}","dialect":"openai","models":[{}]}}"#, cards.join(","));
            models.change(Change::Put(provider.to_owned(), serde_json::from_str(&json).unwrap()));
        }
        models
    }

    #[test]
    fn a_name_is_found_in_full_or_where_it_is_unambiguous() {
        let models = models();
        let found = |name: &str| match models.find(name) {
            Named::Target(target) => target.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(found("openai/gpt-4o"), "openai/gpt-4o");
        assert_eq!(found("openai/brand-new"), "openai/brand-new");
        assert_eq!(found("gpt-4o-mini"), "openai/gpt-4o-mini");
        assert!(matches!(models.find("gpt-4o"), Named::Ambiguous(targets) if targets.len() == 2));
    }

    #[test]
    fn near_names_are_suggested() {
        let Named::Unknown(near) = models().find("gpt4o-mini") else { panic!("it does not exist") };
        assert_eq!(near[0], "openai/gpt-4o-mini");
        for typo in ["gpt-4o-mni", "GPT-4o-mini", "openai/gpt-4o-minni", "gpt-4-o-mini"] {
            let Named::Unknown(near) = models().find(typo) else { continue };
            assert!(near.contains(&"openai/gpt-4o-mini".to_owned()), "{typo}: {near:?}");
        }
        assert!(matches!(models().find("zzz"), Named::Unknown(near) if near.is_empty()));
    }
}
