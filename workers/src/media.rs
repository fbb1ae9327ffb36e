//! Images and documents that a request names by their addresses, for providers that take data alone: fetched once, checked,
//! and put into the request in their place. The addresses are the callers', so none may lead into the operator's own
//! network. Knows no provider.

mod address;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod guard;

use address::Place;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use guard::Guard;
use penstock_dialects::data_url;
use penstock_dialects::json::Edit;
use penstock_dialects::media_kind::MediaKind;
use penstock_runtime::heavy;
use penstock_runtime::memory::{Memory, Reserved};
use penstock_schemas::failure::{Failure, FailureKind};
use reqwest::header::LOCATION;
use reqwest::{Client, Url};
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// The largest image or document, and all of a request's together, in bytes.
const LARGEST: usize = 20 * 1024 * 1024;
const ALL: usize = 50 * 1024 * 1024;

/// The most addresses in one request, and how many are fetched at once.
const MOST: usize = 20;
const AT_ONCE: usize = 4;

/// How often one may be held at once: as it came, in base64, in the request, and in the provider's words.
const COPIES: usize = 5;

/// Redirects that are followed.
const HOPS: usize = 3;

/// Longest wait for one, in all and for the connection.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);

/// Fetches what requests name by address. Cloning shares its connections.
#[derive(Clone)]
pub(crate) struct Media {
    guard: Guard,
    /// Made when it is first needed.
    client: Arc<OnceLock<Client>>,
}

/// Which addresses are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// Images and documents.
    All,
    /// Documents alone: the provider fetches images itself.
    Documents,
}

impl Media {
    /// One that fetches from public addresses alone, unless `allow_private` says otherwise.
    pub(crate) fn new(guard: Guard) -> Self {
        Self { guard, client: Arc::default() }
    }

    /// Whether a chat request names something by its address.
    pub(crate) fn is_named_in(request: &Bytes, wanted: Addresses) -> bool {
        penstock_dialects::json::text(request).is_ok_and(|text| !address::find(text, wanted).is_empty())
    }

    /// The chat request with data in the place of addresses; `None` when it names none.
    ///
    /// # Errors
    /// When one cannot be fetched, or is not what it should be: it is named by its place.
    pub(crate) async fn inline(
        &self,
        request: &Bytes,
        wanted: Addresses,
        memory: &Memory,
    ) -> Result<Option<Fetched>, Failure> {
        let text = penstock_dialects::json::text(request)?;
        let places = heavy(text.len(), || address::find(text, wanted)).await;
        if places.is_empty() {
            return Ok(None);
        }
        if let Some(one_too_many) = places.get(MOST) {
            return Err(refused(one_too_many, &format!("at most {MOST} addresses are fetched for a request")));
        }
        let room = Room { left: Arc::new(AtomicUsize::new(ALL)), reserved: Arc::new(Mutex::new(memory.none())) };
        let fetches: Vec<_> = places
            .iter()
            .map(|place| {
                let fetch = self.clone().fetch(place.url.clone(), place.is_document, room.clone());
                async move { fetch.await.map_err(|why| refused(place, &why)) }
            })
            .collect();
        // The first that cannot be had ends them all.
        let fetched: Vec<(MediaKind, Bytes)> = stream::iter(fetches).buffered(AT_ONCE).try_collect().await?;
        let size = fetched.iter().map(|(_, data)| data.len()).sum();
        let body = heavy(size, || {
            let mut edit = Edit::of(text);
            for (place, (kind, data)) in places.iter().zip(fetched) {
                let url = data_url::write(kind.media_type(), &STANDARD.encode(&data));
                edit.replace(place.value, place.with_data(&url));
            }
            edit.finish().into()
        })
        .await;
        let reserved = mem::replace(&mut *lock(&room.reserved), memory.none());
        Ok(Some(Fetched { body, _memory: Some(reserved) }))
    }

    async fn fetch(self, address: String, is_document: bool, room: Room) -> Result<(MediaKind, Bytes), String> {
        let followed = timeout(PATIENCE, self.follow(&address, &room)).await;
        let data = followed.map_err(|_| "it takes too long".to_owned())??;
        match MediaKind::of(&data) {
            Some(kind) if kind.is_document() == is_document => Ok((kind, data)),
            _ if is_document => Err("it is no PDF".to_owned()),
            _ => Err("it is no PNG, JPEG, GIF or WebP image".to_owned()),
        }
    }

    /// Each redirect is a new address to be checked.
    async fn follow(&self, address: &str, room: &Room) -> Result<Bytes, String> {
        let mut url = Url::parse(address).map_err(|error| error.to_string())?;
        for _ in 0..=HOPS {
            self.guard.check(&url)?;
            let response = self.client()?.get(url.clone()).send().await.map_err(|error| describe(&error))?;
            if response.status().is_redirection() {
                let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
                let location = location.ok_or("it leads elsewhere without saying where")?;
                url = url.join(location).map_err(|error| error.to_string())?;
                continue;
            }
            if !response.status().is_success() {
                return Err(format!("its server answers {}", response.status().as_u16()));
            }
            return read(response, room).await;
        }
        Err(format!("it leads elsewhere more than {HOPS} times"))
    }

    fn client(&self) -> Result<&Client, String> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // A proxy would connect where the guard cannot see.
        let client = Client::builder()
            .dns_resolver(Arc::new(self.guard))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .user_agent(concat!("penstock/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(self.client.get_or_init(|| client))
    }
}

pub(crate) use guard::Guard as MediaGuard;

/// What the images and documents of one request may still take.
#[derive(Clone)]
struct Room {
    /// Of [`ALL`], in bytes.
    left: Arc<AtomicUsize>,
    /// What they take of the process's memory.
    reserved: Arc<Mutex<Reserved>>,
}

impl Room {
    /// Takes so many bytes, before they are kept.
    fn take(&self, bytes: usize) -> Result<(), String> {
        let enough = |left: usize| left.checked_sub(bytes);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough)
            .map_err(|_| format!("all together are larger than {} MB", ALL >> 20))?;
        let full = |_| "this worker's memory is in use ([workers] memory): try again later".to_owned();
        lock(&self.reserved).grow(bytes * COPIES).map_err(full)
    }
}

fn lock(reserved: &Mutex<Reserved>) -> MutexGuard<'_, Reserved> {
    reserved.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request with its images and documents in it.
pub(crate) struct Fetched {
    /// The request.
    pub body: Bytes,
    /// What it takes of the process's memory besides the request as it came.
    _memory: Option<Reserved>,
}

impl Fetched {
    /// One that named none.
    pub(crate) fn nothing(body: Bytes) -> Self {
        Self { body, _memory: None }
    }
}

async fn read(mut response: reqwest::Response, room: &Room) -> Result<Bytes, String> {
    let too_large = || format!("it is larger than {} MB", LARGEST >> 20);
    if response.content_length().is_some_and(|length| length > LARGEST as u64) {
        return Err(too_large());
    }
    let mut data = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| describe(&error))? {
        if data.len() + chunk.len() > LARGEST {
            return Err(too_large());
        }
        room.take(chunk.len())?;
        data.extend_from_slice(&chunk);
    }
    Ok(data.freeze())
}

/// The innermost reason, which names no address.
fn describe(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

fn refused(place: &Place<'_>, why: &str) -> Failure {
    let field = place.field();
    let mut failure = Failure::gateway(FailureKind::BadRequest, format!("`{field}` could not be fetched: {why}"));
    failure.param = Some(field);
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    /// A server that answers everything with this.
    async fn serve(address: &str, answer: String, servers: &mut JoinSet<()>) -> String {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        servers.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                assert!(stream.read(&mut head).await.unwrap() > 0);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        url
    }

    async fn fetched(location: &str) -> Result<Bytes, String> {
        let mut servers = JoinSet::new();
        let answer =
            format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let first = serve("127.0.0.1:0", answer, &mut servers).await;
        let memory = Memory::new(1 << 20);
        let room = Room { left: Arc::new(AtomicUsize::new(ALL)), reserved: Arc::new(Mutex::new(memory.none())) };
        Media::new(Guard::And([127, 0, 0, 1].into())).follow(&first, &room).await
    }

    #[tokio::test]
    async fn each_address_that_one_leads_to_is_checked_again() {
        // As the program does before anything else; another test of the process may have.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut servers = JoinSet::new();
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello".to_owned();
        let public = serve("127.0.0.1:0", whole, &mut servers).await;
        assert_eq!(fetched(&public).await.as_deref(), Ok(&b"hello"[..]));
        let private = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = private.local_addr().unwrap().port();
        for host in ["127.0.0.2", "127.2", "0x7f000002", "[::ffff:127.0.0.2]", "[64:ff9b::127.0.0.2]", "0.0.0.0"] {
            let refused = fetched(&format!("http://{host}:{port}/")).await;
            assert_eq!(refused, Err("its address is not public".to_owned()), "{host}");
        }
        assert!(fetched("file:///etc/passwd").await.is_err() && fetched("gopher://127.0.0.1/").await.is_err());
        let called = timeout(Duration::ZERO, private.accept()).await;
        assert!(called.is_err(), "nobody has called");
        let itself = serve(
            "127.0.0.1:0",
            "HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
            &mut servers,
        )
        .await;
        assert_eq!(fetched(&itself).await, Err(format!("it leads elsewhere more than {HOPS} times")));
    }
}
