//! The paths of Ollama's API, for programs that know no other. Around OpenAI's path: its requests become OpenAI's once they
//! are read, under the same limits, and OpenAI's answers become its own. Source: <https://docs.ollama.com/api>.

use super::usable::{allowed, find};
use crate::http::body::read_small_json;
use crate::http::reply;
use crate::models::Listed;
use crate::pipeline;
use crate::refusal::Refusal;
use crate::stage::authenticate::Credentials;
use crate::state::Shared;
use crate::status;
use axum::body::{Body, BodyDataStream, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use penstock_dialects::client::{Endpoint, Translate, WrongRequest, own_words};
use penstock_dialects::ollama::{self, Answers, LineWriter, Method};
use penstock_runtime::{clock, heavy};
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::hex;
use penstock_schemas::sse::{self, EVENT_BYTES};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The version of the API that is spoken here: programs ask for a least one.
const VERSION: &str = "0.12.6";

/// The longest whole answer, in bytes, as in the workers.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// The pipeline, for one of Ollama's endpoints.
pub(super) fn ask(method: Method) -> MethodRouter<Shared> {
    let (operation, translate): (_, Translate) = match method {
        Method::Chat => (Operation::Chat, ollama::chat),
        Method::Generate => (Operation::Chat, ollama::generate),
        Method::Embed => (Operation::Embeddings, ollama::embed),
        Method::Embeddings => (Operation::Embeddings, ollama::embeddings),
    };
    post(move |State(ingress): State<Shared>, mut request: Request| async move {
        // Ollama takes any; the examples of its documentation are sent as forms.
        request.headers_mut().remove(CONTENT_TYPE);
        let endpoint = Endpoint { translate: Some(translate), ..Endpoint::new(Dialect::Openai, operation) };
        let (answers, lines) = (Answers::new(method, clock::now), LineWriter::new(method, clock::now));
        let response = pipeline::serve(ingress, endpoint, request).await;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if response.status() != status::ANSWERED {
            in_its_words(response).await
        } else if kind.starts_with("text/event-stream") {
            as_lines(response, lines)
        } else {
            whole(response, &answers).await
        }
    })
}

/// `GET /api/version`: which programs ask before they have a key.
pub(super) async fn version() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], json!({ "version": VERSION }).to_string())
}

/// `GET /api/tags`: the models that the key may use.
pub(super) async fn tags(State(ingress): State<Shared>, credentials: Credentials) -> Response {
    let listed = credentials.find_key(&ingress).await.map(|key| {
        let models = allowed(&ingress, &key).into_iter();
        json!({ "models": models.map(|model| tag(&model)).collect::<Vec<_>>() })
    });
    respond(listed).await
}

/// `GET /api/ps`: nothing is loaded here.
pub(super) async fn running(State(ingress): State<Shared>, credentials: Credentials) -> Response {
    respond(credentials.find_key(&ingress).await.map(|_| json!({ "models": [] }))).await
}

/// `POST /api/show`: one model.
pub(super) async fn show(State(ingress): State<Shared>, credentials: Credentials, request: Request) -> Response {
    #[derive(Deserialize)]
    struct Named {
        #[serde(alias = "name")]
        model: String,
    }
    let shown = async {
        let key = credentials.find_key(&ingress).await?;
        let (mut parts, body) = request.into_parts();
        parts.headers.remove(CONTENT_TYPE);
        let (body, _memory) = read_small_json(&parts.headers, body, &ingress.config, &ingress.memory).await?;
        let named: Named = serde_json::from_slice(&body)
            .map_err(|error| Refusal::Wrong(WrongRequest::InvalidJson(error.to_string())))?;
        Ok(described(&find(&ingress, &key, &named.model)?))
    };
    respond(shown.await).await
}

async fn respond(result: Result<Value, Refusal>) -> Response {
    let id = clock::request_id();
    match result {
        Ok(value) => reply::json(&value, id),
        Err(refusal) => in_its_words(reply::refuse(Dialect::Openai, &refusal, id)).await,
    }
}

/// A model as the list has it. Sizes and quantizations are of no model here.
fn tag(listed: &Listed) -> Value {
    let digest = hex::write(&Sha256::digest(&listed.name));
    json!({
        "name": listed.name,
        "model": listed.name,
        "modified_at": super::models::day(&listed.name),
        "size": 0,
        "digest": digest,
        "details": details(listed),
    })
}

fn details(listed: &Listed) -> Value {
    let family = listed.provider.as_deref().unwrap_or("penstock");
    json!({ "parent_model": "", "format": "", "family": family, "families": [family], "parameter_size": "", "quantization_level": "" })
}

/// A model with what it can do.
fn described(listed: &Listed) -> Value {
    let card = listed.model.as_ref();
    let can = |word: &str| card.is_none_or(|card| card.capabilities.iter().any(|capability| capability == word));
    let capabilities = match card.map(|card| card.mode.as_str()) {
        Some("embedding") => vec!["embedding"],
        _ => {
            let words = [("tools", "tools"), ("vision", "vision"), ("reasoning", "thinking")];
            let more = words.into_iter().filter(|(word, _)| can(word)).map(|(_, name)| name);
            std::iter::once("completion").chain(more).collect()
        }
    };
    let family = listed.provider.as_deref().unwrap_or("penstock");
    let mut known = json!({ "general.architecture": family, "general.basename": listed.name });
    if let Some(context) = card.and_then(|card| card.context) {
        known[format!("{family}.context_length")] = context.into();
    }
    json!({
        "modelfile": "", "parameters": "", "template": "", "details": details(listed), "model_info": known,
        "capabilities": capabilities, "modified_at": super::models::day(&listed.name),
    })
}

/// A refusal in Ollama's words.
async fn in_its_words(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let body = to_bytes(body, ANSWER_BYTES).await.unwrap_or_default();
    let read: Value = serde_json::from_slice(&body).unwrap_or_default();
    head.headers.remove(CONTENT_LENGTH);
    let error = &read["error"];
    let message = error["message"].as_str().unwrap_or("it failed");
    let message = own_words::for_ollama(message, error["param"].as_str().unwrap_or_default());
    Response::from_parts(head, Body::from(ollama::error(&message)))
}

async fn whole(response: Response, answers: &Answers) -> Response {
    let (mut head, body) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    let written = match to_bytes(body, ANSWER_BYTES).await {
        Ok(body) => heavy(body.len(), || answers.whole(&body)).await,
        Err(error) => Err(format!("the answer broke off: {error}")),
    };
    match written {
        Ok(written) => Response::from_parts(head, Body::from(written)),
        Err(why) => {
            let failure = Failure::provider(FailureKind::Broken, why);
            in_its_words(reply::refuse(Dialect::Openai, &failure.into(), clock::request_id())).await
        }
    }
}

/// A stream on its way into lines.
struct Writing {
    stream: BodyDataStream,
    events: sse::Parser,
    lines: LineWriter,
}

/// The events of a stream as lines, each as soon as it is there.
fn as_lines(response: Response, lines: LineWriter) -> Response {
    let (mut head, body) = response.into_parts();
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    let writing = Writing { stream: body.into_data_stream(), events: sse::Parser::new(EVENT_BYTES), lines };
    let lines = stream::unfold(Some(writing), |writing| async move {
        let mut writing = writing?;
        match writing.stream.next().await {
            Some(Err(error)) => Some((Err(error), None)),
            Some(Ok(bytes)) => {
                let out = writing.next(&bytes);
                Some((Ok(out), Some(writing)))
            }
            None => Some((Ok(writing.end()), None)),
        }
    });
    let lines = lines.filter(|line| std::future::ready(line.as_ref().map_or(true, |bytes: &Bytes| !bytes.is_empty())));
    Response::from_parts(head, Body::from_stream(lines))
}

impl Writing {
    fn next(&mut self, bytes: &Bytes) -> Bytes {
        self.events.push(bytes);
        let mut out = Vec::new();
        // An event that is too long was refused by the worker before.
        while let Ok(Some(event)) = self.events.next_event() {
            self.lines.chunk(event.data.trim_ascii(), &mut out);
        }
        out.into()
    }

    fn end(&mut self) -> Bytes {
        let mut out = Vec::new();
        if let Ok(Some(event)) = self.events.finish() {
            self.lines.chunk(event.data.trim_ascii(), &mut out);
        }
        self.lines.end(&mut out);
        out.into()
    }
}
