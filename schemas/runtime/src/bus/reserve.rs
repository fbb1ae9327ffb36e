//! What is said about money on its way: leases that live, workers that need more or have done, and what the ledger can
//! prove. Knows nothing of what is decided.

use super::{Bucket, Bus, BusError, failed};
use futures_util::StreamExt;
use penstock_schemas::book::Book;
use penstock_schemas::name::ProcessId;
use penstock_schemas::reservation::{Lease, MoreGiven, MoreWanted, Proof, ProofWanted, Settled};
use std::time::Duration;
use tracing::warn;

/// How long a lease that nobody renews is still seen.
const LEASE_AGE: Duration = Duration::from_secs(120);

/// How long a rate's book lives that nobody changes: longer than its minute, and than the pause between two renewals.
const RATE_AGE: Duration = Duration::from_secs(300);

/// The same for the book of a day's rate.
const DAY_RATE_AGE: Duration = Duration::from_secs(25 * 3_600);

/// Longest wait for an ingress's answer.
const MORE: Duration = Duration::from_secs(2);

/// Longest wait for the ledger's.
const PROOF: Duration = Duration::from_secs(15);

impl Bus {
    /// The books of rates: gone soon after the minute that they are for.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn rates(&self) -> Result<Bucket<Book>, BusError> {
        let name = self.subjects.rates_bucket();
        Ok(Bucket::of(self, self.key_value_for(&name, RATE_AGE).await?))
    }

    /// The books of rates of a day: gone soon after the day that they are for.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn day_rates(&self) -> Result<Bucket<Book>, BusError> {
        let name = self.subjects.day_rates_bucket();
        Ok(Bucket::of(self, self.key_value_for(&name, DAY_RATE_AGE).await?))
    }

    /// The leases that live, by their ids.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn leases(&self) -> Result<Bucket<Lease>, BusError> {
        let name = self.subjects.leases_bucket();
        Ok(Bucket::of(self, self.key_value_for(&name, LEASE_AGE).await?))
    }

    /// Tells an ingress what became of what it had set aside.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn tell_settled(&self, ingress: &ProcessId, settled: &Settled) -> Result<(), BusError> {
        let payload = serde_json::to_vec(settled).map_err(failed("write what was settled"))?;
        let subject = self.subjects.settled(ingress);
        self.client.publish(subject, payload.into()).await.map_err(failed("tell what was settled"))
    }

    /// Gives what workers tell this ingress to `hear`, as long as the role lives.
    ///
    /// # Errors
    /// When the subscription cannot be made.
    pub async fn hear_settled(&self, hear: impl Fn(Settled) + Send + Sync + 'static) -> Result<(), BusError> {
        let subject = self.subjects.settled(self.process());
        let mut told = self.client.subscribe(subject).await.map_err(failed("listen for what was settled"))?;
        self.life.service("settlements", async move {
            while let Some(message) = told.next().await {
                match serde_json::from_slice(&message.payload) {
                    Ok(settled) => hear(settled),
                    Err(error) => warn!(%error, "what was settled cannot be read: is one process older?"),
                }
            }
        });
        Ok(())
    }

    /// Asks an ingress to set aside more.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn ask_more(&self, ingress: &ProcessId, wanted: &MoreWanted) -> Result<MoreGiven, BusError> {
        self.ask_within(MORE, self.subjects.more(ingress), wanted, "ask for more of a budget").await
    }

    /// Answers workers that need more, as long as the role lives.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_more<F, A>(&self, answer: F) -> Result<(), BusError>
    where
        F: Fn(MoreWanted) -> A + Send + Sync + 'static,
        A: Future<Output = MoreGiven> + Send + 'static,
    {
        self.answer_read(self.subjects.more(self.process()), answer, MoreGiven::Refused).await
    }

    /// Asks the analytics role what the ledger proves.
    ///
    /// # Errors
    /// When no analytics role answers.
    pub async fn ask_proof(&self, wanted: &ProofWanted) -> Result<Proof, BusError> {
        self.ask_within(PROOF, self.subjects.proof(), wanted, "ask the analytics role").await
    }

    /// Answers what the ledger proves, as long as the role lives.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_proof<F, A>(&self, answer: F) -> Result<(), BusError>
    where
        F: Fn(ProofWanted) -> A + Send + Sync + 'static,
        A: Future<Output = Proof> + Send + 'static,
    {
        self.answer_read(self.subjects.proof(), answer, |_| Proof::NotYet).await
    }

    /// The number of the ledger's last message: see [`Bus::has_passed`].
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn last_of_ledger(&self) -> Result<u64, BusError> {
        let stream =
            self.jetstream.get_stream(self.subjects.usage_stream()).await.map_err(failed("look at the ledger"))?;
        Ok(stream.cached_info().state.last_sequence)
    }

    /// Whether everything up to this number has left the ledger, so that ClickHouse has it.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn has_passed(&self, number: u64) -> Result<bool, BusError> {
        let stream =
            self.jetstream.get_stream(self.subjects.usage_stream()).await.map_err(failed("look at the ledger"))?;
        let state = &stream.cached_info().state;
        Ok(state.messages == 0 || state.first_sequence > number)
    }
}
