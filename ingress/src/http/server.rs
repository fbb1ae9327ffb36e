//! The HTTP server: connections in, one task each; slow heads are told so; a stop lets requests finish. HTTP/1.1 without
//! TLS: in production a load balancer stands in front. Knows nothing of what is asked.

use super::aliases;
use super::pulse::{AnsweredBody, Felt, Late, Pulse, Timeouts};
use crate::dialect::openai;
use crate::refusal::Refusal;
use crate::state::Shared;
use crate::status;
use crate::strangers::Peer;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use penstock_runtime::clock;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tower::Service;
use tracing::{debug, warn};

/// Wait after the system could not give a connection, such as for lack of file handles.
const AGAIN: Duration = Duration::from_millis(50);

/// How long a connection may take to close after the last request.
const CLOSE: Duration = Duration::from_secs(1);

/// The longest head of a request, and what may wait to be written, in bytes. hyper's own bound is 400 KB for either.
const BUFFER: usize = 64 * 1024;

/// What is still read of a request that was answered before its end, in time and in bytes, so that its client, which only
/// reads when it has written, gets the answer: closed at once, the connection would be reset.
const REST: (Duration, u64) = (Duration::from_secs(2), 64 << 20);

/// Accepts connections as long as the role lives.
pub(crate) async fn serve(listener: TcpListener, router: Router, ingress: Shared) {
    let places = Arc::new(Semaphore::new(ingress.config.connections));
    let mut is_failing = false;
    loop {
        let place = places.clone().acquire_owned().await.expect("the places are never closed");
        match listener.accept().await {
            Ok((stream, address)) => {
                is_failing = false;
                let connection = connection(stream, address.ip(), router.clone(), ingress.clone());
                ingress.life.side(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                if !is_failing {
                    warn!(%error, "connections cannot be accepted; trying again");
                }
                is_failing = true;
                sleep(AGAIN).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, address: IpAddr, router: Router, ingress: Shared) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY could not be set");
    }
    let config = &ingress.config;
    let limits = Timeouts { idle: config.idle_timeout, head: config.head_timeout, write: config.write_timeout };
    let (peer, pulse) = (ingress.strangers.enter(address), Pulse::new());
    let answer = service_fn(|request| Box::pin(answer(request, router.clone(), &peer, &pulse)));
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
        () = peer.closed() => Some(Late::Idle),
        () = ingress.life.ended() => {
            Pin::new(&mut connection).graceful_shutdown();
            // One that does not close is cut off.
            let _ = timeout(CLOSE, poll_fn(|cx| connection.poll_without_shutdown(cx))).await;
            None
        }
    };
    let mut stream = connection.into_parts().io.into_inner().stream;
    match late {
        Some(Late::Head) => {
            if let Err(error) = stream.write_all(&slow_head(&ingress)).await {
                debug!(%error, "a slow client did not wait for its refusal");
            }
        }
        Some(Late::Idle) | None => {}
        // What the system holds for it is of no use to a client that does not read.
        Some(Late::Write) => return debug!("a client does not read its answer: the connection is closed"),
    }
    close(stream).await;
}

async fn answer(
    request: Request<Incoming>,
    mut router: Router,
    peer: &Peer,
    pulse: &Pulse,
) -> Result<Response<AnsweredBody>, Infallible> {
    let answering = pulse.answering();
    let mut request = request.map(Body::new);
    aliases::resolve(&mut request);
    request.extensions_mut().insert(peer.clone());
    let response = router.call(request).await?;
    Ok(response.map(|body| answering.until_the_end_of(body)))
}

/// Closes a connection so that the client gets what was written.
async fn close(mut stream: TcpStream) {
    // The client may have closed it already.
    let _ = stream.shutdown().await;
    let (time, bytes) = REST;
    let mut rest = stream.take(bytes);
    let mut ignored = vec![0; 16 * 1024];
    let _ = timeout(time, async { while matches!(rest.read(&mut ignored).await, Ok(read) if read > 0) {} }).await;
}

/// What hyper leaves unsaid: 408, in OpenAI's words.
fn slow_head(ingress: &Shared) -> Vec<u8> {
    let refusal = Refusal::SlowHead(ingress.config.head_timeout);
    let id = clock::request_id();
    let body = openai::error_body(&refusal, id).to_string();
    let status = status::of(&refusal);
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\
         x-request-id: {id}\r\nx-penstock-request-id: {id}\r\n\r\n{body}"
    )
    .into_bytes()
}
