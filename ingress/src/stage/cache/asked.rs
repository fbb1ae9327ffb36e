//! What a request is known by in the cache: whose it is, whom it goes to, and everything that shapes its answer; or that its
//! answer is not to be kept. Knows no entry.

use super::control::{Control, Use};
use crate::cache::canonical::{Canonical, Defaults, SoleQuestion, canonical};
use crate::cache::{CacheKey, QUESTION};
use crate::config::VirtualModel;
use crate::embedding::Embedding;
use crate::models::Named;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::stage::route;
use crate::state::Shared;
use bytes::Bytes;
use penstock_dialects::client::{Purpose, carried};
use penstock_runtime::heavy;
use penstock_schemas::UnixMicros;
use penstock_schemas::cache::{CacheMode, CachePolicy, CacheScope, CacheSettings};
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::name::{ProjectId, RequestId, Target};
use std::time::Duration;

/// What is set for requests of a model of the operator's own, if it is one.
fn of_model<'a>(request: &Request, ingress: &'a Shared) -> Option<&'a CacheSettings> {
    ingress.config.models.get(&request.asked.model)?.cache.as_ref()
}

/// What is looked up for a request.
pub(super) fn mode(request: &Request, ingress: &Shared) -> CacheMode {
    let mode = |settings: &CacheSettings| settings.mode;
    let own = request.key.cache.as_ref().and_then(mode);
    own.or_else(|| of_model(request, ingress).and_then(mode)).unwrap_or(ingress.config.cache.policy.mode)
}

/// A request that may be answered from the cache.
pub(super) struct Asked {
    pub(super) key: CacheKey,
    pub(super) project: ProjectId,
    pub(super) namespace: String,
    pub(super) request_id: RequestId,
    /// When it arrived.
    pub(super) at: UnixMicros,
    pub(super) operation: Operation,
    /// How long its answer may be used.
    pub(super) ttl: Duration,
    /// It in the form in which it is sent, so that its answer is for all dialects.
    pub(super) agnostic: Bytes,
    /// Whether it may share the answer of one that is under way.
    pub(super) may_join: bool,
    pub(super) policy: CachePolicy,
    /// What it asks, where answers to other questions will do.
    pub(super) question: Option<AskedQuestion>,
    /// Set by the look-up by meaning: the question's vector.
    pub(super) embedding: Option<Embedding>,
}

/// A question that is compared with others.
pub(super) struct AskedQuestion {
    /// Which these are: whose they are, and everything that shapes the answer but the question, are in it.
    pub(super) space: CacheKey,
    pub(super) text: String,
    /// The model that embeds; `None`: the built-in one, which is not here.
    pub(super) embedder: Option<Target>,
}

/// Whom a request goes to.
struct Way {
    /// As far as it shapes the answer.
    text: String,
    targets: Vec<Target>,
}

impl Asked {
    /// What a request is known by; `None` when its answer is not to be kept.
    ///
    /// # Errors
    /// When it has no agnostic form, and needs one.
    pub(super) async fn of(request: &Request, ingress: &Shared, control: &Control) -> Result<Option<Self>, Refusal> {
        let asked = &request.asked;
        if !is_keepable(request) {
            return Ok(None);
        }
        let Some(way) = way(request, ingress) else { return Ok(None) };
        if asked.dialect == Dialect::Responses && needs_native(request, &way, ingress) {
            return Ok(None);
        }
        let defaults = defaults(&way, ingress);
        let (agnostic, form) = heavy(asked.body.len(), || {
            // What has no agnostic form may still be passed on as it is; who else cannot take it says so later.
            let Ok(agnostic) = asked.agnostic() else { return (Bytes::new(), None) };
            let form = canonical(asked.operation, &agnostic, defaults);
            (agnostic, form)
        })
        .await;
        let Some(Canonical { text, question, .. }) = form.filter(|form| form.is_plain) else { return Ok(None) };
        let policy = ingress.config.cache.policy.clone();
        let policy = [of_model(request, ingress), request.key.cache.as_ref()]
            .into_iter()
            .flatten()
            .fold(policy, |policy, settings| policy.with(settings));
        let place = (policy.scope, control.namespace.as_str());
        let key = key(request, place, &way, &[&text]);
        let is_semantic = policy.mode == CacheMode::Semantic && control.using != Use::Exact;
        let question = question.filter(|question| is_semantic && (1..=QUESTION).contains(&question.text.len()));
        let question = question.map(|SoleQuestion { text, frame }| {
            let named = policy.embed.as_deref().and_then(|name| Target::parse(name).ok());
            let embedder = named.or_else(|| ingress.models.built_in_embedder());
            let by = embedder.as_ref().map(ToString::to_string).unwrap_or_default();
            AskedQuestion { space: self::key(request, place, &way, &[&frame, by.as_bytes()]), text, embedder }
        });
        let has_all_its_time = request.deadline == request.at.after(ingress.config.total_timeout);
        Ok(Some(Self {
            key,
            project: request.caller.project.clone(),
            namespace: control.namespace.clone(),
            request_id: request.id,
            at: request.at,
            operation: asked.operation,
            ttl: policy.ttl,
            agnostic,
            may_join: request.batch.is_none() && has_all_its_time,
            policy,
            question,
            embedding: None,
        }))
    }
}

/// Whether answers to such requests are kept at all.
fn is_keepable(request: &Request) -> bool {
    let asked = &request.asked;
    let is_cached = match asked.operation {
        Operation::Chat => asked.purpose == Purpose::Answer,
        Operation::Completions | Operation::Embeddings | Operation::Moderations | Operation::Rerank => {
            !asked.delivery.is_stream()
        }
        _ => false,
    };
    // Previews of a provider are for requests that pass to it untouched.
    let is_preview = !request.carried_query.is_empty() || !carried::headers(asked.dialect, &request.headers).is_empty();
    is_cached && !is_preview && asked.content_type.is_none()
}

/// The key: no part can be moved into its neighbour, and the first says whose it is.
fn key(request: &Request, (scope, namespace): (CacheScope, &str), way: &Way, what: &[&[u8]]) -> CacheKey {
    let (whose, who) = match (scope, &request.caller.user) {
        (CacheScope::Project, _) => ("project", ""),
        (CacheScope::User, Some(user)) => ("user", user.as_str()),
        // Without a user, the key is who asks.
        (CacheScope::User, None) => ("key", request.caller.key_id.as_str()),
    };
    let parts =
        ["1", request.caller.project.as_str(), whose, who, namespace, request.asked.operation.as_str(), &way.text];
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).chain(what.iter().copied()).collect();
    CacheKey::of(&parts)
}

/// Whom a request goes to; `None` when that is not known.
fn way(request: &Request, ingress: &Shared) -> Option<Way> {
    let name = &request.asked.model;
    match ingress.models.find(name) {
        Named::Own(model) => Some(own_way(name, model, &route::way(request, model, ingress))),
        Named::Target(target) => Some(Way { text: target.to_string(), targets: vec![target] }),
        Named::Ambiguous(_) | Named::Unknown(_) => None,
    }
}

/// Other targets than before, or another arm of an experiment, are another way. No target begins with a space.
fn own_way(name: &str, model: &VirtualModel, way: &str) -> Way {
    let targets: Vec<Target> = model.targets().cloned().collect();
    let all: Vec<String> = targets.iter().map(ToString::to_string).collect();
    Way { text: format!(" {name} {way} {}", all.join(" ")), targets }
}

/// Whether what is asked for would be lost on the way over the agnostic form, while a provider speaks this dialect: its
/// reasoning, and what else is to be included.
fn needs_native(request: &Request, way: &Way, ingress: &Shared) -> bool {
    let is_spoken = way.targets.iter().any(|target| ingress.models.speaks(&target.provider, request.asked.dialect));
    let has = |field: &str| memchr::memmem::find(&request.asked.body, field.as_bytes()).is_some();
    is_spoken && (has("\"reasoning\"") || has("\"include\""))
}

/// What all providers of a plan take the absence of a field for. Sources:
/// <https://platform.openai.com/docs/api-reference/chat/create>, <https://platform.claude.com/docs/en/api/messages>,
/// <https://ai.google.dev/api/generate-content>: 1 for `temperature`; Google's `top_p` depends on the model, and Mistral's and
/// Cohere's `temperature` are others.
fn defaults(way: &Way, ingress: &Shared) -> Defaults {
    let dialects = || way.targets.iter().map(|target| ingress.models.dialect(&target.provider));
    let is_openai = |dialect| matches!(dialect, Some(Dialect::Openai | Dialect::Responses | Dialect::Azure));
    let is_one =
        |dialect| is_openai(dialect) || matches!(dialect, Some(Dialect::Anthropic | Dialect::Google | Dialect::Vertex));
    Defaults { temperature: dialects().all(is_one), top_p: dialects().all(is_openai) }
}
