//! What is kept of a request and its answer, where its project, key or model is one whose bodies are kept, judged or checked: a bounded piece
//! of each, masked, and handed to the analytics role when the request is over. It never delays or fails a request: what cannot
//! be kept at once is lost, and counted.

mod fold;

use crate::checking::{self, CHECKED_BYTES, Finding};
use crate::config::{BodyPolicy, JudgeConfig};
use crate::metrics::IngressMetrics;
use fold::fold;
use penstock_dialects::client::ClientRequest;
use penstock_runtime::bus::{Bus, Journal};
use penstock_runtime::memory::{Memory, Reserved};
use penstock_runtime::{Life, clock, heavy};
use penstock_schemas::body::{KeptBody, SENT_BYTES, SentBody};
use penstock_schemas::event::{Outcome, RequestEvent, UsageEvent};
use penstock_schemas::name::{ProjectId, RequestId};
use penstock_schemas::score::{Score, ScoreSource};
use penstock_schemas::spend::ReportReply;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::debug;

/// Bytes behind the limit that are read and then left out: a secret that the limit cuts is seen whole, up to this length.
const MARGIN: usize = 1024;

/// The bytes of a stream's events that are read, in limits: most of an event is no text of the answer.
const EVENTS: usize = 8;

/// An answer that a judge is to score.
pub(crate) struct AnswerToJudge {
    pub(crate) judge: Arc<JudgeConfig>,
    pub(crate) request_id: RequestId,
    pub(crate) project: ProjectId,
    /// The request and the answer, masked.
    pub(crate) request: String,
    pub(crate) answer: String,
}

/// What is checked of an answer without a model, and where the findings go.
pub(crate) struct AnswerToCheck {
    pub(crate) asked: ClientRequest,
    pub(crate) journal: Journal,
}

/// What is to become of a captured body.
pub(crate) struct CaptureUse {
    /// It is stored.
    pub(crate) is_kept: bool,
    /// Who scores it, and where they are waiting for it.
    pub(crate) judges: Vec<Arc<JudgeConfig>>,
    pub(crate) to_judge: mpsc::Sender<AnswerToJudge>,
    /// It is checked.
    pub(crate) check: Option<Box<AnswerToCheck>>,
}

/// What every capture of an ingress shares.
#[derive(Clone)]
pub(crate) struct CaptureContext {
    /// Whose bodies are kept, and what is masked.
    pub(crate) policy: Arc<BodyPolicy>,
    /// Room for bodies that are captured or handed over.
    pub(crate) places: Arc<Semaphore>,
    /// The memory that they take.
    pub(crate) memory: Memory,
    /// Where they go.
    pub(crate) bus: Bus,
    /// Where the lost ones are counted.
    pub(crate) metrics: Arc<IngressMetrics>,
}

/// One request's body, until its answer is complete.
pub(crate) struct Capture {
    context: CaptureContext,
    wanted: CaptureUse,
    request: Vec<u8>,
    request_bytes: usize,
    answer: Vec<u8>,
    answer_bytes: usize,
    /// What the provider was sent, where that is not the request.
    sent: Option<SentBody>,
    /// How much of the answer is read.
    room: usize,
    memory: Reserved,
    /// There was no memory for it.
    is_lost: bool,
    _place: OwnedSemaphorePermit,
}

impl Capture {
    /// Begins one, if there is room for it.
    pub(crate) fn begin(context: CaptureContext, wanted: CaptureUse, request: &[u8]) -> Option<Self> {
        let is_read = wanted.is_kept || !wanted.judges.is_empty();
        let piece = &request[..if is_read { request.len().min(context.policy.limit + MARGIN) } else { 0 }];
        // The check holds on to the caller's own bytes, when the request no longer does.
        let held = wanted.check.as_ref().map_or(0, |check| check.asked.body.len());
        let place = context.places.clone().try_acquire_owned().ok();
        let Some((place, memory)) = place.zip(context.memory.reserve(piece.len() + held).ok()) else {
            context.metrics.body_lost();
            return None;
        };
        Some(Self {
            request: piece.to_vec(),
            request_bytes: request.len(),
            answer: Vec::new(),
            answer_bytes: 0,
            sent: None,
            room: 0,
            memory,
            is_lost: false,
            _place: place,
            context,
            wanted,
        })
    }

    /// How much is wanted of what the provider is sent, in bytes.
    pub(crate) fn keeps_sent(&self) -> u32 {
        let wanted = if self.wanted.is_kept { SENT_BYTES.min(self.context.policy.limit + MARGIN) } else { 0 };
        u32::try_from(wanted).unwrap_or(u32::MAX)
    }

    /// This was sent to the provider; of several, the last counts.
    pub(crate) fn was_sent(&mut self, sent: SentBody) {
        if self.wanted.is_kept && self.memory.grow(sent.text.len()).is_ok() {
            self.sent = Some(sent);
        }
    }

    /// These bytes go to the caller, of a stream or of a whole answer.
    pub(crate) fn answers(&mut self, bytes: &[u8], is_stream: bool) {
        let kept = self.context.policy.limit * if is_stream { EVENTS } else { 1 } + MARGIN;
        self.room = if self.wanted.check.is_some() { kept.max(CHECKED_BYTES) } else { kept };
        self.answer_bytes += bytes.len();
        let piece = &bytes[..bytes.len().min(self.room.saturating_sub(self.answer.len()))];
        let held = self.wanted.check.as_ref().map_or(0, |check| check.asked.body.len());
        let sent = self.sent.as_ref().map_or(0, |sent| sent.text.len());
        let wanted = self.answer.len() + piece.len() + self.request.len() + held + sent;
        let missing = wanted.saturating_sub(self.memory.bytes());
        if missing > 0 && self.memory.grow(missing.max(MARGIN * 4)).is_err() {
            self.is_lost = true;
        }
        if !self.is_lost {
            self.answer.extend_from_slice(piece);
        }
    }

    /// The request is over: what is kept of it goes to the analytics role.
    pub(crate) fn finish(self, event: &RequestEvent, life: &Life) {
        let body = KeptBody {
            request_id: event.request_id,
            received_at: event.received_at,
            caller: event.caller.clone(),
            dialect: event.dialect,
            model: event.model.clone(),
            request: String::new(),
            request_bytes: self.request_bytes as u64,
            answer: String::new(),
            answer_bytes: self.answer_bytes as u64,
            sent: String::new(),
            sent_bytes: self.sent.as_ref().map_or(0, |sent| sent.bytes),
        };
        let (is_stream, is_served) = (event.stream, event.outcome == Outcome::Served);
        life.work(async move {
            if self.is_lost {
                return self.context.metrics.body_lost();
            }
            if is_served {
                self.check(&body).await;
            }
            if !self.wanted.is_kept && self.wanted.judges.is_empty() {
                return;
            }
            let (request, answer) = heavy(self.request.len() + self.answer.len(), || self.texts(is_stream)).await;
            let body = KeptBody { request, answer, sent: self.sent_text(), ..body };
            if is_served {
                self.hand_to_judges(&body);
            }
            if self.wanted.is_kept && !self.hand_over(body).await {
                self.context.metrics.body_lost();
            }
        });
    }

    /// Checks the answer, and keeps what was found. One that is longer than is checked is left alone.
    async fn check(&self, body: &KeptBody) {
        let Some(check) = &self.wanted.check else { return };
        if self.answer.len() < self.answer_bytes || self.answer.len() > CHECKED_BYTES {
            return;
        }
        let length = check.asked.body.len() + self.answer.len();
        let found = heavy(length, || checking::check(&check.asked, &self.answer)).await;
        for Finding { name, value, comment } in found {
            let score = Score {
                id: clock::id(),
                at: clock::now(),
                request_id: body.request_id,
                project: body.caller.project.clone(),
                name: name.to_owned(),
                value,
                comment,
                by: "penstock".to_owned(),
                source: ScoreSource::Check,
            };
            check.journal.note(UsageEvent::Score(Box::new(score))).await;
        }
    }

    fn hand_to_judges(&self, body: &KeptBody) {
        for judge in &self.wanted.judges {
            let answer = AnswerToJudge {
                judge: judge.clone(),
                request_id: body.request_id,
                project: body.caller.project.clone(),
                request: body.request.clone(),
                answer: body.answer.clone(),
            };
            if self.wanted.to_judge.try_send(answer).is_err() {
                self.context.metrics.judged("dropped");
            }
        }
    }

    async fn hand_over(&self, body: KeptBody) -> bool {
        let request_id = body.request_id;
        match self.context.bus.keep_body(&body).await {
            Ok(ReportReply::Report(_)) => return true,
            Ok(ReportReply::BadQuery(why) | ReportReply::Unavailable(why)) => {
                debug!(%request_id, why, "a body could not be kept");
            }
            Err(error) => debug!(%request_id, %error, "a body could not be kept"),
        }
        false
    }

    /// What the provider was sent, masked.
    fn sent_text(&self) -> String {
        let Some(sent) = &self.sent else { return String::new() };
        cut(self.context.policy.mask(&sent.text), self.context.policy.limit, (sent.text.len() as u64) < sent.bytes)
    }

    /// The request and the answer, masked.
    fn texts(&self, is_stream: bool) -> (String, String) {
        let policy = &self.context.policy;
        let request = policy.mask(&String::from_utf8_lossy(&self.request));
        let answer = String::from_utf8_lossy(&self.answer);
        let folded = is_stream.then(|| fold(&answer)).flatten();
        // What was cut is cut again, so that no part of a secret stands behind the last whole one.
        let is_cut = folded.is_none() && self.answer.len() < self.answer_bytes;
        let answer = policy.mask(folded.as_deref().unwrap_or(&answer));
        (cut(request, policy.limit, self.request.len() < self.request_bytes), cut(answer, policy.limit, is_cut))
    }
}

/// The text up to the limit; without its last part, where it was cut before.
fn cut(mut text: String, limit: usize, was_cut: bool) -> String {
    let end = limit.min(if was_cut { text.len().saturating_sub(MARGIN) } else { text.len() });
    let end = (0..=end).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_was_cut_loses_the_part_in_which_half_a_secret_may_stand() {
        let text = |length: usize| "é".repeat(length / 2);
        assert_eq!(cut(text(100), 1_000, false).len(), 100);
        assert_eq!(cut(text(4_000), 1_001, false).len(), 1_000);
        assert_eq!(cut(text(1_000 + MARGIN), 1_000, true).len(), 1_000);
        assert_eq!(cut(text(500 + MARGIN), 1_000, true).len(), 500);
        assert_eq!(cut(text(10), 1_000, true), "");
    }
}
