//! The look-up by meaning: the answer to another question that surely wants the same, and the check of a share of such hits by
//! asking the model anyway. What is not known in time, or not sure, is a miss. Knows no entry's place and no caller's words.

use super::asked::Asked;
use super::control::{Control, Use};
use crate::cache::{AnswersToCompare, CacheKey, CheckedSet, FoundAnswer, NearAnswer, text_of};
use crate::embedding::EmbeddingCall;
use crate::request::Request;
use crate::stage::embed::embed;
use crate::state::Shared;
use bytes::Bytes;
use penstock_schemas::cache::SemanticHit;
use penstock_schemas::envelope::Caller;
use penstock_schemas::key::VirtualKey;
use penstock_schemas::name::{RequestId, Target};
use penstock_semantic::{CheckedHit, STEPS, Wording, compare, is_same_answer, is_same_text};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::warn;

/// How long a request waits for its vector: some hundred times what the built-in model takes.
const WAIT: Duration = Duration::from_millis(500);

/// How long a check in the background waits for the vector of an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most of an answer that is compared, in bytes.
const ANSWER: usize = 8 * 1024;

/// What came of it.
pub(super) enum Meaning {
    /// The answer to another question.
    Found(Box<(FoundAnswer, SemanticHit)>),
    /// There is none, or one that is to be checked.
    Nothing(Option<Box<Check>>),
}

/// A kept answer that is compared with the one that is asked for now.
pub(super) struct Check {
    pub(super) found: FoundAnswer,
    pub(super) hit: SemanticHit,
    /// Whether it would have been given.
    pub(super) is_hit: bool,
    space: CacheKey,
    /// What is asked now.
    question: String,
    /// The model that embeds.
    embedder: Option<Target>,
    request_id: RequestId,
    caller: Caller,
    key: Arc<VirtualKey>,
}

/// Looks for it. The vector is made in any case, to be kept with the answer.
pub(super) async fn look_up(
    asked: &mut Asked,
    control: &Control,
    oldest: Duration,
    request: &mut Request,
    ingress: &Shared,
) -> Meaning {
    let Some(question) = &asked.question else { return Meaning::Nothing(None) };
    let embedding = embed(request, question.embedder.as_ref(), &question.text, ingress);
    asked.embedding = Some(embedding.clone());
    if control.using == Use::Refresh {
        return Meaning::Nothing(None);
    }
    let Some(vector) = embedding.wait(WAIT).await else {
        ingress.metrics.not_compared();
        return Meaning::Nothing(None);
    };
    let near = ingress.cache.nearest(&question.space, &vector, oldest);
    let Some((near, probability)) = nearest(near, &question.text) else { return Meaning::Nothing(None) };
    let policy = &asked.policy;
    #[expect(clippy::cast_possible_truncation, reason = "a probability needs no more digits")]
    let fixed = policy.threshold.map(|fixed| fixed as f32);
    let adapted = || ingress.cache.thresholds().current(&question.space, policy.target_false_hits);
    let is_hit = probability >= fixed.unwrap_or_else(adapted);
    let is_sampled = control.using != Use::Only && probability >= STEPS[0] && draw(request.id) < policy.sample;
    if !is_hit && !is_sampled {
        return Meaning::Nothing(None);
    }
    let Some(found) = ingress.cache.open_near(&near, oldest).await else { return Meaning::Nothing(None) };
    let hit = SemanticHit { space: question.space.spelled(), model: request.asked.model.clone(), probability };
    if !is_sampled {
        return Meaning::Found(Box::new((found, hit)));
    }
    Meaning::Nothing(Some(Box::new(Check {
        found,
        hit,
        is_hit,
        space: question.space,
        question: question.text.clone(),
        embedder: question.embedder.clone(),
        request_id: request.id,
        caller: request.caller.clone(),
        key: request.key.clone(),
    })))
}

/// The nearest, if no guard forbids it, and how probable it is that both want the same. What is farther than one that is forbidden is
/// not looked at: measured on pairs of questions, it is more often wrong than right.
fn nearest(near: Vec<NearAnswer>, question: &str) -> Option<(NearAnswer, f32)> {
    let near = near.into_iter().next()?;
    let comparison = compare(&Wording::read(question), &Wording::read(near.question()?), near.cosine);
    comparison.veto.is_none().then_some((near, comparison.probability))
}

/// A number from 0 to 1 that is the same for the same request.
fn draw(request: RequestId) -> f64 {
    let mut hasher = DefaultHasher::new();
    ("sample", request).hash(&mut hasher);
    f64::from(u32::try_from(hasher.finish() >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

impl Check {
    /// Compares the kept answer with the one that came, in the background, and learns from it.
    pub(super) fn begin(self: Box<Self>, came: Bytes, ingress: &Shared) {
        let shared = ingress.clone();
        ingress.life.work(Box::pin(async move {
            let result = match self.is_same(&came, &shared).await {
                None => "unknown",
                Some(is_same) => {
                    let set = CheckedSet {
                        space: self.space,
                        project: self.caller.project.as_str(),
                        namespace: &self.found.entry.namespace,
                        model: &self.hit.model,
                    };
                    let checked = CheckedHit { probability: self.hit.probability, is_false: !is_same };
                    if let Err(error) = shared.cache.thresholds().learn(&set, checked).await {
                        warn!(%error, "a checked hit of the cache is not counted");
                    }
                    if is_same { "same" } else { "different" }
                }
            };
            shared.metrics.checked_hit(result);
        }));
    }

    /// Whether both say the same; `None` when that cannot be told.
    async fn is_same(&self, came: &[u8], ingress: &Shared) -> Option<bool> {
        let (kept, came) = (text_of(&self.found.content)?, text_of(came)?);
        if is_same_text(&kept, &came) {
            return Some(true);
        }
        let [kept, came] = [&kept, &came].map(|text| beginning(text));
        if ingress.config.cache.judge.is_some()
            && let Some(is_same) = self.ask_judge([kept, came], ingress).await
        {
            return Some(is_same);
        }
        let call = EmbeddingCall {
            request_id: self.request_id,
            caller: &self.caller,
            session: None,
            key: Some(&self.key),
            trace: None,
            rules: ingress.rules(),
        };
        let [a, b] = [kept, came].map(|text| ingress.embedder.begin(&call, self.embedder.as_ref(), text));
        let (a, b) = (a.wait(PATIENCE).await?, b.wait(PATIENCE).await?);
        let cosine = a.iter().zip(b.iter()).map(|(a, b)| a * b).sum();
        Some(is_same_answer(kept, came, cosine))
    }

    /// What the judge of the cache says; `None` when it does not say it in time.
    async fn ask_judge(&self, answers: [&str; 2], ingress: &Shared) -> Option<bool> {
        let [kept, came] = answers.map(|text| ingress.config.bodies.mask(text));
        let (verdict, said) = oneshot::channel();
        let question = ingress.config.bodies.mask(&self.question);
        let compared = AnswersToCompare { request_id: self.request_id, question, kept, came, verdict };
        if ingress.to_compare.try_send(compared).is_err() {
            ingress.metrics.judged("dropped");
            return None;
        }
        said.await.ok()
    }
}

fn beginning(text: &str) -> &str {
    let end = (0..=ANSWER.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}
