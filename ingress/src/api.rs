//! What the ingress answers, path by path. The handlers stand in the files below; those of the model calls
//! are all `pipeline::serve`.

mod admin;
mod batch_wishes;
mod batches;
mod completions;
mod conversations;
pub(crate) mod cors;
mod feedback;
mod files;
mod gemini_batches;
mod google;
mod google_files;
mod item_list;
mod job_stream;
mod jobs;
mod message_batches;
mod models;
mod ollama;
mod openapi;
mod operations;
mod realtime;
mod responses;
mod uploads;
mod usable;
mod wrong_hit;

use self::admin::live;
use crate::dashboard;
use crate::dialect;
use crate::http::aliases::{self, Deployment};
use crate::http::reply;
use crate::keys::grant::Grant;
use crate::pipeline;
use crate::refusal::Refusal;
use crate::stage::authenticate::Credentials;
use crate::state::Shared;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use futures_util::stream::{self, Stream, StreamExt};
use penstock_dialects::client::{Endpoint, Purpose};
use penstock_dialects::ollama::Method;
use penstock_runtime::clock;
use penstock_schemas::envelope::{Dialect, Operation};
use percent_encoding::percent_decode_str;
use std::io;
use tokio::select;

/// One path and method of clients, or of those who run it.
pub(crate) struct Client {
    path: &'static str,
    method: &'static str,
    summary: &'static str,
    /// Whether it wants no key.
    is_open: bool,
    handler: MethodRouter<Shared>,
}

impl Client {
    fn get(path: &'static str, summary: &'static str, handler: MethodRouter<Shared>) -> Self {
        Self { path, method: "get", summary, is_open: false, handler }
    }

    fn post(path: &'static str, summary: &'static str, handler: MethodRouter<Shared>) -> Self {
        Self { method: "post", ..Self::get(path, summary, handler) }
    }

    fn delete(path: &'static str, summary: &'static str, handler: MethodRouter<Shared>) -> Self {
        Self { method: "delete", ..Self::get(path, summary, handler) }
    }

    fn open(path: &'static str, summary: &'static str, handler: MethodRouter<Shared>) -> Self {
        Self { is_open: true, ..Self::get(path, summary, handler) }
    }
}

/// The client APIs.
fn clients() -> Vec<Client> {
    use Dialect::{Anthropic, Openai, Responses};
    use Operation as Op;
    let (openai, anthropic) = (|operation| ask(Openai, operation), |operation| ask(Anthropic, operation));
    vec![
        Client::post("/v1/chat/completions", "OpenAI's chat completions", openai(Op::Chat)),
        Client::post("/v1/messages", "Anthropic's messages", anthropic(Op::Chat)),
        Client::post("/v1/messages/count_tokens", "Anthropic's token count", anthropic(Op::CountTokens)),
        Client::post("/v1/completions", "OpenAI's completions", openai(Op::Completions)),
        Client::post("/v1/embeddings", "OpenAI's embeddings", openai(Op::Embeddings)),
        Client::post("/v1/moderations", "OpenAI's moderations", openai(Op::Moderations)),
        Client::post("/v1/images/generations", "OpenAI's images", openai(Op::Images)),
        Client::post("/v1/images/edits", "OpenAI's images of images", openai(Op::ImageEdits)),
        Client::post("/v1/images/variations", "OpenAI's images like an image", openai(Op::ImageVariations)),
        Client::post("/v1/audio/speech", "OpenAI's speech", openai(Op::Speech)),
        Client::post("/v1/audio/transcriptions", "OpenAI's transcriptions", openai(Op::Transcriptions)),
        Client::post("/v1/audio/translations", "OpenAI's translations", openai(Op::Translations)),
        Client::post("/v1/rerank", "Cohere's rerank", openai(Op::Rerank)),
        Client::post("/v2/rerank", "Cohere's rerank", openai(Op::Rerank)),
        Client::post("/v1/responses", "OpenAI's responses", ask(Responses, Op::Chat)),
        Client::post("/v1/responses/compact", "A conversation as one item", compact()),
        Client::post("/v1/responses/input_tokens", "What a response would read", ask(Responses, Op::CountTokens)),
        Client::get("/v1/responses/{id}", "A kept response", get(responses::show)),
        Client::delete("/v1/responses/{id}", "Forgets a kept response", delete(responses::forget)),
        Client::get("/v1/responses/{id}/input_items", "What it answers", get(responses::items)),
        Client::post("/v1/responses/{id}/cancel", "Ends one in the background", post(responses::cancel)),
        Client::get("/v1/realtime", "OpenAI's sessions: a WebSocket", get(realtime::connect)),
        Client::post("/v1/realtime", "OpenAI's session by WebRTC: refused", post(realtime::other_ways)),
        Client::post("/v1/realtime/{*other}", "OpenAI's other ways to a session: refused", post(realtime::other_ways)),
        Client::post("/v1/feedback", "What somebody thinks of an answer", post(feedback::create)),
        Client::get("/v1/models", "The models that the key may use", get(models::list)),
        Client::get("/v1/models/{*model}", "One model", get(models::show)),
        Client::post("/v1/models/{*model}", "Google's generateContent and others", post(google::call)),
        Client::post("/api/chat", "Ollama's chat", ollama::ask(Method::Chat)),
        Client::post("/api/generate", "Ollama's completion of a prompt", ollama::ask(Method::Generate)),
        Client::post("/api/embed", "Ollama's embeddings", ollama::ask(Method::Embed)),
        Client::post("/api/embeddings", "Ollama's older embeddings", ollama::ask(Method::Embeddings)),
        Client::get("/api/tags", "The models, as Ollama lists them", get(ollama::tags)),
        Client::post("/api/show", "One model, as Ollama shows it", post(ollama::show)),
        Client::get("/api/ps", "The models that Ollama has loaded: none", get(ollama::running)),
        Client::get("/v1beta/models", "The models, as Google lists them", get(google::list)),
        Client::get("/v1beta/models/{*model}", "One model, as Google shows it", get(google::show)),
        Client::post("/v1beta/models/{*model}", "Google's generateContent and others", post(google::call)),
    ]
}

/// What callers leave here and come back for: files, batches, jobs.
fn kept() -> Vec<Client> {
    vec![
        Client::get("/v1/files", "The files that the project keeps", get(files::list)),
        Client::post("/v1/files", "Keeps a file", post(files::create)),
        Client::get("/v1/files/{id}", "What is known of a file", get(files::show)),
        Client::delete("/v1/files/{id}", "Removes a file", delete(files::delete)),
        Client::get("/v1/files/{id}/content", "All of a file", get(files::download)),
        Client::post("/v1/uploads", "Begins a file that arrives in parts", post(uploads::create)),
        Client::post("/v1/uploads/{id}/parts", "Takes a part", post(uploads::add_part)),
        Client::post("/v1/uploads/{id}/complete", "Makes a file of the parts", post(uploads::complete)),
        Client::post("/v1/uploads/{id}/cancel", "Ends an upload without a file", post(uploads::cancel)),
        Client::post("/v1/batches", "A batch begins", post(batches::create)),
        Client::get("/v1/batches", "The batches of a project", get(batches::list)),
        Client::get("/v1/batches/{id}", "One batch", get(batches::show)),
        Client::post("/v1/batches/{id}/cancel", "A batch is to stop", post(batches::cancel)),
        Client::post("/v1/messages/batches", "Anthropic's message batches", post(message_batches::create)),
        Client::get("/v1/messages/batches", "Those of a project", get(message_batches::list)),
        Client::get("/v1/messages/batches/{id}", "One of them", get(message_batches::show)),
        Client::delete("/v1/messages/batches/{id}", "Removes one", delete(message_batches::delete)),
        Client::post("/v1/messages/batches/{id}/cancel", "It is to stop", post(message_batches::cancel)),
        Client::get("/v1/messages/batches/{id}/results", "Its results", get(message_batches::results)),
        Client::get("/v1beta/batches", "Gemini's batches of a project", get(gemini_batches::list)),
        Client::get("/v1beta/batches/{id}", "One of them, with its answers", get(gemini_batches::show)),
        Client::post("/v1beta/batches/{id}", "With `:cancel`: it is to stop", post(gemini_batches::act)),
        Client::delete("/v1beta/batches/{id}", "Removes one", delete(gemini_batches::delete)),
        Client::post("/upload/v1beta/files", "A file for Google's clients, in pieces", post(google_files::upload)),
        Client::get("/v1beta/files", "The files, as Google lists them", get(google_files::list)),
        Client::get("/v1beta/files/{id}", "One; with `:download`, a batch's answers", get(google_files::show)),
        Client::delete("/v1beta/files/{id}", "Removes a file", delete(google_files::delete)),
        Client::get("/v1/chat/completions", "Those that are stored", get(completions::show_all)),
        Client::get("/v1/chat/completions/{id}", "One of them", get(completions::show)),
        Client::post("/v1/chat/completions/{id}", "Gives it other metadata", post(completions::update)),
        Client::delete("/v1/chat/completions/{id}", "Forgets it", delete(completions::delete)),
        Client::get("/v1/chat/completions/{id}/messages", "What it answers", get(completions::messages)),
        Client::post("/v1/conversations", "A conversation begins", post(conversations::create)),
        Client::get("/v1/conversations/{id}", "One conversation", get(conversations::show)),
        Client::post("/v1/conversations/{id}", "Gives it other metadata", post(conversations::update)),
        Client::delete("/v1/conversations/{id}", "Forgets it", delete(conversations::delete)),
        Client::post("/v1/conversations/{id}/items", "Adds items to it", post(conversations::add_items)),
        Client::get("/v1/conversations/{id}/items", "What was said in it", get(conversations::items)),
        Client::get("/v1/conversations/{id}/items/{item_id}", "One item of it", get(conversations::show_item)),
        Client::delete("/v1/conversations/{id}/items/{item_id}", "Forgets an item", delete(conversations::delete_item)),
        Client::get("/v1/jobs", "The requests of a project that are answered later", get(jobs::list)),
        Client::get("/v1/jobs/{id}", "A request that is answered later", get(jobs::show)),
        Client::delete("/v1/jobs/{id}", "Forgets one", delete(jobs::forget)),
        Client::post("/v1/jobs/{id}/cancel", "Ends one", post(jobs::cancel)),
    ]
}

/// Of the paths without a key, those that callers have no business with: see `[ingress] admin_listen`.
const OPERATORS: [&str; 2] = ["/", "/metrics"];

/// For those who run it: without a key.
fn operations() -> Vec<Client> {
    vec![
        Client::open("/", "What is here; for a browser, the dashboard", get(operations::front)),
        Client::open("/v1", "What is here", get(operations::hint)),
        Client::open("/api/version", "The version of Ollama's API", get(ollama::version)),
        Client::open("/health", "The process is alive", get(operations::health)),
        Client::open("/ready", "It can serve, or why not", get(operations::ready)),
        Client::open(
            "/metrics",
            "For Prometheus; with an admin key, unless `[ingress] metrics` says otherwise",
            get(operations::metrics),
        ),
    ]
}

/// The paths for callers, where operators have a listener of their own.
pub(crate) fn callers_router(ingress: Shared) -> Router {
    let is_operators = |client: &Client| OPERATORS.contains(&client.path);
    let open = operations().into_iter().filter(|client| !is_operators(client));
    let open = open.fold(Router::new(), |router, client| router.route(client.path, client.handler));
    let api = clients().into_iter().chain(kept());
    let api = api.fold(Router::new(), |router, client| router.route(client.path, client.handler));
    finish(open, api, ingress)
}

/// All paths.
pub(crate) fn router(ingress: Shared) -> Router {
    let (clients, operations, managed) = (clients(), operations(), admin::routes::routes());
    let all: Vec<Client> = clients.into_iter().chain(kept()).chain(operations).collect();
    let document = openapi::document(&all, &managed).to_string();
    let described = get(async move |State(ingress): State<Shared>, shown: Credentials| {
        match operations::may_read_document(&ingress, &shown).await {
            Ok(()) => ([(CONTENT_TYPE, "application/json")], document.clone()).into_response(),
            Err(refusal) => reply::refuse(Dialect::Openai, &refusal, clock::request_id()),
        }
    });
    let (open, clients): (Vec<Client>, Vec<Client>) = all.into_iter().partition(|client| client.is_open);
    let join = |router: Router<Shared>, client: Client| router.route(client.path, client.handler);
    let api = managed.iter().fold(Router::new(), |router, route| router.route(&route.path, admin::serve(route)));
    // No client of the document could read it: it is a stream, and never ends by itself.
    let api = clients.into_iter().fold(api, join).route("/admin/v1/activity/stream", get(live::activity));
    let open = open.into_iter().fold(Router::new(), join).route("/openapi.json", described);
    finish(open.merge(dashboard::router()), api, ingress)
}

/// Puts together what is always answered and what is refused while the process stops.
fn finish(open: Router<Shared>, api: Router<Shared>, ingress: Shared) -> Router {
    let api = api
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .layer(from_fn(refuse_unreadable_path))
        .layer(from_fn_with_state(ingress.clone(), refuse_while_stopping));
    let all = open.merge(api);
    if ingress.config.cors.is_empty() {
        return all.with_state(ingress);
    }
    all.layer(from_fn_with_state(ingress.clone(), cors::allow)).with_state(ingress)
}

/// The one path of a listener that serves metrics alone.
pub(crate) fn metrics_router(ingress: Shared) -> Router {
    Router::new().route("/metrics", get(operations::exposition)).fallback(unknown_path).with_state(ingress)
}

/// The pipeline, for one path.
fn ask(dialect: Dialect, operation: Operation) -> MethodRouter<Shared> {
    post(move |State(ingress): State<Shared>, request: Request| async move {
        let model = request.extensions().get().map(|Deployment(name)| name.clone());
        pipeline::serve(ingress, Endpoint { model, ..Endpoint::new(dialect, operation) }, request).await
    })
}

/// The pipeline, for a conversation that is to be summed up.
fn compact() -> MethodRouter<Shared> {
    post(|State(ingress): State<Shared>, request: Request| async {
        let endpoint = Endpoint::new(Dialect::Responses, Operation::Chat);
        pipeline::serve(ingress, Endpoint { purpose: Purpose::Compaction, ..endpoint }, request).await
    })
}

/// New requests are refused while those in flight finish; the connection is closed, so that the next one goes elsewhere.
async fn refuse_while_stopping(State(ingress): State<Shared>, request: Request, next: Next) -> Response {
    if !ingress.life.is_stopping() {
        return next.run(request).await;
    }
    let dialect = dialect::of_path(request.uri().path());
    let mut response = reply::refuse(dialect, &Refusal::Draining, clock::request_id());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Names in paths are text: where they are none, there is nothing.
async fn refuse_unreadable_path(request: Request, next: Next) -> Response {
    let is_text = percent_decode_str(request.uri().path()).decode_utf8().is_ok();
    if is_text { next.run(request).await } else { unknown_path(request).await }
}

async fn unknown_path(request: Request) -> Response {
    let (dialect, path) = (dialect::of_request(&request), aliases::written(&request).into_owned());
    reply::refuse(dialect, &Refusal::UnknownPath(path), clock::request_id())
}

async fn wrong_method(request: Request) -> Response {
    let (method, path) = (request.method().to_string(), aliases::written(&request).into_owned());
    let dialect = dialect::of_request(&request);
    let is_upgrade = request.headers().get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if is_upgrade {
        // Clients that prefer a WebSocket try a 405 again, and go on over HTTP after this.
        let mut response = reply::refuse(dialect, &Refusal::NoWebSocket(path), clock::request_id());
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("HTTP/1.1"));
        return response;
    }
    reply::refuse(dialect, &Refusal::WrongMethod { method, path }, clock::request_id())
}

/// Lines for as long as their reader may have them.
fn while_granted(
    lines: impl Stream<Item = io::Result<String>> + Send + 'static,
    grant: Grant,
) -> impl Stream<Item = io::Result<String>> + Send {
    stream::unfold((lines.boxed(), grant), |(mut lines, mut grant)| async move {
        let next = select! {
            biased;
            _ = grant.over() => Err(io::Error::other("the key holds no longer")),
            next = lines.next() => next?,
        };
        Some((next, (lines, grant)))
    })
}
