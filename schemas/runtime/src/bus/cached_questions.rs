//! Questions about the cache between processes: which answer a request got, which only the ingress knows that gave it, and
//! what is kept. Knows nothing of how that is found.

use super::{Bus, BusError, failed};
use async_nats::Request;
use futures_util::StreamExt;
use penstock_schemas::cache::{CacheReport, HitQuestion, HitReply};
use std::time::Duration;
use tracing::warn;

/// How long the ingress that gave an answer is waited for: the others are silent.
const KNOWN: Duration = Duration::from_millis(500);

impl Bus {
    /// Asks all ingresses which cached answer a request got; `None` when none of them knows.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn ask_hit(&self, question: &HitQuestion) -> Result<Option<HitReply>, BusError> {
        const WHAT: &str = "ask which answer a request got";
        let payload = serde_json::to_vec(question).map_err(failed(WHAT))?;
        let request = Request::new().payload(payload.into()).timeout(Some(KNOWN));
        match self.client.send_request(self.subjects.cache_hit(), request).await {
            Ok(answer) => serde_json::from_slice(&answer.payload).map(Some).map_err(failed(WHAT)),
            Err(_) => Ok(None),
        }
    }

    /// Answers such questions as long as the role lives, where the answer is known.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_hits(
        &self,
        answer: impl Fn(&HitQuestion) -> Option<HitReply> + Send + Sync + 'static,
    ) -> Result<(), BusError> {
        // No queue group: each ingress knows its own.
        let asked = self.client.subscribe(self.subjects.cache_hit()).await;
        let mut asked = asked.map_err(failed("listen for questions"))?;
        let bus = self.clone();
        self.life.service("questions for the cache", async move {
            while let Some(question) = asked.next().await {
                let known = serde_json::from_slice(&question.payload).ok().and_then(|question| answer(&question));
                let (Some(reply), Some(known)) = (question.reply, known) else { continue };
                let payload = serde_json::to_vec(&known).expect("answers have a JSON form");
                if let Err(error) = bus.client.publish(reply, payload.into()).await {
                    warn!(%error, "the answer to a question could not be sent");
                }
            }
        });
        Ok(())
    }

    /// Asks an ingress what is kept.
    ///
    /// # Errors
    /// When no ingress answers.
    pub async fn ask_cache_report(&self) -> Result<CacheReport, BusError> {
        self.ask(self.subjects.cache_report(), &(), "ask an ingress").await
    }

    /// Answers questions for what is kept as long as the role lives.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_cache_reports(
        &self,
        answer: impl Fn() -> CacheReport + Send + Sync + 'static,
    ) -> Result<(), BusError> {
        self.answer(self.subjects.cache_report(), move |_: Result<(), _>| std::future::ready(answer())).await
    }
}
