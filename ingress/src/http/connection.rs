//! One connection, from its first byte to its last, whatever it runs over: HTTP/1.1 or HTTP/2. Slow heads are told so, clients
//! that do not read are cut off, a stop lets requests finish. Knows nothing of what is asked.

use super::aliases;
use super::proxied::{self, Transport};
use super::pulse::{AnsweredBody, Felt, Late, Pulse, Timeouts};
use super::upgrade::{Duplex, Handover, Wire};
use crate::dialect::error_body;
use crate::refusal::Refusal;
use crate::state::Shared;
use crate::status;
use crate::strangers::Peer;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use penstock_runtime::{Life, clock};
use penstock_schemas::envelope::Dialect;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tower::Service;
use tracing::debug;

/// How long a connection may take to close after the last request.
const CLOSE: Duration = Duration::from_secs(1);

/// The longest head of a request, and what may wait to be written, in bytes. hyper's own bound is 400 KB for either.
const BUFFER: usize = 64 * 1024;

/// Requests at once on one HTTP/2 connection; a client waits with others.
const STREAMS: u32 = 100;

/// What is still read of a request that was answered before its end, in time and in bytes, so that its client, which only
/// reads when it has written, gets the answer: closed at once, the connection would be reset.
const REST: (Duration, u64) = (Duration::from_secs(2), 64 << 20);

/// What serves a connection.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) router: Router,
    pub(super) ingress: Shared,
    pub(super) peer: Peer,
    pub(super) transport: Transport,
}

impl Serving {
    fn limits(&self) -> Timeouts {
        let config = &self.ingress.config;
        Timeouts { idle: config.idle_timeout, head: config.head_timeout, write: config.write_timeout }
    }

    /// `handover` is for who makes the connection one of another protocol.
    async fn answer(
        &self,
        request: Request<Incoming>,
        pulse: &Pulse,
        handover: Option<&Handover>,
    ) -> Result<Response<AnsweredBody>, Infallible> {
        let answering = pulse.answering();
        let mut request = request.map(Body::new);
        if let Some(handover) = handover {
            request.extensions_mut().insert(handover.clone());
        }
        aliases::resolve(&mut request);
        let trusted = &self.ingress.config.edge.trusted_proxies;
        let client = proxied::settle(&mut request, (self.peer.client(), self.transport), trusted);
        request.extensions_mut().insert(self.peer.at(client));
        let response = self.router.clone().call(request).await?;
        Ok(response.map(|body| answering.until_the_end_of(body)))
    }
}

/// Serves HTTP/1.1: one request after the other.
pub(super) async fn serve_http1(stream: impl Duplex + 'static, serving: Serving) {
    let (limits, pulse, handover) = (serving.limits(), Pulse::new(), Handover::default());
    let answer = service_fn(|request| Box::pin(serving.answer(request, &pulse, Some(&handover))));
    let mut http = http1::Builder::new();
    http.max_buf_size(BUFFER);
    let felt = Felt { stream, pulse: pulse.clone() };
    let mut connection = http.serve_connection(TokioIo::new(felt), answer);
    let late = tokio::select! {
        served = poll_fn(|cx| connection.poll_without_shutdown(cx)) => {
            if let Err(error) = served {
                debug!(%error, "a connection broke off");
            }
            None
        }
        late = pulse.too_long(&limits) => Some(late),
        () = serving.peer.closed() => Some(Late::Idle),
        () = serving.ingress.life.ended() => {
            Pin::new(&mut connection).graceful_shutdown();
            // One that does not close is cut off.
            let _ = timeout(CLOSE, poll_fn(|cx| connection.poll_without_shutdown(cx))).await;
            None
        }
    };
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner().stream;
    if let Some(afterwards) = handover.take().filter(|_| late.is_none()) {
        let wire = Wire { stream: Box::new(stream), read: parts.read_buf };
        tokio::select! {
            () = afterwards(wire) => {}
            () = serving.peer.closed() => {}
            () = serving.ingress.life.ended() => {}
        }
        return;
    }
    match late {
        Some(Late::Head) => {
            if let Err(error) = stream.write_all(&slow_head(&serving.ingress)).await {
                debug!(%error, "a slow client did not wait for its refusal");
            }
        }
        Some(Late::Idle) | None => {}
        // What the system holds for it is of no use to a client that does not read.
        Some(Late::Write) => return debug!("a client does not read its answer: the connection is closed"),
    }
    close(stream).await;
}

/// Serves HTTP/2: several requests at once.
pub(super) async fn serve_http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, serving: Serving) {
    let (limits, pulse) = (serving.limits(), Pulse::of_many());
    let answering = (serving.clone(), pulse.clone());
    let answer = service_fn(move |request| {
        let (serving, pulse) = answering.clone();
        Box::pin(async move { serving.answer(request, &pulse, None).await })
    });
    let mut http = http2::Builder::new(Tracked(serving.ingress.life.clone()));
    let head = u32::try_from(BUFFER).expect("64 KB are a u32");
    http.max_concurrent_streams(STREAMS).max_header_list_size(head).max_send_buf_size(BUFFER);
    let felt = Felt { stream, pulse: pulse.clone() };
    let mut connection = pin!(http.serve_connection(TokioIo::new(felt), answer));
    let is_over = tokio::select! {
        served = &mut connection => {
            if let Err(error) = served {
                debug!(%error, "a connection broke off");
            }
            true
        }
        late = pulse.too_long(&limits) => late == Late::Write,
        () = serving.peer.closed() => false,
        () = serving.ingress.life.ended() => false,
    };
    if !is_over {
        // The client is told which of its requests were not begun.
        connection.as_mut().graceful_shutdown();
        let _ = timeout(CLOSE, connection).await;
    }
}

/// Spawns what belongs to a connection where a stop can find it.
#[derive(Clone)]
struct Tracked(Life);

impl<F> Executor<F> for Tracked
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.side(task);
    }
}

/// Closes a connection so that the client gets what was written.
async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    // The client may have closed it already.
    let _ = timeout(REST.0, stream.shutdown()).await;
    let (time, bytes) = REST;
    let mut rest = stream.take(bytes);
    let mut ignored = vec![0; 16 * 1024];
    let _ = timeout(time, async { while matches!(rest.read(&mut ignored).await, Ok(read) if read > 0) {} }).await;
}

/// What hyper leaves unsaid: 408, in OpenAI's words.
fn slow_head(ingress: &Shared) -> Vec<u8> {
    let refusal = Refusal::SlowHead(ingress.config.head_timeout);
    let id = clock::request_id();
    let body = error_body(Dialect::Openai, &refusal, id).to_string();
    let status = status::of(&refusal, Dialect::Openai);
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\
         x-request-id: {id}\r\nx-penstock-request-id: {id}\r\n\r\n{body}"
    )
    .into_bytes()
}
