//! An issuer of tokens as the test has it: its configuration and its public keys over HTTP, which the test sets, counts and
//! takes away. Signs nothing, and knows nothing of Penstock.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The server. Dropping it ends it.
#[derive(Debug)]
pub struct Issuer {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _server: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Shared {
    keys: Vec<Value>,
    is_down: bool,
    fetches: usize,
}

impl Issuer {
    /// Starts one with these public keys.
    ///
    /// # Panics
    /// When the machine has no port for it.
    pub async fn start(keys: &[Value]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the machine has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Mutex::new(Shared { keys: keys.to_vec(), ..Shared::default() }));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, address, shared.clone()));
        Self { address, shared, _server: server }
    }

    /// What its tokens have as `iss`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has these keys from now on.
    pub fn has(&self, keys: &[Value]) {
        lock(&self.shared).keys = keys.to_vec();
    }

    /// Answers nothing but errors, or is well again.
    pub fn is_down(&self, is_down: bool) {
        lock(&self.shared).is_down = is_down;
    }

    /// How often its keys were fetched.
    pub fn fetches(&self) -> usize {
        lock(&self.shared).fetches
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, address: SocketAddr, shared: Arc<Mutex<Shared>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| std::future::ready(answer(&request, address, &shared)));
            // A connection that breaks is made anew by who needs it.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

fn answer(
    request: &Request<Incoming>,
    address: SocketAddr,
    shared: &Mutex<Shared>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut shared = lock(shared);
    let (status, body) = match request.uri().path() {
        _ if shared.is_down => (StatusCode::SERVICE_UNAVAILABLE, json!({})),
        "/.well-known/openid-configuration" => {
            let issuer = format!("http://{address}");
            (StatusCode::OK, json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys") }))
        }
        "/keys" => {
            shared.fetches += 1;
            (StatusCode::OK, json!({ "keys": shared.keys }))
        }
        _ => (StatusCode::NOT_FOUND, json!({})),
    };
    let mut response = Response::new(Full::new(body.to_string().into()));
    *response.status_mut() = status;
    Ok(response)
}
