//! OpenAI's sessions: a WebSocket. WebRTC, SIP and client secrets are refused, with the address to use instead.

use crate::http::aliases;
use crate::http::reply;
use crate::pipeline;
use crate::refusal::Refusal;
use crate::state::Shared;
use axum::extract::{Request, State};
use axum::response::Response;
use penstock_runtime::clock;
use penstock_schemas::envelope::Dialect;

pub(super) async fn connect(State(ingress): State<Shared>, request: Request) -> Response {
    pipeline::serve_session(ingress, request).await
}

pub(super) async fn other_ways(request: Request) -> Response {
    let path = aliases::written(&request).into_owned();
    reply::refuse(Dialect::Openai, &Refusal::OnlyWebSocket(path), clock::request_id())
}
