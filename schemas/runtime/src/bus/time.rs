//! One time for all processes of a deployment: that of nats-server, which all of them talk to, and not that of their machines.
//! A process that begins takes over the time of another, so that all stay together while they catch up with a server whose
//! clock was set. Knows nothing of what the time is for.

use super::{Bus, BusError, failed};
use crate::clock;
use penstock_schemas::{UnixMicros, rfc3339};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

/// Between two comparisons.
const LOOK: Duration = Duration::from_secs(5);

/// Before one that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Longest wait for an answer. The later it comes, the less it says.
const ANSWER: Duration = Duration::from_millis(500);

/// Tries at the start.
const TRIES: u32 = 5;

/// A machine's clock that is further off is logged, in microseconds.
const NOTABLE: i64 = 2_000_000;

/// What a stream's description says of the time.
#[derive(Deserialize)]
struct Told {
    ts: Option<String>,
}

/// What another clock said, when we knew it.
#[derive(Clone, Copy)]
struct Reading {
    /// How much later it is than ours, in microseconds.
    difference: i64,
    /// How far off that may be: half of the way there and back.
    doubt: i64,
}

impl Bus {
    /// Takes over the common time, and keeps to it as long as the role lives.
    pub(super) async fn follow_time(&self) -> Result<(), BusError> {
        let is_set = self.take_over_time().await;
        if !is_set {
            warn!("nats-server does not tell its time: this machine's clock is used until it does");
        }
        let bus = self.clone();
        self.life.service("time", async move { bus.keep_time(is_set).await });
        if is_set { self.tell_time().await } else { Ok(()) }
    }

    /// Tells processes that begin.
    async fn tell_time(&self) -> Result<(), BusError> {
        self.answer(self.subjects.time(), |_: Result<Value, _>| std::future::ready(clock::now())).await
    }

    async fn take_over_time(&self) -> bool {
        if let Ok(told) = self.read_time(self.time_of_another()).await {
            clock::set(told.difference);
            return true;
        }
        for _ in 0..TRIES {
            match self.read_time(self.time_of_server()).await {
                Ok(told) => {
                    clock::set(told.difference);
                    return true;
                }
                Err(_) => sleep(AGAIN / 10).await,
            }
        }
        false
    }

    async fn keep_time(&self, mut is_set: bool) {
        let mut is_off = false;
        loop {
            let told = self.read_time(self.time_of_server()).await.ok();
            match told {
                Some(told) if !is_set => {
                    clock::set(told.difference);
                    is_set = self.tell_time().await.is_ok();
                }
                // What may be the way there and back is no difference.
                Some(told) if told.difference.abs() > told.doubt => clock::steer(told.difference),
                Some(_) | None => {}
            }
            if is_set {
                is_off = tell_difference(is_off);
            }
            sleep(if told.is_some() { LOOK } else { AGAIN }).await;
        }
    }

    async fn read_time(&self, asking: impl Future<Output = Result<UnixMicros, BusError>>) -> Result<Reading, BusError> {
        let began = Instant::now();
        let told = timeout(ANSWER, asking).await.map_err(failed("ask for the time"))??;
        let way = began.elapsed() / 2;
        let doubt = i64::try_from(way.as_micros()).unwrap_or(i64::MAX);
        Ok(Reading { difference: difference(told.after(way), clock::now()), doubt })
    }

    async fn time_of_another(&self) -> Result<UnixMicros, BusError> {
        self.ask_within(ANSWER, self.subjects.time(), &(), "ask for the time").await
    }

    /// By the description of the ledger's stream: the server that leads it says when it wrote that.
    async fn time_of_server(&self) -> Result<UnixMicros, BusError> {
        let subject = format!("STREAM.INFO.{}", self.subjects.usage_stream());
        let told: Told = self.jetstream.request(subject, &()).await.map_err(failed("ask for the time"))?;
        let text = told.ts.ok_or_else(|| failed("ask for the time")("the server does not tell it"))?;
        rfc3339::read(&text).map_err(failed("ask for the time"))
    }
}

/// Logs once that the machine's clock is off, and once that it is not any more.
fn tell_difference(was_off: bool) -> bool {
    let off = difference(clock::wall(), clock::now());
    let is_off = off.abs() > NOTABLE;
    let seconds = off / 1_000_000;
    match (was_off, is_off) {
        (false, true) => warn!(seconds, "this machine's clock is off; nats-server's time is used instead"),
        (true, false) => info!("this machine's clock is right again"),
        (true, true) | (false, false) => {}
    }
    is_off
}

fn difference(one: UnixMicros, other: UnixMicros) -> i64 {
    let [one, other] = [one, other].map(|time| i64::try_from(time.0).unwrap_or(i64::MAX));
    one - other
}
