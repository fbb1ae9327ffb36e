//! Questions to the analytics role beside that for spend: other prices, and the days to come. Knows what is asked, and none of
//! the answers.

use super::{Bus, BusError};
use penstock_schemas::forecast::{ForecastQuery, ForecastReport};
use penstock_schemas::spend::{ReportReply, RepriceQuery, RepriceReport};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

impl Bus {
    /// Asks what spending would have been at other prices.
    ///
    /// # Errors
    /// When no analytics role answers.
    pub async fn ask_reprice(&self, query: &RepriceQuery) -> Result<ReportReply<RepriceReport>, BusError> {
        self.ask(self.subjects.reprice(), query, "ask the analytics role").await
    }

    /// Answers that as long as the role lives.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_reprice<F, A>(&self, answer: F) -> Result<(), BusError>
    where
        F: Fn(RepriceQuery) -> A + Send + Sync + 'static,
        A: Future<Output = ReportReply<RepriceReport>> + Send + 'static,
    {
        self.answer_numbers(self.subjects.reprice(), answer).await
    }

    /// Asks what spending leads to.
    ///
    /// # Errors
    /// When no analytics role answers.
    pub async fn ask_forecast(&self, query: &ForecastQuery) -> Result<ReportReply<ForecastReport>, BusError> {
        self.ask(self.subjects.forecast(), query, "ask the analytics role").await
    }

    /// Answers that as long as the role lives.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_forecast<F, A>(&self, answer: F) -> Result<(), BusError>
    where
        F: Fn(ForecastQuery) -> A + Send + Sync + 'static,
        A: Future<Output = ReportReply<ForecastReport>> + Send + 'static,
    {
        self.answer_numbers(self.subjects.forecast(), answer).await
    }

    /// Answers questions, each in a task of its own; what cannot be read is a bad query.
    pub(super) async fn answer_numbers<Q, T, F, A>(&self, subject: String, answer: F) -> Result<(), BusError>
    where
        Q: DeserializeOwned + Send + 'static,
        T: Serialize + Send + 'static,
        F: Fn(Q) -> A + Send + Sync + 'static,
        A: Future<Output = ReportReply<T>> + Send + 'static,
    {
        let answer = Arc::new(answer);
        self.answer(subject, move |question: Result<Q, _>| {
            let answer = answer.clone();
            async move {
                match question {
                    Ok(query) => answer(query).await,
                    Err(error) => ReportReply::BadQuery(error.to_string()),
                }
            }
        })
        .await
    }
}
