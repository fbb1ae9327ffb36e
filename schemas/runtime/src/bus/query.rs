//! Questions over the bus: one asks, one of those who know answers. Knows what is asked, and none of the answers.

use super::{Bus, BusError, failed};
use async_nats::Request;
use futures_util::StreamExt;
use penstock_schemas::activity::{ActivityQuery, ActivityReply};
use penstock_schemas::audit::{AuditQuery, AuditReply};
use penstock_schemas::load::FleetReport;
use penstock_schemas::spend::{SpendQuery, SpendReply};
use penstock_schemas::subject::QUEUE_GROUP;
use penstock_schemas::target::TargetReport;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(30);

impl Bus {
    /// Asks the analytics role for spend.
    ///
    /// # Errors
    /// When no analytics role answers.
    pub async fn ask_spend(&self, query: &SpendQuery) -> Result<SpendReply, BusError> {
        self.ask(self.subjects.spend(), query, "ask the analytics role").await
    }

    /// Answers questions for spend as long as the role lives, each in a task of its own.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_spend<F, A>(&self, answer: F) -> Result<(), BusError>
    where
        F: Fn(SpendQuery) -> A + Send + Sync + 'static,
        A: Future<Output = SpendReply> + Send + 'static,
    {
        self.answer_read(self.subjects.spend(), answer, SpendReply::BadQuery).await
    }

    /// Answers questions that can be read with `answer`, and others with `wrong` and the reason.
    pub(super) async fn answer_read<Q, R, F, A>(
        &self,
        subject: String,
        answer: F,
        wrong: impl Fn(String) -> R + Send + Sync + Clone + 'static,
    ) -> Result<(), BusError>
    where
        Q: DeserializeOwned + Send + 'static,
        R: Serialize + Send + 'static,
        F: Fn(Q) -> A + Send + Sync + 'static,
        A: Future<Output = R> + Send + 'static,
    {
        let answer = Arc::new(answer);
        self.answer(subject, move |question: Result<Q, _>| {
            let (answer, wrong) = (answer.clone(), wrong.clone());
            async move {
                match question {
                    Ok(question) => answer(question).await,
                    Err(error) => wrong(error.to_string()),
                }
            }
        })
        .await
    }

    /// Asks the analytics role how traffic went.
    ///
    /// # Errors
    /// When no analytics role answers.
    pub async fn ask_activity(&self, query: &ActivityQuery) -> Result<ActivityReply, BusError> {
        self.ask(self.subjects.activity(), query, "ask the analytics role").await
    }

    /// Answers questions for traffic as long as the role lives, each in a task of its own.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_activity<F, A>(&self, answer: F) -> Result<(), BusError>
    where
        F: Fn(ActivityQuery) -> A + Send + Sync + 'static,
        A: Future<Output = ActivityReply> + Send + 'static,
    {
        self.answer_read(self.subjects.activity(), answer, ActivityReply::BadQuery).await
    }

    /// Asks the analytics role who changed what.
    ///
    /// # Errors
    /// When no analytics role answers.
    pub async fn ask_audit(&self, query: &AuditQuery) -> Result<AuditReply, BusError> {
        self.ask(self.subjects.audit(), query, "ask the analytics role").await
    }

    /// Answers questions for who changed what as long as the role lives, each in a task of its own.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_audit<F, A>(&self, answer: F) -> Result<(), BusError>
    where
        F: Fn(AuditQuery) -> A + Send + Sync + 'static,
        A: Future<Output = AuditReply> + Send + 'static,
    {
        let answer = Arc::new(answer);
        self.answer(self.subjects.audit(), move |question: Result<AuditQuery, _>| {
            let answer = answer.clone();
            async move {
                match question {
                    Ok(query) => answer(query).await,
                    Err(error) => AuditReply::Unavailable(error.to_string()),
                }
            }
        })
        .await
    }

    /// Asks an ingress how the targets are.
    ///
    /// # Errors
    /// When no ingress answers.
    pub async fn ask_targets(&self) -> Result<Vec<TargetReport>, BusError> {
        self.ask(self.subjects.targets(), &(), "ask an ingress").await
    }

    /// Answers questions for the targets as long as the role lives.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_targets(
        &self,
        answer: impl Fn() -> Vec<TargetReport> + Send + Sync + 'static,
    ) -> Result<(), BusError> {
        self.answer(self.subjects.targets(), move |_: Result<(), _>| std::future::ready(answer())).await
    }

    /// Asks an ingress who serves what, and how busy they are.
    ///
    /// # Errors
    /// When no ingress answers.
    pub async fn ask_fleet(&self) -> Result<FleetReport, BusError> {
        self.ask(self.subjects.fleet(), &(), "ask an ingress").await
    }

    /// Answers that as long as the role lives.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_fleet(&self, answer: impl Fn() -> FleetReport + Send + Sync + 'static) -> Result<(), BusError> {
        self.answer(self.subjects.fleet(), move |_: Result<(), _>| std::future::ready(answer())).await
    }

    pub(super) async fn ask<A: DeserializeOwned>(
        &self,
        subject: String,
        question: &impl Serialize,
        what: &'static str,
    ) -> Result<A, BusError> {
        self.ask_within(ANSWER, subject, question, what).await
    }

    pub(super) async fn ask_within<A: DeserializeOwned>(
        &self,
        limit: Duration,
        subject: String,
        question: &impl Serialize,
        what: &'static str,
    ) -> Result<A, BusError> {
        let request = Request::new().payload(serde_json::to_vec(question).map_err(failed(what))?.into());
        let request = request.timeout(Some(limit));
        let answer = self.client.send_request(subject, request).await.map_err(failed(what))?;
        serde_json::from_slice(&answer.payload).map_err(failed(what))
    }

    pub(super) async fn answer<Q, R, F, A>(&self, subject: String, answer: F) -> Result<(), BusError>
    where
        Q: DeserializeOwned + Send,
        R: Serialize + Send,
        F: Fn(Result<Q, serde_json::Error>) -> A + Send + Sync + 'static,
        A: Future<Output = R> + Send + 'static,
    {
        let questions = self.client.queue_subscribe(subject, QUEUE_GROUP.to_owned()).await;
        let mut questions = questions.map_err(failed("listen for questions"))?;
        let bus = self.clone();
        self.life.service("questions", async move {
            while let Some(question) = questions.next().await {
                let Some(reply) = question.reply.clone() else { continue };
                let answering = answer(serde_json::from_slice(&question.payload));
                let bus = bus.clone();
                bus.life.clone().work(async move {
                    let payload = serde_json::to_vec(&answering.await).expect("answers have a JSON form");
                    if let Err(error) = bus.client.publish(reply, payload.into()).await {
                        warn!(%error, "the answer to a question could not be sent");
                    }
                });
            }
        });
        Ok(())
    }
}
