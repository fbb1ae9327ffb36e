//! The provider `local`: a server on loopback that speaks OpenAI's dialect and embeds texts itself, with a small model on
//! this machine's CPU, so that what needs embeddings works without a provider. The pool calls it like any other one and does
//! not know that it is one of ours. Knows texts and vectors; knows nothing of what they are for.

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use penstock_local::{DIMENSIONS, Embedded, ModelError, SentenceModel};
use penstock_runtime::config::Section;
use penstock_runtime::{Life, Secret};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, Semaphore, oneshot};

/// Its name in the catalogue.
pub const NAME: &str = "local";

/// The section of the configuration that says where its model is.
pub const SECTION: &str = "local";

/// Its only model, which is also the name of the folder of its files.
pub const MODEL: &str = "all-MiniLM-L6-v2";

/// The most texts of a request: the catalogue says the same, so that longer lists are cut before they come here.
const TEXTS: usize = 64;

/// Where the model is, and how much of the machine it may take.
#[derive(Clone, Debug)]
pub struct LocalModel {
    /// The folder of its files.
    folder: PathBuf,
    /// Texts that are embedded at once, each on a thread of its own.
    threads: usize,
}

impl LocalModel {
    /// Reads the section `[local]`; `None` when the model is not there.
    pub fn read(section: &mut Section) -> Option<Self> {
        let usual = available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
        let threads = section.or("threads", usual);
        if !(1..=256).contains(&threads) {
            section.mistake("threads", "must be 1 to 256");
        }
        let folder = section.get::<PathBuf>("models")?.join(MODEL);
        SentenceModel::is_in(&folder).then_some(Self { folder, threads })
    }
}

/// What the server's requests share.
struct Shared {
    model: LocalModel,
    key: Secret,
    /// Read at the first request: most processes never need it.
    loaded: OnceCell<Arc<SentenceModel>>,
    threads: Arc<Semaphore>,
    life: Life,
}

/// Serves until the life ends; only who has the key is answered. Its base URL is `http://ADDRESS/v1`.
pub async fn serve(listener: TcpListener, model: LocalModel, key: Secret, life: Life) {
    let threads = Arc::new(Semaphore::new(model.threads));
    let shared = Arc::new(Shared { model, key, loaded: OnceCell::new(), threads, life: life.clone() });
    let router = Router::new()
        .route("/v1/embeddings", post(answer))
        .route("/v1/models", get(models))
        .layer(DefaultBodyLimit::disable()) // only the pool calls, and the ingress has a limit
        .with_state(shared);
    let listener = listener.tap_io(|connection| {
        // Without it an answer would wait for an acknowledgement; a failure only costs that.
        let _ = connection.set_nodelay(true);
    });
    let stop = async move { life.ended().await };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the local model has stopped");
    }
}

#[derive(Deserialize)]
struct EmbeddingRequest {
    model: String,
    input: Value,
    #[serde(default)]
    encoding_format: Option<String>,
    #[serde(default)]
    dimensions: Option<usize>,
}

/// The form of the numbers in the answer.
#[derive(Clone, Copy)]
enum Encoding {
    Numbers,
    Base64,
}

/// Why a request is refused: the status, the reason and the field.
type Refused = (StatusCode, String, Option<&'static str>);

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    match shared.answer(&headers, &body).await {
        Ok(answer) => respond(StatusCode::OK, &answer),
        Err((status, message, param)) => {
            let kind = if status.is_client_error() { "invalid_request_error" } else { "server_error" };
            let code = (status == StatusCode::NOT_FOUND).then_some("model_not_found");
            respond(status, &json!({"error": {"message": message, "type": kind, "param": param, "code": code}}))
        }
    }
}

fn respond(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn models() -> Json<Value> {
    let model = json!({"id": MODEL, "object": "model", "created": 0, "owned_by": NAME});
    Json(json!({"object": "list", "data": [model]}))
}

impl Shared {
    async fn answer(&self, headers: &HeaderMap, body: &Bytes) -> Result<Value, Refused> {
        let key = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if key != Some(self.key.reveal()) {
            return Err((StatusCode::UNAUTHORIZED, "The key is wrong.".to_owned(), None));
        }
        let (texts, encoding) = read(body)?;
        let model = self.load().await?;
        let embedded = stream::iter(texts).map(|text| self.embed(&model, text)).buffered(self.model.threads);
        let embedded: Vec<Option<Embedded>> = embedded.collect().await;
        let embedded: Option<Vec<Embedded>> = embedded.into_iter().collect();
        let stopped = || (StatusCode::SERVICE_UNAVAILABLE, "The worker is stopping.".to_owned(), None);
        Ok(spell(&embedded.ok_or_else(stopped)?, encoding))
    }

    /// The model, which the first request reads.
    async fn load(&self) -> Result<Arc<SentenceModel>, Refused> {
        let load = || async {
            let (send, receive) = oneshot::channel();
            let folder = self.model.folder.clone();
            self.life.blocking(move || drop(send.send(SentenceModel::open(&folder))));
            let opened: Result<SentenceModel, ModelError> =
                receive.await.map_err(|_| "the worker is stopping".to_owned())?.map_or_else(Err, Ok);
            opened.map(Arc::new).map_err(|error| error.to_string())
        };
        let failed = |message: String| {
            tracing::error!(message, "the local model cannot be read");
            (StatusCode::SERVICE_UNAVAILABLE, format!("The local model cannot be read: {message}"), None)
        };
        self.loaded.get_or_try_init(load).await.cloned().map_err(failed)
    }

    /// The vector of a text, as soon as a thread is free; `None` when the process stops before. A request whose caller has
    /// gone ends here, after the text that is being read.
    async fn embed(&self, model: &Arc<SentenceModel>, text: String) -> Option<Embedded> {
        let permit = self.threads.clone().acquire_owned().await.ok()?;
        let (send, receive) = oneshot::channel();
        let model = model.clone();
        self.life.blocking(move || {
            drop(send.send(model.embed(&text)));
            drop(permit);
        });
        receive.await.ok()
    }
}

/// The texts of a request, and how it wants the numbers.
fn read(body: &Bytes) -> Result<(Vec<String>, Encoding), Refused> {
    let wrong = |message: &str, param: &'static str| (StatusCode::BAD_REQUEST, message.to_owned(), Some(param));
    let unreadable = |error| (StatusCode::BAD_REQUEST, format!("The request cannot be read: {error}"), None);
    let request: EmbeddingRequest = serde_json::from_slice(body).map_err(unreadable)?;
    if request.model != MODEL {
        let message = format!("The model `{}` does not exist: there is {MODEL} alone.", request.model);
        return Err((StatusCode::NOT_FOUND, message, Some("model")));
    }
    if request.dimensions.is_some_and(|dimensions| dimensions != DIMENSIONS) {
        return Err(wrong(&format!("The model's vectors have {DIMENSIONS} dimensions."), "dimensions"));
    }
    let encoding = match request.encoding_format.as_deref() {
        None | Some("float") => Encoding::Numbers,
        Some("base64") => Encoding::Base64,
        Some(_) => return Err(wrong("It must be `float` or `base64`.", "encoding_format")),
    };
    let texts = match request.input {
        Value::String(text) => vec![text],
        input => serde_json::from_value::<Vec<String>>(input)
            .map_err(|_| wrong("The input must be a text or a list of texts: tokens are not read.", "input"))?,
    };
    if texts.is_empty() || texts.len() > TEXTS {
        return Err(wrong(&format!("There must be 1 to {TEXTS} texts."), "input"));
    }
    Ok((texts, encoding))
}

fn spell(embedded: &[Embedded], encoding: Encoding) -> Value {
    let spelled = |vector: &[f32]| match encoding {
        Encoding::Numbers => json!(vector),
        Encoding::Base64 => json!(STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())),
    };
    let data: Vec<Value> = embedded
        .iter()
        .enumerate()
        .map(|(index, one)| json!({"object": "embedding", "index": index, "embedding": spelled(&one.vector)}))
        .collect();
    let read: usize = embedded.iter().map(|one| one.tokens).sum();
    let usage = json!({"prompt_tokens": read, "total_tokens": read});
    json!({"object": "list", "data": data, "model": MODEL, "usage": usage})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(request: &Value) -> (u16, Option<&'static str>) {
        let (status, _, param) = read(&Bytes::from(request.to_string())).err().expect("it is refused");
        (status.as_u16(), param)
    }

    #[test]
    fn what_the_model_cannot_do_is_refused_by_the_fields_name() {
        let many = vec!["text"; TEXTS + 1];
        for (request, expected) in [
            (json!({"model": "other", "input": "a"}), (404, Some("model"))),
            (json!({"model": MODEL, "input": [1, 2]}), (400, Some("input"))),
            (json!({"model": MODEL, "input": []}), (400, Some("input"))),
            (json!({"model": MODEL, "input": many}), (400, Some("input"))),
            (json!({"model": MODEL, "input": "a", "dimensions": 256}), (400, Some("dimensions"))),
            (json!({"model": MODEL, "input": "a", "encoding_format": "hex"}), (400, Some("encoding_format"))),
            (json!({"input": "a"}), (400, None)),
        ] {
            assert_eq!(refused(&request), expected, "{request}");
        }
    }

    #[test]
    fn both_encodings_hold_the_same_numbers() {
        let embedded =
            [Embedded { vector: vec![0.5, -0.25], tokens: 3 }, Embedded { vector: vec![1.0, 0.0], tokens: 4 }];
        let numbers = spell(&embedded, Encoding::Numbers);
        let encoded = spell(&embedded, Encoding::Base64);
        assert_eq!(numbers["data"][0]["embedding"], json!([0.5, -0.25]));
        assert_eq!(encoded["data"][0]["embedding"], json!(STANDARD.encode([0, 0, 0, 63, 0, 0, 128, 190])));
        assert_eq!((&encoded["data"][1]["index"], &encoded["usage"]["prompt_tokens"]), (&json!(1), &json!(7)));
    }
}
