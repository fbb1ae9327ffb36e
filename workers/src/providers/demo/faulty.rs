//! The simulator as a provider that is not well: it answers under any model's name, fails a share of the calls in one of
//! several ways, and all of them while it is out. Which ones, a seed says. Keeps the ids of the attempts that reached it.

use super::{answer, run, wire};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http::HeaderMap;
use penstock_schemas::chat::ChatRequest;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

/// A model that answers soon, and with the caller's own words.
const WELL: &str = "echo~l10000~d1000";

/// What a call that fails gets: refusals, nonsense, or a connection that is closed before the first content.
const WAYS: [&str; 7] = ["~s500", "~s503", "~s529", "~s429", "~e", "~m", "~a0"];

/// What everybody gets while it is out.
const OUT: &str = "~s503";

/// What goes wrong. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    seed: u64,
    percent: u64,
    calls: AtomicU64,
    is_out: AtomicBool,
    attempts: Mutex<Vec<String>>,
}

impl Faults {
    /// So many percent of the calls fail, at random by `seed`.
    pub fn new(seed: u64, percent: u64) -> Self {
        let (calls, is_out, attempts) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::default());
        Self(Arc::new(Shared { seed, percent, calls, is_out, attempts }))
    }

    /// From now on nothing is answered.
    pub fn begin_outage(&self) {
        self.0.is_out.store(true, Ordering::Relaxed);
    }

    /// It is as before the outage.
    pub fn end_outage(&self) {
        self.0.is_out.store(false, Ordering::Relaxed);
    }

    /// The ids of the attempts that came here, as the gateway sent them.
    pub fn attempts(&self) -> Vec<String> {
        self.0.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, attempt: &str) {
        self.0.attempts.lock().unwrap_or_else(PoisonError::into_inner).push(attempt.to_owned());
    }

    /// The model that answers the next call.
    fn model(&self) -> String {
        let call = self.0.calls.fetch_add(1, Ordering::Relaxed);
        let mut dice = DefaultHasher::new();
        (self.0.seed, call).hash(&mut dice);
        let drawn = dice.finish();
        let fault = if self.0.is_out.load(Ordering::Relaxed) {
            OUT
        } else if drawn % 100 < self.0.percent {
            WAYS[usize::try_from(drawn / 100 % WAYS.len() as u64).unwrap_or_default()]
        } else {
            ""
        };
        format!("{WELL}{fault}")
    }
}

/// Serves until `stop` is ready, like [`super::serve`], but for chat alone.
pub async fn serve_faulty(listener: TcpListener, faults: Faults, stop: impl Future<Output = ()> + Send + 'static) {
    let router = Router::new().route("/v1/chat/completions", post(chat)).with_state(faults);
    run(listener, router.layer(DefaultBodyLimit::disable()), stop).await;
}

async fn chat(State(faults): State<Faults>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(id) = headers.get("x-client-request-id").and_then(|id| id.to_str().ok()) {
        faults.note(id);
    }
    match serde_json::from_slice::<ChatRequest>(&body) {
        Ok(request) => answer(ChatRequest { model: faults.model(), ..request }, &body).await,
        Err(error) => wire::refuse(400, &format!("The request cannot be read: {error}"), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::demo::model::Model;

    #[test]
    fn the_share_that_fails_is_kept_and_repeats_for_the_same_seed() {
        let models = |seed| {
            let faults = Faults::new(seed, 5);
            (0..10_000).map(|_| faults.model()).collect::<Vec<_>>()
        };
        let drawn = models(7);
        assert!((400..600).contains(&drawn.iter().filter(|model| *model != WELL).count()));
        assert_eq!(drawn, models(7));
        assert_ne!(drawn, models(8));
        assert!(drawn.iter().all(|model| Model::parse(model).is_ok()));
    }

    #[test]
    fn an_outage_is_of_all_calls_and_ends() {
        let faults = Faults::new(1, 0);
        faults.begin_outage();
        assert_eq!(faults.model(), format!("{WELL}{OUT}"));
        faults.end_outage();
        assert_eq!(faults.model(), WELL);
    }
}
