//! The floor that a gateway's cost is compared with: a proxy that checks one key, passes the bytes on, and reads the usage.
//! Nothing is recorded, limited or tried again. `floor UPSTREAM KEY` prints its address.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt;
use bytes::Bytes;
use futures_util::TryStreamExt;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Floor {
    client: reqwest::Client,
    upstream: String,
    authorization: String,
    tokens: AtomicU64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let (Some(upstream), Some(key)) = (words.next(), words.next()) else { anyhow::bail!("usage: floor UPSTREAM KEY") };
    let (client, authorization) = (reqwest::Client::new(), format!("Bearer {key}"));
    let floor = Arc::new(Floor { client, upstream, authorization, tokens: AtomicU64::new(0) });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("floor on http://{}", listener.local_addr()?);
    // Else the pieces of a stream wait for acknowledgements.
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    let router = Router::new().route("/v1/chat/completions", post(pass_on)).with_state(floor);
    Ok(axum::serve(listener, router).await?)
}

async fn pass_on(State(floor): State<Arc<Floor>>, headers: HeaderMap, body: Bytes) -> Response {
    if headers.get(header::AUTHORIZATION).is_none_or(|given| given.as_bytes() != floor.authorization.as_bytes()) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let url = format!("{}/v1/chat/completions", floor.upstream);
    let asked = floor.client.post(url).header(header::CONTENT_TYPE, "application/json").body(body);
    let Ok(answer) = asked.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let (status, kind) = (answer.status(), answer.headers().get(header::CONTENT_TYPE).cloned());
    let is_stream = kind.as_ref().is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let body = if is_stream {
        let counted = floor.clone();
        Body::from_stream(answer.bytes_stream().inspect_ok(move |piece| {
            for line in piece.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: ")) {
                counted.count(line);
            }
        }))
    } else {
        let Ok(bytes) = answer.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
        floor.count(&bytes);
        Body::from(bytes)
    };
    let kind = kind.unwrap_or_else(|| header::HeaderValue::from_static("application/json"));
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}

impl Floor {
    fn count(&self, json: &[u8]) {
        let tokens = serde_json::from_slice::<Value>(json).ok().and_then(|json| json["usage"]["total_tokens"].as_u64());
        self.tokens.fetch_add(tokens.unwrap_or(0), Ordering::Relaxed);
    }
}
