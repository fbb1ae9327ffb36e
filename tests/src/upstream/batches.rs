//! A provider's own batch API, simulated: OpenAI's, Anthropic's, Google's and Mistral's. A batch goes on each time that it is
//! asked for: taken, under way, over. It counts what it ran, so that a test can see what was paid. Knows nothing of Penstock.

mod spelling;

use super::{Gate, lock, words};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use spelling::{anthropic_line, openai_line};
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A line with this in it is refused.
pub const REFUSED: &str = "please refuse";

/// The key that these are asked with, which they say again where they refuse a line.
pub const BATCH_KEY: &str = "sk-of-the-batch";

/// A line with this in it is never run: the batch expires before.
pub const EXPIRED: &str = "please expire";

/// A line with this in it has half an answer.
pub const GARBLED: &str = "please garble";

/// Whose batch API it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    /// `/files` and `/batches`.
    Openai,
    /// `/v1/messages/batches`.
    Anthropic,
    /// `:batchGenerateContent`.
    Google,
    /// `/batch/jobs`.
    Mistral,
}

/// What is asked of it on the way of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchStep {
    /// The upload of its lines.
    Upload,
    /// The batch itself: it is taken before the answer is held.
    Create,
    /// How it is.
    Poll,
    /// Its answers.
    Answers,
}

/// The server. Dropping it ends it.
#[derive(Debug)]
pub struct BatchUpstream {
    address: SocketAddr,
    kind: BatchKind,
    shared: Arc<Mutex<State>>,
    _server: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<String>,
    batches: Vec<Taken>,
    /// So many more batches are taken without a word to the one who sends them.
    unanswered: u32,
    /// How often each line was run.
    runs: BTreeMap<String, u32>,
    /// Batches do not go on.
    is_stuck: bool,
    /// Requests for one answer, besides all batches.
    singles: usize,
    /// Answers to such requests are held.
    held: Option<(BatchStep, Arc<Gate>)>,
    /// How many were.
    holding: usize,
}

#[derive(Clone, Debug)]
struct Taken {
    name: Value,
    endpoint: Value,
    /// Ids and requests.
    lines: Vec<(String, Value)>,
    asked: u32,
    is_cancelled: bool,
    /// It does not go on until it is cancelled, and no line of it is run.
    is_stuck: bool,
}

impl BatchUpstream {
    /// Starts one.
    ///
    /// # Panics
    /// When the machine has no port for it.
    pub async fn start(kind: BatchKind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the machine has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Mutex::new(State::default()));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, kind, shared.clone()));
        Self { address, kind, shared, _server: server }
    }

    /// What a provider's own SDK would take as its base URL.
    pub fn url(&self) -> String {
        let path = match self.kind {
            BatchKind::Openai | BatchKind::Mistral => "/v1",
            BatchKind::Anthropic => "",
            BatchKind::Google => "/v1beta",
        };
        format!("http://{}{path}", self.address)
    }

    /// Takes the next batches, and closes the connection instead of saying so.
    pub fn is_silent_about(&self, batches: u32) {
        lock(&self.shared).unanswered = batches;
    }

    /// Holds its answers to such requests until the gate opens.
    pub fn holds(&self, step: BatchStep) -> Arc<Gate> {
        let gate = Arc::new(Gate::new());
        let mut state = lock(&self.shared);
        (state.held, state.holding) = (Some((step, gate.clone())), 0);
        gate
    }

    /// Runs no line of the batches that it takes from now on: they go on until they are cancelled.
    pub fn gets_stuck(&self) {
        lock(&self.shared).is_stuck = true;
    }

    /// How many answers it has held since it was told to.
    pub fn holding(&self) -> usize {
        lock(&self.shared).holding
    }

    /// How many requests it has answered besides all batches.
    pub fn singles(&self) -> usize {
        lock(&self.shared).singles
    }

    /// How many batches it has taken.
    pub fn batches(&self) -> usize {
        lock(&self.shared).batches.len()
    }

    /// How often each line was run.
    pub fn runs(&self) -> BTreeMap<String, u32> {
        lock(&self.shared).runs.clone()
    }
}

async fn serve(listener: TcpListener, kind: BatchKind, shared: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| answer(kind, shared.clone(), request));
            // A connection that is closed without an answer is what some tests are about.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    kind: BatchKind,
    shared: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Error::from(ErrorKind::ConnectionReset))?.to_bytes();
    let path =
        parts.uri.path().trim_start_matches("/v1beta").trim_start_matches("/v1").trim_start_matches('/').to_owned();
    let (answered, held) = {
        let mut state = lock(&shared);
        let answered = state.answer(kind, &parts.method, &path, &body);
        (answered, state.hold(&parts.method, &path))
    };
    if let Some(gate) = held {
        gate.passed().await;
    }
    match answered {
        None => Err(Error::from(ErrorKind::ConnectionReset)),
        Some((status, text)) => {
            let mut response = Response::new(Full::new(Bytes::from(text)));
            *response.status_mut() = status.try_into().expect("a test's status is one");
            Ok(response)
        }
    }
}

impl State {
    /// What the answer to such a request waits for.
    fn hold(&mut self, method: &Method, path: &str) -> Option<Arc<Gate>> {
        let step = match (method, path) {
            (&Method::POST, "files") => BatchStep::Upload,
            (&Method::POST, "chat/completions") => return None,
            (&Method::POST, _) => BatchStep::Create,
            (_, path) if path.ends_with("content") || path.ends_with("results") => BatchStep::Answers,
            _ => BatchStep::Poll,
        };
        let (_, gate) = self.held.as_ref().filter(|(held, _)| *held == step)?;
        self.holding += 1;
        Some(gate.clone())
    }

    /// The status and the body. `None`: the connection is closed.
    fn answer(&mut self, kind: BatchKind, method: &Method, path: &str, body: &Bytes) -> Option<(u16, String)> {
        let steps: Vec<&str> = path.split('/').collect();
        match (kind, method, steps.as_slice()) {
            (BatchKind::Openai, &Method::POST, ["chat", "completions"]) => {
                self.singles += 1;
                Some((200, words::whole("from a call")))
            }
            (BatchKind::Openai, &Method::POST, ["files"]) => {
                let text = String::from_utf8_lossy(body);
                let file = text.split("\r\n\r\n").last().unwrap_or_default();
                self.files.push(file.split("\r\n--").next().unwrap_or_default().to_owned());
                let id = format!("file-{}", self.files.len() - 1);
                Some((200, json!({ "id": id, "object": "file", "purpose": "batch" }).to_string()))
            }
            (BatchKind::Openai, &Method::POST, ["batches"])
            | (BatchKind::Mistral, &Method::POST, ["batch", "jobs"])
            | (BatchKind::Anthropic, &Method::POST, ["messages", "batches"])
            | (BatchKind::Google, &Method::POST, ["models", "m:batchGenerateContent"]) => {
                let new: Value = serde_json::from_slice(body).ok()?;
                let taken = self.read(kind, &new)?;
                self.take(kind, taken)
            }
            (BatchKind::Openai | BatchKind::Google, &Method::GET, ["batches"])
            | (BatchKind::Mistral, &Method::GET, ["batch", "jobs"])
            | (BatchKind::Anthropic, &Method::GET, ["messages", "batches"]) => Some((200, self.list(kind).to_string())),
            (BatchKind::Anthropic, &Method::GET, ["messages", "batches", id, "results"]) => {
                Some((200, lines(self.batches.get(number(id)?)?, anthropic_line)))
            }
            (BatchKind::Openai | BatchKind::Mistral, &Method::GET, ["files", id, "content"]) => {
                let batch = self.batches.get(number(id.strip_prefix("out-").or(id.strip_prefix("err-"))?)?)?;
                let is_output = id.starts_with("out-");
                let is_in = |line: &Value| (line["response"]["status_code"] == 200) == is_output;
                let is_run = !batch.is_stuck;
                Some((200, lines(batch, |id, request| Some(openai_line(id, request, is_run)).filter(is_in))))
            }
            (BatchKind::Openai | BatchKind::Google, _, ["batches", id, rest @ ..])
            | (BatchKind::Mistral, _, ["batch", "jobs", id, rest @ ..])
            | (BatchKind::Anthropic, _, ["messages", "batches", id, rest @ ..]) => {
                let (id, action) = id.split_once(':').unwrap_or((id, rest.first().copied().unwrap_or_default()));
                let batch = self.batches.get_mut(number(id)?)?;
                batch.asked += 1;
                batch.is_cancelled |= action == "cancel";
                Some((200, self.show(kind, number(id)?).to_string()))
            }
            _ => {
                let error = words::error(&format!("there is nothing at {path}"), "not_found", None, None);
                Some((404, error.to_string()))
            }
        }
    }

    /// A batch as it is sent.
    fn read(&self, kind: BatchKind, new: &Value) -> Option<Taken> {
        let (name, lines) = match kind {
            BatchKind::Openai => {
                let file: usize = new["input_file_id"].as_str()?.strip_prefix("file-")?.parse().ok()?;
                let lines = self.files[file].lines().map(serde_json::from_str::<Value>).collect::<Result<_, _>>();
                let lines = Value::Array(lines.expect("each line of the file is JSON"));
                (&new["metadata"]["penstock_group"], items(&lines, |line| (&line["custom_id"], &line["body"])))
            }
            BatchKind::Mistral => {
                let lines = items(&new["requests"], |line| (&line["custom_id"], &line["body"]));
                (&new["metadata"]["penstock_group"], lines)
            }
            BatchKind::Anthropic => {
                (&Value::Null, items(&new["requests"], |line| (&line["custom_id"], &line["params"])))
            }
            BatchKind::Google => {
                let requests = &new["batch"]["inputConfig"]["requests"]["requests"];
                (&new["batch"]["displayName"], items(requests, |line| (&line["metadata"]["key"], &line["request"])))
            }
        };
        let (name, endpoint) = (name.clone(), new["endpoint"].clone());
        Some(Taken { name, endpoint, lines, asked: 0, is_cancelled: false, is_stuck: self.is_stuck })
    }

    fn list(&mut self, kind: BatchKind) -> Value {
        // Time passes for those, too, who can only look at the list.
        self.batches.iter_mut().for_each(|batch| batch.asked += 1);
        let all: Vec<Value> = (0..self.batches.len()).rev().map(|at| self.show(kind, at)).collect();
        match kind {
            BatchKind::Google => json!({ "operations": all }),
            _ => json!({ "object": "list", "data": all, "has_more": false, "total": all.len(), "last_id": null }),
        }
    }

    fn take(&mut self, kind: BatchKind, taken: Taken) -> Option<(u16, String)> {
        for (id, request) in &taken.lines {
            if !taken.is_stuck && !request.to_string().contains(EXPIRED) {
                *self.runs.entry(id.clone()).or_default() += 1;
            }
        }
        self.batches.push(taken);
        if self.unanswered > 0 {
            self.unanswered -= 1;
            return None;
        }
        Some((200, self.show(kind, self.batches.len() - 1).to_string()))
    }
}

impl Taken {
    /// 0: taken, 1: under way, 2: over.
    fn progress(&self) -> usize {
        match (self.is_cancelled, self.is_stuck) {
            (true, _) => 2,
            (false, true) => self.asked.min(1) as usize,
            (false, false) => self.asked.min(2) as usize,
        }
    }
}

fn number(id: &str) -> Option<usize> {
    id.strip_prefix("b-").unwrap_or(id).parse().ok()
}

fn items(list: &Value, of: impl Fn(&Value) -> (&Value, &Value)) -> Vec<(String, Value)> {
    let items = list.as_array().into_iter().flatten().map(|item| {
        let (id, request) = of(item);
        (id.as_str().unwrap_or_default().to_owned(), request.clone())
    });
    items.collect()
}

/// The lines in another order than they came.
fn lines(batch: &Taken, line: impl Fn(&str, &Value) -> Option<Value>) -> String {
    let written = |(id, request): &(String, Value)| {
        let mut line = line(id, request)?.to_string();
        if request.to_string().contains(GARBLED) {
            line.truncate(line.len() / 2);
        }
        Some(line + "\n")
    };
    batch.lines.iter().rev().filter_map(written).collect()
}
