//! What the ingress answers, path by path. The handlers stand in the files below; those of the model calls
//! are all `pipeline::serve`.

mod admin;
mod google;
mod models;
mod operations;
mod responses;

use crate::dialect::{self, Endpoint};
use crate::pipeline;
use crate::refusal::Refusal;
use crate::role::Shared;
use crate::stage::answer;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use penstock_runtime::clock;
use penstock_schemas::envelope::{Dialect, Operation};

/// All paths.
pub(crate) fn router(ingress: Shared) -> Router {
    let api = Router::new()
        .route("/v1/chat/completions", ask(Dialect::Openai, Operation::Chat))
        .route("/v1/messages", ask(Dialect::Anthropic, Operation::Chat))
        .route("/v1/messages/count_tokens", ask(Dialect::Anthropic, Operation::CountTokens))
        .route("/v1/completions", ask(Dialect::Openai, Operation::Completions))
        .route("/v1/embeddings", ask(Dialect::Openai, Operation::Embeddings))
        .route("/v1/moderations", ask(Dialect::Openai, Operation::Moderations))
        .route("/v1/images/generations", ask(Dialect::Openai, Operation::Images))
        .route("/v1/audio/speech", ask(Dialect::Openai, Operation::Speech))
        .route("/v1/audio/transcriptions", ask(Dialect::Openai, Operation::Transcriptions))
        .route("/v1/audio/translations", ask(Dialect::Openai, Operation::Translations))
        .route("/v1/rerank", ask(Dialect::Openai, Operation::Rerank))
        .route("/v2/rerank", ask(Dialect::Openai, Operation::Rerank))
        .route("/v1/responses", ask(Dialect::Responses, Operation::Chat))
        .route("/v1/responses/{id}", get(responses::show).delete(responses::forget))
        .route("/v1/responses/{id}/input_items", get(responses::items))
        .route("/v1/responses/{id}/cancel", post(responses::cancel))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*model}", get(models::show).post(google::call))
        .route("/v1beta/models", get(google::list))
        .route("/v1beta/models/{*model}", get(google::show).post(google::call))
        .route("/admin/v1/spend", get(admin::spend))
        .route("/admin/v1/targets", get(admin::targets))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .layer(from_fn_with_state(ingress.clone(), refuse_while_stopping));
    Router::new()
        .route("/health", get(operations::health))
        .route("/ready", get(operations::ready))
        .route("/metrics", get(operations::metrics))
        .merge(api)
        .with_state(ingress)
}

/// The pipeline, for one path.
fn ask(dialect: Dialect, operation: Operation) -> MethodRouter<Shared> {
    post(move |State(ingress): State<Shared>, request: Request| async move {
        pipeline::serve(ingress, Endpoint::new(dialect, operation), request).await
    })
}

/// New requests are refused while those in flight finish; the connection is closed, so that the next one goes elsewhere.
async fn refuse_while_stopping(State(ingress): State<Shared>, request: Request, next: Next) -> Response {
    if !ingress.life.is_stopping() {
        return next.run(request).await;
    }
    let dialect = dialect::of_path(request.uri().path());
    let mut response = answer::refuse(dialect, &Refusal::Draining, clock::request_id());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn unknown_path(request: Request) -> Response {
    let path = request.uri().path();
    answer::refuse(dialect::of_path(path), &Refusal::UnknownPath(path.to_owned()), clock::request_id())
}

async fn wrong_method(request: Request) -> Response {
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let dialect = dialect::of_path(&path);
    answer::refuse(dialect, &Refusal::WrongMethod { method, path }, clock::request_id())
}
