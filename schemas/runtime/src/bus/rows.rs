//! Questions about single requests and sessions, and the ledger's events as they are written. Nothing here is durable: who
//! listens late hears the rest.

use super::{Bus, BusError, failed};
use futures_util::StreamExt;
use penstock_schemas::event::UsageEvent;
use penstock_schemas::ledger_line;
use penstock_schemas::rows::{RowQuery, RowReport};
use penstock_schemas::spend::ReportReply;

/// The ledger's events while they are written.
pub struct EventFeed(async_nats::Subscriber);

impl Bus {
    /// Asks the analytics role.
    ///
    /// # Errors
    /// When no analytics role answers.
    pub async fn ask_rows(&self, query: &RowQuery) -> Result<ReportReply<RowReport>, BusError> {
        self.ask(self.subjects.rows(), query, "ask the analytics role").await
    }

    /// Answers that as long as the role lives, each in a task of its own.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_rows<F, A>(&self, answer: F) -> Result<(), BusError>
    where
        F: Fn(RowQuery) -> A + Send + Sync + 'static,
        A: Future<Output = ReportReply<RowReport>> + Send + 'static,
    {
        self.answer_numbers(self.subjects.rows(), answer).await
    }

    /// Listens to the ledger from now on.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn events(&self) -> Result<EventFeed, BusError> {
        let feed = self.client.subscribe(self.subjects.usage()).await.map_err(failed("listen to the ledger"))?;
        self.round_trip().await;
        Ok(EventFeed(feed))
    }
}

impl EventFeed {
    /// The next events, which were written together; `None` when the connection is closed for good. What cannot be read is
    /// passed over: the analytics role tells of it.
    pub async fn next(&mut self) -> Option<Vec<UsageEvent>> {
        let message = self.0.next().await?;
        Some(ledger_line::read(&message.payload).filter_map(Result::ok).collect())
    }
}
