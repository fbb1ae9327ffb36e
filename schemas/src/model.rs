//! What a pool tells the cluster about the models it serves, so that an ingress can list, resolve and price them without
//! knowing any provider. Kept in NATS KV under the provider's name; a pool writes it when it starts.

use crate::UnixMicros;
use crate::envelope::Dialect;
use crate::name::{ModelId, ProviderId};
use crate::native_batch::NativeBatchCard;
use crate::price::{Ceiling, Prices};
use serde::{Deserialize, Serialize};

/// A provider that is served in this cluster, and the models of it that are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderCard {
    /// The provider.
    pub provider: ProviderId,
    /// The format it speaks.
    pub dialect: Dialect,
    /// The formats that it speaks besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Dialect>,
    /// The most texts that one request for embeddings may hold; `None`: nobody knows of a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_inputs: Option<u32>,
    /// What its own batch API takes; absent: it has none that is spoken here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_batch: Option<NativeBatchCard>,
    /// The models of the catalogue and of the operator's own price list; others can be called by their full name.
    pub models: Vec<ModelCard>,
    /// What every other model is taken for; `None`: nothing is known of it, not even a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<ModelCard>,
}

/// One model: what it can do and what it costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The model, as its provider spells it.
    pub model: ModelId,
    /// What it is for: `chat`, `embedding`, `rerank`, …
    pub mode: String,
    /// The longest input and output together, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u64>,
    /// The longest output, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u64>,
    /// The smallest limit of an answer that its provider takes, in tokens: a smaller one is raised to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_output: Option<u64>,
    /// `tools`, `vision`, `reasoning`, `json_schema`, …; `built_in`: it comes with Penstock.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// The day from which the provider no longer serves it: `2027-09-02`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated_on: Option<String>,
    /// What it costs; `None` when nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceRow>,
    /// What usage without a price is charged at in budgets; `None`: the operator names no such ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Ceiling>,
}

impl ModelCard {
    /// Whether it makes vectors and comes with Penstock.
    pub fn is_built_in_embedder(&self) -> bool {
        self.mode == "embedding" && self.capabilities.iter().any(|capability| capability == "built_in")
    }
}

/// Prices that hold from a day on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceRow {
    /// Names this row in the ledger: `2026-11-22/openai/gpt-4o-mini`, with `own/` in front for the operator's own.
    pub price_id: String,
    /// From when on it holds.
    pub valid_from: UnixMicros,
    /// The prices.
    pub prices: Prices,
}
