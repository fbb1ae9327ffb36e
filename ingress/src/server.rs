//! The HTTP server: connections in, one task each; slow heads are told so; a stop lets requests finish. HTTP/1.1 without
//! TLS: in production a load balancer stands in front. Knows nothing of what is asked.

use crate::dialect::openai;
use crate::refusal::Refusal;
use crate::role::Shared;
use crate::status;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use penstock_runtime::clock;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// Wait after the system could not give a connection, such as for lack of file handles.
const AGAIN: Duration = Duration::from_millis(50);

/// How long a connection may take to close after the last request.
const CLOSE: Duration = Duration::from_secs(1);

/// Accepts connections as long as the role lives.
pub(crate) async fn serve(listener: TcpListener, router: Router, ingress: Shared) {
    let places = Arc::new(Semaphore::new(ingress.config.connections));
    loop {
        let place = places.clone().acquire_owned().await.expect("the places are never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connection(stream, router.clone(), ingress.clone());
                ingress.life.side(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                sleep(AGAIN).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, ingress: Shared) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY could not be set");
    }
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(ingress.config.head_timeout);
    let mut connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let served = tokio::select! {
        served = poll_fn(|cx| connection.poll_without_shutdown(cx)) => served,
        () = ingress.life.ended() => {
            Pin::new(&mut connection).graceful_shutdown();
            // One that does not close is cut off.
            timeout(CLOSE, poll_fn(|cx| connection.poll_without_shutdown(cx))).await.unwrap_or(Ok(()))
        }
    };
    let mut stream = connection.into_parts().io.into_inner();
    if served.is_err_and(|error| error.is_timeout())
        && let Err(error) = stream.write_all(&slow_head(&ingress)).await
    {
        debug!(%error, "a slow client did not wait for its refusal");
    }
    // The client may have closed it already.
    let _ = stream.shutdown().await;
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
