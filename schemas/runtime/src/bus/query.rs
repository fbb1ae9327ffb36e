//! Questions over the bus: one asks, one of those who know answers. Knows the spend query only.

use super::{Bus, BusError, failed};
use async_nats::Request;
use futures_util::StreamExt;
use penstock_schemas::spend::{SpendQuery, SpendReply};
use penstock_schemas::subject::QUEUE_GROUP;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(30);

impl Bus {
    /// Asks the analytics role.
    ///
    /// # Errors
    /// When no analytics role answers.
    pub async fn ask_spend(&self, query: &SpendQuery) -> Result<SpendReply, BusError> {
        let what = "ask the analytics role";
        let request = Request::new().payload(serde_json::to_vec(query).map_err(failed(what))?.into());
        let request = request.timeout(Some(ANSWER));
        let answer = self.client.send_request(self.subjects.spend(), request).await.map_err(failed(what))?;
        serde_json::from_slice(&answer.payload).map_err(failed(what))
    }

    /// Answers such questions as long as the role lives, each in a task of its own.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_spend<F, A>(&self, answer: F) -> Result<(), BusError>
    where
        F: Fn(SpendQuery) -> A + Send + Sync + 'static,
        A: Future<Output = SpendReply> + Send + 'static,
    {
        let group = QUEUE_GROUP.to_owned();
        let questions = self.client.queue_subscribe(self.subjects.spend(), group).await;
        let mut questions = questions.map_err(failed("listen for spend queries"))?;
        let (bus, answer) = (self.clone(), Arc::new(answer));
        self.life.service("spend queries", async move {
            while let Some(question) = questions.next().await {
                let Some(reply) = question.reply.clone() else { continue };
                let (bus, answer) = (bus.clone(), answer.clone());
                bus.life.clone().work(async move {
                    let answer = match serde_json::from_slice(&question.payload) {
                        Ok(query) => answer(query).await,
                        Err(error) => SpendReply::BadQuery(error.to_string()),
                    };
                    let payload = serde_json::to_vec(&answer).expect("a spend reply has a JSON form");
                    if let Err(error) = bus.client.publish(reply, payload.into()).await {
                        warn!(%error, "the answer to a spend query could not be sent");
                    }
                });
            }
        });
        Ok(())
    }
}
