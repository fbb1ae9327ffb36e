//! A very fast upstream that answers in OpenAI's shape what it is told to. Knows no gateway, and reads of a request only
//! what changes its answer.

mod knobs;
mod reply;

use bytes::Bytes;
use clap::Parser as _;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use knobs::{Knobs, Options};
use precise::Timer;
use reply::{Reply, Stream};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `GET /stats` tells.
static REQUESTS: AtomicU64 = AtomicU64::new(0);
static STREAMS_DONE: AtomicU64 = AtomicU64::new(0);
static STREAMS_DROPPED: AtomicU64 = AtomicU64::new(0);
static IN_FLIGHT: AtomicU64 = AtomicU64::new(0);
static MAX_IN_FLIGHT: AtomicU64 = AtomicU64::new(0);

const COMPLETION: &str = r#"{"id":"chatcmpl-mock0001","object":"chat.completion","created":1700000000,"model":"mock-model","choices":[{"index":0,"message":{"role":"assistant","content":"Hello! This is a fixed reply from the mock upstream, long enough to look like one sentence.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":20,"total_tokens":32,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}},"system_fingerprint":"fp_mock"}"#;
const MESSAGE: &str = r#"{"id":"msg_mock0001","type":"message","role":"assistant","model":"mock-model","content":[{"type":"text","text":"Hello! This is a fixed reply from the mock upstream, long enough to look like one sentence."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":12,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":20}}"#;
const EMBEDDING: (&str, &str) = (
    r#"{"object":"list","model":"mock-embed","data":[{"object":"embedding","index":0,"embedding":["#,
    r#"]}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#,
);
/// Numbers of a vector: as many as small models give.
const DIMENSIONS: usize = 384;
const MODELS: &str =
    r#"{"object":"list","data":[{"id":"mock-model","object":"model","created":1700000000,"owned_by":"mock"}]}"#;

fn main() -> anyhow::Result<()> {
    // One thread that owns everything: a request never crosses to another core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(Options::parse()))
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen).await?;
    println!("mock-upstream: http://{}", listener.local_addr()?);
    let default = options.knobs;
    loop {
        let Ok((connection, _)) = listener.accept().await else { continue };
        tokio::task::spawn_local(talk(connection, default));
    }
}

async fn talk(connection: TcpStream, default: Knobs) {
    // Without it, a reply in two writes may wait 40 ms for the client's acknowledgement.
    let _ = connection.set_nodelay(true);
    let service = hyper::service::service_fn(move |request| Box::pin(answer(default, request)));
    let serving = hyper::server::conn::http1::Builder::new()
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(connection), service);
    // It ends with the connection, and a client that goes away is no news.
    let _ = serving.await;
}

async fn answer(default: Knobs, request: Request<Incoming>) -> Result<Response<Reply>, Infallible> {
    if request.method() == Method::GET {
        return Ok(match request.uri().path() {
            "/v1/models" => json(StatusCode::OK, Bytes::from_static(MODELS.as_bytes())),
            "/stats" => json(StatusCode::OK, stats()),
            _ => json(StatusCode::NOT_FOUND, Bytes::from_static(b"{}")),
        });
    }
    let (head, body) = request.into_parts();
    if head.uri.path() == "/v1/traces" {
        // A receiver of OTLP that wants everything and keeps nothing.
        return Ok(Response::new(Reply::Whole(None)));
    }
    let Ok(body) = body.collect().await else { return Ok(json(StatusCode::BAD_REQUEST, Bytes::new())) };
    let body = body.to_bytes();
    let knobs = default.of_request(head.uri.query(), &body);
    REQUESTS.fetch_add(1, Relaxed);
    let in_flight = InFlight::enter();
    if knobs.latency_us > 0 {
        Timer::new().sleep(Duration::from_micros(knobs.latency_us)).await;
    }
    Ok(if knobs.status >= 400 {
        fault(knobs)
    } else if head.uri.path().ends_with("/embeddings") {
        json(StatusCode::OK, embedding(&body))
    } else if head.uri.path().ends_with("/messages") {
        json(StatusCode::OK, Bytes::from_static(MESSAGE.as_bytes()))
    } else if knobs::is_true(&body, "\"stream\"") {
        stream(Stream::new(knobs, knobs::is_true(&body, "\"include_usage\""), in_flight))
    } else {
        json(StatusCode::OK, Bytes::from_static(COMPLETION.as_bytes()))
    })
}

/// A vector that is the same for the same request, and far from those of others.
fn embedding(body: &[u8]) -> Bytes {
    let mut state = body
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let mut text = String::with_capacity(DIMENSIONS * 5 + 200);
    text.push_str(EMBEDDING.0);
    for at in 0..DIMENSIONS {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = (mixed >> 56) as i16 - 128;
        text.push_str(if at == 0 { "" } else { "," });
        text.push_str(&number.to_string());
    }
    text.push_str(EMBEDDING.1);
    text.into()
}

fn json(status: StatusCode, body: Bytes) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(Some(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert("x-request-id", HeaderValue::from_static("req_mock0001"));
    response
}

fn fault(knobs: Knobs) -> Response<Reply> {
    let body = format!(r#"{{"error":{{"message":"mock error","type":"mock","code":{}}}}}"#, knobs.status);
    let status = StatusCode::from_u16(knobs.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, body.into());
    if knobs.retry_after > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, knobs.retry_after.into());
    }
    response
}

fn stream(stream: Stream) -> Response<Reply> {
    let mut response = Response::new(Reply::Stream(stream));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// `max_inflight` is the most since the last time that somebody asked.
fn stats() -> Bytes {
    let text = format!(
        "{{\"requests\":{},\"streams_done\":{},\"streams_dropped\":{},\"inflight\":{},\"max_inflight\":{}}}\n",
        REQUESTS.load(Relaxed),
        STREAMS_DONE.load(Relaxed),
        STREAMS_DROPPED.load(Relaxed),
        IN_FLIGHT.load(Relaxed),
        MAX_IN_FLIGHT.swap(0, Relaxed)
    );
    text.into()
}

/// Counts a request while it exists.
struct InFlight;

impl InFlight {
    fn enter() -> Self {
        MAX_IN_FLIGHT.fetch_max(IN_FLIGHT.fetch_add(1, Relaxed) + 1, Relaxed);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        IN_FLIGHT.fetch_sub(1, Relaxed);
    }
}
