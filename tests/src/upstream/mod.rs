//! A provider as the test scripts it: an HTTP server in the test's process that speaks OpenAI's dialect, answers what it is
//! told, and keeps every request it received. A request that a provider of its dialect would refuse gets that provider's
//! 400, and fails the test when the upstream is dropped. Knows nothing of Penstock.

mod batches;
mod call;
mod script;
pub mod words;

pub use batches::{BATCH_KEY, BatchKind, BatchStep, BatchUpstream, EXPIRED, GARBLED, REFUSED};
pub use call::{Call, End};
pub use script::{Gate, Part, Reply};

use bytes::Bytes;
use call::Watch;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use penstock_accepts::{Reference, Request as Checked};
use script::AnswerScript;
use serde_json::Value;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What it answers at, below its base URL.
const PATHS: [&str; 14] = [
    "chat/completions",
    "completions",
    "embeddings",
    "moderations",
    "images/generations",
    "images/edits",
    "images/variations",
    "audio/speech",
    "audio/transcriptions",
    "audio/translations",
    "rerank",
    "messages",
    "messages/count_tokens",
    "responses",
];

/// Between two pieces of an endless answer.
const BETWEEN: Duration = Duration::from_millis(5);

/// The server. Dropping it ends it.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    script: Mutex<AnswerScript>,
    calls: Mutex<Vec<Call>>,
    targets: Mutex<Vec<String>>,
    /// What a provider of the dialect would refuse; `None` when the test sends such requests on purpose.
    refused: Mutex<Option<Vec<String>>>,
}

/// An answer that was just added to a script: for ever, unless it says otherwise.
#[derive(Debug)]
pub struct Scripted<'a>(&'a Upstream);

type Body = StreamBody<Pin<Box<dyn stream::Stream<Item = Result<Frame<Bytes>, Error>> + Send>>>;

impl Upstream {
    /// Starts one that answers `hello`.
    ///
    /// # Panics
    /// When the machine has no port for it.
    pub async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the machine has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let script = Mutex::new(AnswerScript::new(Reply::answer("hello")));
        let refused = Mutex::new(Some(Vec::new()));
        let (calls, targets) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { script, calls, targets, refused });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, shared.clone()));
        Self { name: name.to_owned(), address, shared, _server: server }
    }

    /// The base URL of one that does not run.
    ///
    /// # Panics
    /// When the machine has no port for it.
    pub fn nowhere() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the machine has a free port");
        format!("http://{}/v1", listener.local_addr().expect("a listener has an address"))
    }

    /// Its name as a provider.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a provider's own SDK would take as its base URL.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Gives this answer.
    pub fn replies(&self, reply: Reply) -> Scripted<'_> {
        lock(&self.shared.script).push(reply);
        Scripted(self)
    }

    /// Answers this text, whole or streamed as it is asked.
    pub fn answers(&self, text: &str) -> Scripted<'_> {
        self.replies(Reply::answer(text))
    }

    /// Refuses with this status.
    pub fn fails(&self, status: u16) -> Scripted<'_> {
        self.replies(Reply::error(status))
    }

    /// Of so many requests, fails one with this status, whatever it answers else.
    pub fn fails_each(&self, requests: usize, status: u16) {
        lock(&self.shared.script).give_each(requests, Reply::error(status));
    }

    /// Takes also what no provider of its dialect would: a test of bytes that pass untouched sends such requests.
    pub fn accepts_anything(&self) -> &Self {
        *lock(&self.shared.refused) = None;
        self
    }

    /// Every request so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    /// How many requests there were so far.
    pub fn called(&self) -> usize {
        lock(&self.shared.calls).len()
    }

    /// Where every request went, path and query as they came, also those that are no call to a model.
    pub fn targets(&self) -> Vec<String> {
        lock(&self.shared.targets).clone()
    }

    /// Waits until it has received `count` requests, and gives the last of these.
    pub async fn received(&self, count: usize) -> Call {
        let what = format!("call {count} at {}", self.name);
        crate::wait::until(&what, async || lock(&self.shared.calls).get(count - 1).cloned()).await
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let refused = lock(&self.shared.refused).take().unwrap_or_default();
        let (name, all) = (&self.name, refused.join("\n"));
        assert!(
            refused.is_empty() || std::thread::panicking(),
            "{name} was sent what its provider would refuse:\n{all}"
        );
    }
}

impl Scripted<'_> {
    /// Also for the requests that come later, until another answer is added.
    pub fn always(self) {}

    /// For this many requests; then comes what is added next.
    pub fn times(self, times: u32) {
        lock(&self.0.shared.script).limit(times);
    }

    /// For one request.
    pub fn once(self) {
        self.times(1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        connections.spawn(async move {
            stream.set_nodelay(true).expect("a socket can be told not to wait");
            let service = service_fn(move |request| Box::pin(answer(shared.clone(), request)));
            let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A caller that goes away in the middle is what some tests are about; its call says so.
            let ended = poll_fn(|context| connection.poll_without_shutdown(context)).await;
            if ended.is_err_and(|error| error.is_user()) {
                let stream = connection.into_parts().io.into_inner();
                stream.set_zero_linger().expect("a socket can be told to be reset when it is closed");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Error> {
    let (parts, body) = request.into_parts();
    lock(&shared.targets).push(parts.uri.to_string());
    let Ok(body) = body.collect().await else { return Ok(respond(Reply::error(400), false, None)) };
    let body = body.to_bytes();
    let whole = parts.uri.path();
    let path = whole.strip_prefix("/v1/").unwrap_or(whole).to_owned();
    // Google has the model in the path, and asks for its tokens at another one.
    if !PATHS.contains(&path.as_str()) && !whole.contains("/model") && !whole.ends_with("/token") {
        return Ok(respond(Reply::error(404), false, None));
    }
    let streamed = serde_json::from_slice::<Value>(&body).is_ok_and(|body| body["stream"] == true);
    let refusal = refuse(&shared, &path, &body);
    let call = Call::new(path, parts.headers, body);
    let watch = call.watch();
    lock(&shared.calls).push(call);
    let reply = refusal.unwrap_or_else(|| lock(&shared.script).next());
    if !reply.pause.is_zero() {
        sleep(reply.pause).await;
    }
    if let Some(gate) = &reply.hold {
        gate.passed().await;
    }
    if reply.is_reset() {
        return Err(Error::from(ErrorKind::ConnectionReset));
    }
    Ok(respond(reply, streamed, Some(watch)))
}

/// The provider's answer to a request that it would not accept, which is noted.
fn refuse(shared: &Shared, path: &str, body: &Bytes) -> Option<Reply> {
    let mut refusals = lock(&shared.refused);
    let noted = refusals.as_mut()?;
    let reference = Reference::of_path(path)?;
    let body: Value = serde_json::from_slice(body).ok()?;
    let refused = reference.check(&Checked { path, body: &body }).err()?;
    noted.push(format!("{path}: {refused}\n  {body}"));
    Some(Reply::whole(400, reference.error(&refused).to_string()))
}

fn respond(reply: Reply, streamed: bool, watch: Option<Watch>) -> Response<Body> {
    let (status, headers) = (reply.status, reply.headers.clone());
    let (parts, content_type, length) = reply.parts(streamed);
    let frames: Pin<Box<dyn stream::Stream<Item = _> + Send>> = Box::pin(stream::unfold((parts, watch), next_frame));
    let mut response = Response::new(StreamBody::new(frames));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    for (name, value) in headers {
        response.headers_mut().insert(name, value);
    }
    response
}

type Rest = (VecDeque<Part>, Option<Watch>);

async fn next_frame((mut parts, mut watch): Rest) -> Option<(Result<Frame<Bytes>, Error>, Rest)> {
    loop {
        match parts.pop_front()? {
            Part::Send(bytes) => {
                if let Some(watch) = &mut watch {
                    watch.sent(bytes.len());
                    if parts.is_empty() {
                        watch.complete();
                    }
                }
                return Some((Ok(Frame::data(bytes)), (parts, watch)));
            }
            Part::Wait(gate) => gate.passed().await,
            Part::Cut => {
                // What was sent before is to arrive: a connection that has nothing to do writes what it holds.
                tokio::task::yield_now().await;
                return Some((Err(Error::from(ErrorKind::ConnectionAborted)), (parts, watch)));
            }
            Part::Silence => std::future::pending().await,
            Part::Pause(time) => sleep(time).await,
            Part::Flood(bytes) => {
                parts.push_front(Part::Flood(bytes.clone()));
                return Some((Ok(Frame::data(bytes)), (parts, watch)));
            }
            Part::Endless(bytes) => {
                sleep(BETWEEN).await;
                parts.push_front(Part::Endless(bytes.clone()));
                return Some((Ok(Frame::data(bytes)), (parts, watch)));
            }
        }
    }
}
