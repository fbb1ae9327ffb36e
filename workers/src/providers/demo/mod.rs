//! The provider `demo`: a server on loopback that speaks OpenAI's dialect and simulates a provider, with its timing and,
//! on request, its faults; so that everything behind a key can be tried without one. The pool calls it like any other
//! provider and does not know that it is one of ours. Nothing but `--demo` starts it.
//!
//! `embed`, `rank`, `moderate`, `paint`, `voice` and `listen` are for the endpoints without a chat. Here any model answers at
//! any endpoint: which of them is for what, the catalogue says.
//!
//! A name says what happens: `fast`, `slow`, `reasoner` and `echo`, and then any of `~s429` status, `~r1` Retry-After in
//! seconds, `~c50` chunks, `~d1000` microseconds before each, `~l20000` microseconds before the first, `~a3` hang up after
//! three chunks, `~e` an error instead of the first chunk, `~m` malformed JSON: `demo/fast~c50~a3`.

mod calls;
mod faulty;
mod model;
mod others;
mod pace;
mod picture;
mod sample;
mod script;
mod stream;
#[cfg(test)]
mod tests;
mod wire;

pub use faulty::{Faults, serve_faulty};

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::response::Response;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use bytes::Bytes;
use model::Model;
use pace::Pace;
use penstock_schemas::chat::ChatRequest;
use penstock_schemas::envelope::Operation;
use script::DemoAnswer;
use std::hash::{DefaultHasher, Hash, Hasher};
use tokio::net::TcpListener;
use tokio::time::sleep;
use wire::Wire;

/// Its name in the catalogue.
pub const NAME: &str = "demo";

/// The model of its to try first.
pub const EXAMPLE: &str = "demo/fast";

/// Serves until `stop` is ready, and then until the answers under way are sent. Its base URL is
/// `http://ADDRESS/v1`.
pub async fn serve(listener: TcpListener, stop: impl Future<Output = ()> + Send + 'static) {
    let router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(|body| others::answer(Operation::Completions, body)))
        .route("/v1/embeddings", post(|body| others::answer(Operation::Embeddings, body)))
        .route("/v1/moderations", post(|body| others::answer(Operation::Moderations, body)))
        .route("/v1/images/generations", post(|body| others::answer(Operation::Images, body)))
        .route("/v1/audio/speech", post(|body| others::answer(Operation::Speech, body)))
        .route("/v1/audio/transcriptions", post(others::listen))
        .route("/v1/audio/translations", post(others::listen))
        .route("/v1/rerank", post(|body| others::answer(Operation::Rerank, body)))
        .route("/v1/models", get(wire::models))
        .layer(DefaultBodyLimit::disable()); // only the gateway calls, and it has its own limit
    run(listener, router, stop).await;
}

async fn run(listener: TcpListener, router: Router, stop: impl Future<Output = ()> + Send + 'static) {
    let listener = listener.tap_io(|connection| {
        // Without it every other chunk would wait for an acknowledgement; a failure only costs that.
        let _ = connection.set_nodelay(true);
    });
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the demo provider has stopped");
    }
}

async fn chat(body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(request) => answer(request, &body).await,
        Err(error) => wire::refuse(400, &format!("The request cannot be read: {error}"), None),
    }
}

/// The answer to a request that was read from `body`.
async fn answer(request: ChatRequest, body: &Bytes) -> Response {
    let model = match Model::parse(&request.model) {
        Ok(model) => model,
        Err(unknown) => return wire::refuse(404, &unknown, None),
    };
    let mut seed = DefaultHasher::new();
    body.hash(&mut seed);
    let pace = Pace::new(&model, seed.finish());
    if let Some(status) = model.faults.status {
        sleep(pace.before_first()).await;
        return wire::refuse(status, "The simulated provider was told to refuse.", model.faults.retry_after);
    }
    let script = DemoAnswer::write(&request, &model);
    let wire = Wire::new(&model, seed.finish());
    if request.stream == Some(true) {
        let with_usage = request.stream_options.is_some_and(|options| options.include_usage == Some(true));
        return stream::respond(stream::steps(&script, &wire, &pace, with_usage), &model);
    }
    sleep(pace.whole(&script)).await;
    let faults = &model.faults;
    let body = if faults.abort_after.is_some() {
        Body::from_stream(futures_util::stream::iter([Err::<Bytes, _>(stream::hang_up())]))
    } else if faults.malformed {
        Body::from(r#"{"id":"chatcmpl-demo","object":"chat.completion","choices":[{"index":0,"#)
    } else if faults.error_first {
        Body::from(wire::error("The simulated provider was told to fail.", "server_error", None))
    } else {
        Body::from(wire.whole(&script))
    };
    wire::respond(200, "application/json", body)
}
