//! What is told of the cache: what is kept, what it saved, how often its semantic hits are wrong, and which answer a request
//! got. Knows nothing of how any of it is found out.

use crate::UnixMicros;
use crate::name::{ProjectId, RequestId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is kept, by project and namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CacheReport {
    /// All namespaces that have answers, or have been asked for some since the ingress started.
    pub caches: Vec<NamespaceReport>,
}

/// One namespace of a project: what an ingress holds of it, and what it has answered from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NamespaceReport {
    /// Whose they are.
    pub project: String,
    /// Its name; empty: those that were kept without one.
    pub namespace: String,
    /// How many answers are kept.
    pub entries: u64,
    /// Their contents, in bytes.
    pub bytes: u64,
    /// Requests that were looked up by this ingress since it started.
    pub lookups: u64,
    /// Of these, how many were answered by the answer to the same request.
    pub exact_hits: u64,
    /// By the answer to a request of the same meaning.
    pub semantic_hits: u64,
    /// Together with the same request, which was under way.
    pub joined: u64,
    /// Hits of all sorts among the lookups, from 0 to 1.
    pub hit_rate: f64,
    /// What these hits saved at the prices of their time, in dollars.
    pub saved_usd: String,
    /// How often semantic hits are wrong, as far as it was checked, together.
    pub false_hits: CheckReport,
    /// The same for each set of questions that are compared with each other.
    pub semantic: Vec<SemanticReport>,
}

/// What checks of semantic hits have shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CheckReport {
    /// Hits that were checked: the model was asked anyway.
    pub checked: u64,
    /// Of these, how many had been wrong.
    pub wrong: u64,
    /// The rate, from 0 to 1.
    pub rate: f64,
    /// The lower bound of the true rate, with 95 % confidence.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

/// Questions that are compared with each other: of one namespace, to one model, with the same instructions and parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SemanticReport {
    /// Their name: the first characters of a digest.
    pub space: String,
    /// The model that is asked.
    pub model: String,
    /// How many are kept.
    pub questions: u64,
    /// How probable it must be that two questions want the same answer, from 0 to 1.
    pub threshold: f64,
    /// Whether the configuration fixes it.
    pub is_fixed: bool,
    /// How often hits at this threshold are wrong.
    pub false_hits: CheckReport,
}

/// What was measured in one set of questions, as all processes share it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThresholdRecord {
    /// Whose.
    pub project: String,
    /// The namespace.
    #[serde(default)]
    pub namespace: String,
    /// The model that is asked.
    #[serde(default)]
    pub model: String,
    /// Of each step of probability, from 0.5 on, the false hits and all checked hits from it on.
    pub counts: Vec<(u32, u32)>,
    /// When it was changed.
    pub at: UnixMicros,
}

/// Which answer a request got from the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitQuestion {
    /// Whose request.
    pub project: ProjectId,
    /// The request.
    pub request_id: RequestId,
}

/// The answer that it got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HitReply {
    /// Its key.
    pub key: String,
    /// Its namespace.
    pub namespace: String,
    /// What it was, if it was the answer to another question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic: Option<SemanticHit>,
}

/// A hit by meaning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SemanticHit {
    /// The set of questions, as in [`super::KeptQuestion`].
    pub space: String,
    /// The model that was asked.
    pub model: String,
    /// How probable it was that both questions want the same answer, from 0 to 1.
    pub probability: f32,
}
