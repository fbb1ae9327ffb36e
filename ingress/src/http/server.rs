//! The HTTP server: connections in, one task each, by way of a proxy's header and TLS where these are configured. Knows
//! nothing of what is asked.

use super::connection::{Serving, serve_http1, serve_http2};
use super::proxied::{self, Transport};
use super::tls::{self, Tls};
use crate::state::Shared;
use axum::Router;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

/// Wait after the system could not give a connection, such as for lack of file handles.
const AGAIN: Duration = Duration::from_millis(50);

/// What stands behind a listener.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) router: Router,
    /// `None`: plain HTTP.
    pub(crate) tls: Option<Tls>,
    pub(crate) ingress: Shared,
}

/// Accepts connections as long as the role lives.
pub(crate) async fn serve(listener: TcpListener, door: Door) {
    let places = Arc::new(Semaphore::new(door.ingress.config.connections));
    let mut is_failing = false;
    loop {
        let place = places.clone().acquire_owned().await.expect("the places are never closed");
        match listener.accept().await {
            Ok((stream, address)) => {
                is_failing = false;
                let connection = connection(stream, address.ip(), door.clone());
                door.ingress.life.side(async move {
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

async fn connection(mut stream: TcpStream, mut address: IpAddr, door: Door) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY could not be set");
    }
    let Door { router, tls, ingress } = door;
    let (edge, time) = (&ingress.config.edge, ingress.config.head_timeout);
    if edge.proxy_protocol && edge.trusted_proxies.contain(address) {
        match within(time, proxied::read_header(&mut stream)).await {
            Ok(client) => address = client.unwrap_or(address),
            Err(error) => return debug!(%error, "a proxy's connection begins wrong"),
        }
    }
    let peer = ingress.strangers.enter(address);
    let transport = if tls.is_some() { Transport::Tls } else { Transport::Plain };
    let serving = Serving { router, ingress: ingress.clone(), peer: peer.clone(), transport };
    let Some(tls) = tls else { return Box::pin(serve_http1(stream, serving)).await };
    let shaken = tokio::select! {
        shaken = within(time, tls.acceptor().accept(stream)) => shaken,
        () = peer.closed() => return,
        () = ingress.life.ended() => return,
    };
    let stream: TlsStream<TcpStream> = match shaken {
        Ok(stream) => stream,
        Err(error) => return debug!(%error, "a client's TLS did not come about"),
    };
    let (_, session) = stream.get_ref();
    if let Some(key) = tls::key_of(session.peer_certificates(), &edge.certificates) {
        peer.certify(key);
    }
    if session.alpn_protocol() == Some(tls::HTTP2) {
        Box::pin(serve_http2(stream, serving)).await;
    } else {
        Box::pin(serve_http1(stream, serving)).await;
    }
}

async fn within<T>(time: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(time, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
