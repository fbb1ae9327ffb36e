//! Vectors of texts, made by a model that embeds: over the bus, as any call, in the name of the request that needs one, and
//! paid for by its project. A vector that is late or cannot be made is absent and never an error: what wants it does without.
//! Knows no stage, and nothing of what a vector is for.

use crate::limits::{Hold, Keeper, LimitQuery, Rules, Want};
use crate::metrics::IngressMetrics;
use crate::models::Models;
use crate::refusal::Refusal;
use bytes::{Bytes, BytesMut};
use penstock_runtime::bus::{Bus, Inbox};
use penstock_runtime::{Life, clock};
use penstock_schemas::envelope::{Body, Caller, Delivery, Dialect, Envelope, Operation, Unsupported};
use penstock_schemas::extent::Extent;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::Payload;
use penstock_schemas::key::VirtualKey;
use penstock_schemas::name::{RequestId, Target};
use penstock_schemas::place;
use penstock_schemas::plan::{Link, Plan};
use penstock_schemas::trace::TraceContext;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};
use tracing::warn;

/// The longest text that is embedded, in bytes: what is longer is cut. Models read 256 to 8,192 tokens.
const TEXT: usize = 16 * 1024;

/// The most numbers of a vector: four times what models of 2026 give.
const DIMENSIONS: usize = 16_384;

/// The longest answer that is read, in bytes: so many numbers of 24 characters.
const ANSWER: usize = DIMENSIONS * 24;

/// Vectors that are remembered, in bytes: some 10,000 of the built-in model.
const REMEMBERED: u64 = 16 << 20;

/// Calls that are under way at once: each takes some 400 KB at most.
const AT_ONCE: usize = 128;

/// How long a call may take, whether the request that wanted it still waits or not: so that a model that is slow at its
/// first call is ready for the next.
const LONGEST: Duration = Duration::from_secs(10);

/// Calls that may fail one after the other before the next waits for [`PAUSE`].
const FAILURES: u32 = 3;

/// How long no call is made then.
const PAUSE: Duration = Duration::from_secs(2);

/// Between two lines of the log that say that vectors are not made.
const WARNING: Duration = Duration::from_secs(60);

/// For whom a text is embedded.
pub(crate) struct EmbeddingCall<'a> {
    pub(crate) request_id: RequestId,
    pub(crate) caller: &'a Caller,
    /// The session of the request.
    pub(crate) session: Option<&'a str>,
    /// `None`: no key asks, and no budget is looked at.
    pub(crate) key: Option<&'a VirtualKey>,
    pub(crate) trace: Option<&'a TraceContext>,
    pub(crate) rules: Arc<Rules>,
}

/// A vector that is being made, or is there. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Embedding {
    /// `None`: the built-in one.
    model: Option<Target>,
    text: [u8; 32],
    state: watch::Receiver<Made>,
}

#[derive(Clone, Debug)]
enum Made {
    UnderWay,
    Vector(Arc<[f32]>),
    Never,
}

/// Makes vectors. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Embedder(Arc<Shared>);

struct Shared {
    bus: Bus,
    life: Life,
    inbox: Inbox,
    models: Models,
    keeper: Keeper,
    metrics: Arc<IngressMetrics>,
    known: Cache<[u8; 32], Arc<[f32]>, Weight>,
    room: Arc<Semaphore>,
    failed: AtomicU32,
    paused_until: AtomicU64,
    warned: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Weight;

impl Weighter<[u8; 32], Arc<[f32]>> for Weight {
    fn weight(&self, _: &[u8; 32], vector: &Arc<[f32]>) -> u64 {
        64 + 4 * vector.len() as u64
    }
}

impl Embedding {
    /// Whether it is that of this text, by this model.
    pub(crate) fn is_of(&self, model: Option<&Target>, text: &str) -> bool {
        self.model.as_ref() == model && self.text == digest(text)
    }

    /// Whether this model makes it.
    pub(crate) fn is_by(&self, model: &Target) -> bool {
        self.model.as_ref() == Some(model)
    }

    /// The vector, if it is there already.
    pub(crate) fn now(&self) -> Option<Arc<[f32]>> {
        match &*self.state.borrow() {
            Made::Vector(vector) => Some(vector.clone()),
            Made::UnderWay | Made::Never => None,
        }
    }

    /// The vector, as soon as it is there; `None` when it is not by then, or never.
    pub(crate) async fn wait(&self, longest: Duration) -> Option<Arc<[f32]>> {
        let mut state = self.state.clone();
        let made = timeout(longest, state.wait_for(|made| !matches!(made, Made::UnderWay))).await.ok()?;
        match &*made.ok()? {
            Made::Vector(vector) => Some(vector.clone()),
            Made::UnderWay | Made::Never => None,
        }
    }
}

impl Embedder {
    pub(crate) fn new(
        bus: &Bus,
        inbox: &Inbox,
        models: &Models,
        keeper: &Keeper,
        metrics: &Arc<IngressMetrics>,
    ) -> Self {
        Self(Arc::new(Shared {
            bus: bus.clone(),
            life: bus.life().clone(),
            inbox: inbox.clone(),
            models: models.clone(),
            keeper: keeper.clone(),
            metrics: metrics.clone(),
            known: Cache::with_weighter(10_000, REMEMBERED, Weight),
            room: Arc::new(Semaphore::new(AT_ONCE)),
            failed: AtomicU32::new(0),
            paused_until: AtomicU64::new(0),
            warned: Mutex::default(),
        }))
    }

    /// Begins to make the vector of a text, unless it is known: what is the same for a project is made once. Without a
    /// model it is the built-in one.
    pub(crate) fn begin(&self, call: &EmbeddingCall<'_>, model: Option<&Target>, text: &str) -> Embedding {
        let digest = digest(text);
        let of = |made| Embedding { model: model.cloned(), text: digest, state: watch::channel(made).1 };
        let Some(target) = model.cloned().or_else(|| self.0.models.built_in_embedder()) else {
            self.count("no_model");
            self.warn("the built-in model is not here: `deploy/setup model` fetches it, or set [cache] embed");
            return of(Made::Never);
        };
        let place = place::hash(&[call.caller.project.as_str().as_bytes(), target.to_string().as_bytes(), &digest]);
        if let Some(vector) = self.0.known.get(&place) {
            self.count("known");
            return of(Made::Vector(vector));
        }
        if clock::now().0 < self.0.paused_until.load(Ordering::Relaxed) {
            self.count("paused");
            return of(Made::Never);
        }
        let Ok(room) = self.0.room.clone().try_acquire_owned() else {
            self.count("full");
            return of(Made::Never);
        };
        let (tell, state) = watch::channel(Made::UnderWay);
        let (embedder, pending) = (self.clone(), self.prepare(call, &target, text));
        self.0.life.work(async move {
            let made = match pending {
                Ok(pending) => Box::pin(pending.make(&embedder)).await,
                Err(failure) => Err(failure),
            };
            drop(room);
            tell.send_replace(embedder.note(place, made));
        });
        Embedding { model: model.cloned(), text: digest, state }
    }

    fn note(&self, place: [u8; 32], made: Result<Arc<[f32]>, Failure>) -> Made {
        match made {
            Ok(vector) => {
                self.0.failed.store(0, Ordering::Relaxed);
                self.count("made");
                self.0.known.insert(place, vector.clone());
                Made::Vector(vector)
            }
            Err(failure) => {
                self.count("failed");
                self.pause();
                self.warn(&failure.message);
                Made::Never
            }
        }
    }

    fn count(&self, outcome: &'static str) {
        self.0.metrics.embedded(outcome);
    }

    /// The call, with what it needs in budgets.
    fn prepare(&self, call: &EmbeddingCall<'_>, target: &Target, text: &str) -> Result<Pending, Failure> {
        let end = (0..=TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let text = &text[..end];
        let body = serde_json::json!({ "model": target.to_string(), "input": text }).to_string();
        let extent = Extent { bytes: body.len() as u64, texts: 1, ..Extent::default() };
        let now = clock::now();
        let (targets, name) = ([(target.clone(), self.0.models.card(target))], target.to_string());
        let asked = |key| LimitQuery {
            caller: call.caller,
            session: call.session,
            key,
            model: &name,
            operation: Operation::Embeddings,
            extent: &extent,
            targets: &targets,
            now,
        };
        let refused = |refusal: Refusal| internal(&refusal.to_string());
        let (wants, worst) = match call.key.filter(|key| call.rules.is_limiting(key)) {
            Some(key) => call.rules.budgets(&asked(key)).map_err(refused)?,
            None => Default::default(),
        };
        let plan = Plan::new(Link::to(target.clone()), []);
        let envelope = Envelope {
            request_id: call.request_id,
            call: Some(clock::request_id()),
            caller: call.caller.clone(),
            batch: None,
            deadline: now.after(LONGEST),
            traceparent: None,
            trace: call.trace.copied().map(Box::new),
            virtual_model: None,
            plan: if wants.is_empty() { plan } else { plan.bounded(&worst.unwrap_or_default()) },
            operation: Operation::Embeddings,
            dialect: Dialect::Openai,
            native: None,
            kept: false,
            keep_sent: 0,
            content_type: None,
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            unsupported: Unsupported::Drop,
            delivery: Delivery::Whole,
            ingress: self.0.bus.process().clone(),
            attempts: 0,
            next_seq: 0,
            last_failure: None,
            reservation: None,
            extent: Some(Box::new(extent)),
            body: Body::Inline,
        };
        Ok(Pending { envelope, body: body.into(), wants })
    }

    /// Makes no call for a while when several failed.
    fn pause(&self) {
        if self.0.failed.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            self.0.failed.store(0, Ordering::Relaxed);
            self.0.paused_until.store(clock::now().after(PAUSE).0, Ordering::Relaxed);
        }
    }

    /// Says in the log why there are no vectors, now and then.
    fn warn(&self, reason: &str) {
        let now = Instant::now();
        let mut warned = self.0.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|at| now.duration_since(at) >= WARNING) {
            *warned = Some(now);
            warn!(reason, "texts cannot be embedded: what compares requests by their meaning is without effect");
        }
    }
}

/// A call that is to be made.
struct Pending {
    envelope: Envelope,
    body: Bytes,
    wants: Vec<Want>,
}

impl Pending {
    async fn make(mut self, embedder: &Embedder) -> Result<Arc<[f32]>, Failure> {
        let mut held = None;
        if !self.wants.is_empty() {
            let hold = embedder.0.keeper.set_aside(&self.wants, self.envelope.deadline, Instant::now()).await;
            let hold = hold.map_err(|_| internal("there is no money for an embedding in a budget"))?;
            self.envelope.reservation = Some(hold.reservation.clone());
            held = Some(Hold::sent(hold));
        }
        let answer = self.answer(embedder).await;
        if let (Err(failure), Some(reservation)) = (&answer, &self.envelope.reservation)
            && matches!(failure.kind, FailureKind::NoPool | FailureKind::Busy)
        {
            // No worker holds it, so none will settle it.
            embedder.0.keeper.release(reservation);
        }
        drop(held);
        vector(&answer?)
    }

    async fn answer(&self, embedder: &Embedder) -> Result<BytesMut, Failure> {
        let Shared { inbox, .. } = &*embedder.0;
        let mut call = inbox.expect(self.envelope.call_id(), self.envelope.deadline);
        call.publish(&self.envelope, &self.body, None).await.map_err(|error| internal(&error.to_string()))?;
        let mut whole = BytesMut::new();
        loop {
            let (bytes, is_last) = match call.next().await? {
                Payload::Accepted(_) | Payload::Alive | Payload::Gone | Payload::Declined(_) | Payload::Read(_) => {
                    continue;
                }
                Payload::Chunk(_, bytes) => (bytes, false),
                Payload::End(_, bytes) => (bytes, true),
                Payload::Failed(failed) => return Err(failed.failure),
            };
            if whole.len() + bytes.len() > ANSWER {
                return Err(internal("the vector is longer than any that is known"));
            }
            call.consumed(bytes.len());
            whole.extend_from_slice(&bytes);
            if is_last {
                return Ok(whole);
            }
        }
    }
}

/// The first vector of an answer, with a length of 1.
fn vector(answer: &[u8]) -> Result<Arc<[f32]>, Failure> {
    #[derive(Deserialize)]
    struct Answer {
        data: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        embedding: Vec<f32>,
    }
    let read: Answer = serde_json::from_slice(answer).map_err(|_| internal("the answer holds no vector"))?;
    let vector = read.data.into_iter().next().map(|item| item.embedding).unwrap_or_default();
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if vector.is_empty() || vector.len() > DIMENSIONS || !length.is_normal() {
        return Err(internal("the answer holds no vector"));
    }
    Ok(vector.into_iter().map(|x| x / length).collect())
}

fn digest(text: &str) -> [u8; 32] {
    place::hash(&[text.as_bytes()])
}

fn internal(message: &str) -> Failure {
    Failure::gateway(FailureKind::Internal, message)
}

#[cfg(test)]
mod tests {
    use super::vector;

    #[test]
    fn an_answer_is_read_as_a_vector_of_length_one_or_refused() {
        let read = vector(br#"{"object":"list","data":[{"index":0,"embedding":[3,4.0]}],"model":"m"}"#).unwrap();
        assert!((read[0] - 0.6).abs() < 1e-6 && (read[1] - 0.8).abs() < 1e-6);
        for wrong in ["", "{}", r#"{"data":[]}"#, r#"{"data":[{"embedding":[]}]}"#, r#"{"data":[{"embedding":[0,0]}]}"#]
        {
            assert!(vector(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(vector(br#"{"data":[{"embedding":[1e38,1e38]}]}"#).is_err(), "its length is not finite");
        assert!(vector(br#"{"data":[{"embedding":"AACAPw=="}]}"#).is_err());
    }
}
