//! The caller: one request on a connection of its own, read whole or piece by piece. Dropping what is not read hangs up.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use std::pin::Pin;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A request that is yet to be sent. Awaiting it gives the whole answer.
#[derive(Clone, Debug)]
pub struct Ask {
    address: String,
    method: Method,
    path: String,
    headers: HeaderMap,
    fields: Map<String, Value>,
    body: Option<Bytes>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// An answer that has begun. Dropping it hangs up.
#[derive(Debug)]
pub struct Open {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Incoming,
    _connection: JoinSet<()>,
}

impl Ask {
    pub(crate) fn chat(url: &str, key: &str, model: &str) -> Self {
        let mut ask = Self::get(url, "/v1/chat/completions").key(key).header("content-type", "application/json");
        ask.method = Method::POST;
        ask.field("model", json!(model)).field("messages", json!([{ "role": "user", "content": "Hello!" }]))
    }

    pub(crate) fn get(url: &str, path: &str) -> Self {
        let address = url.strip_prefix("http://").expect("the gateway's URL begins with http://").to_owned();
        let (headers, fields) = (HeaderMap::new(), Map::new());
        Self { address, method: Method::GET, path: path.to_owned(), headers, fields, body: None }
    }

    /// With another method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// To another path.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// To another ingress.
    #[must_use]
    pub fn at(mut self, address: &str) -> Self {
        address.clone_into(&mut self.address);
        self
    }

    /// With this header; an empty value takes it away.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if value.is_empty() {
            self.headers.remove(name);
        } else {
            let value = HeaderValue::from_str(value).expect("a test names a value that HTTP can carry");
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// With another key.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// With this field in the body.
    #[must_use]
    pub fn field(mut self, name: &str, value: Value) -> Self {
        self.fields.insert(name.to_owned(), value);
        self
    }

    /// As a stream.
    #[must_use]
    pub fn stream(self) -> Self {
        self.field("stream", json!(true))
    }

    /// With exactly this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends it, and waits for the head of the answer.
    ///
    /// # Panics
    /// When there is none: a gateway never leaves a request unanswered.
    pub async fn open(self) -> Open {
        let stream = TcpStream::connect(&self.address).await.expect("the gateway takes connections");
        self.open_on(stream).await.expect("the gateway answers")
    }

    /// Sends it over a connection of the test's own.
    ///
    /// # Errors
    /// When the connection ends before the head of the answer is there.
    pub async fn open_on(self, stream: TcpStream) -> Result<Open, hyper::Error> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // What goes wrong here is seen by whoever reads the answer.
            let _ = connection.await;
        });
        let (parts, body) = sender.send_request(self.request()).await?.into_parts();
        Ok(Open { status: parts.status, headers: parts.headers, body, _connection: driver })
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Panics
    /// When the answer does not come, or breaks off.
    pub async fn send(self) -> Answer {
        let what = format!("{} {}", self.method, self.path);
        let answer = timeout(crate::wait::LONG, async { self.open().await.rest().await }).await;
        answer.unwrap_or_else(|_| panic!("no whole answer to {what}"))
    }

    /// The bytes that it sends as its body.
    pub fn bytes(&self) -> Bytes {
        match &self.body {
            Some(body) => body.clone(),
            None if self.fields.is_empty() => Bytes::new(),
            None => Value::Object(self.fields.clone()).to_string().into(),
        }
    }

    fn request(self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.bytes()));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.path.parse().expect("a test names a path that HTTP can carry");
        *request.headers_mut() = self.headers;
        request
            .headers_mut()
            .insert("host", HeaderValue::from_str(&self.address).expect("an address is a header value"));
        request
    }
}

impl IntoFuture for Ask {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl Open {
    /// The next bytes; `None` at the end.
    ///
    /// # Panics
    /// When the connection breaks.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            let frame = self.body.frame().await?.expect("the gateway never breaks an answer off without a word");
            if let Ok(bytes) = frame.into_data() {
                return Some(bytes);
            }
        }
    }

    /// Reads until `words` have come, and gives all that was read.
    ///
    /// # Panics
    /// When the answer ends before.
    pub async fn until(&mut self, words: &str) -> String {
        let mut text = String::new();
        while !text.contains(words) {
            let bytes = self.next().await.unwrap_or_else(|| panic!("`{words}` never came, only: {text}"));
            text += &String::from_utf8_lossy(&bytes);
        }
        text
    }

    /// Reads to the end.
    pub async fn rest(mut self) -> Answer {
        let mut body = BytesMut::new();
        while let Some(bytes) = self.next().await {
            body.extend_from_slice(&bytes);
        }
        Answer { status: self.status, headers: self.headers, body: body.freeze() }
    }
}

impl Answer {
    /// The body as text.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.raw()))
    }

    /// What the model said, whole or streamed.
    ///
    /// # Panics
    /// When the answer is an error.
    pub fn text(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.raw());
        if !self.header("content-type").starts_with("text/event-stream") {
            return self.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        }
        let pieces = self.events().into_iter().map(|event| {
            assert!(event["error"].is_null(), "{event}");
            event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
        });
        pieces.collect()
    }

    /// The events of a stream, without `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        let raw = self.raw();
        let data = raw.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).expect("an event is JSON"))
            .collect()
    }

    /// A header as text; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A refusal in short: status, type, code, and the field in brackets, such as
    /// `400 invalid_request_error missing_required_parameter (model)`.
    ///
    /// # Panics
    /// When it is not in OpenAI's shape, or does not name its request in the body and in both headers.
    pub fn error(&self) -> String {
        let body = self.json();
        let error = &body["error"];
        assert_eq!(self.header("content-type"), "application/json");
        let id = error["request_id"].as_str().unwrap_or_default();
        assert_eq!(id.len(), 36, "no request id: {body}");
        assert_eq!([self.header("x-request-id"), self.header("x-penstock-request-id")], [id, id]);
        assert!(!self.message().is_empty(), "no message: {body}");
        format!("{} {}", self.status.as_u16(), in_short(error))
    }

    /// What a refusal says.
    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// An error object in OpenAI's shape as `type code (param)`.
///
/// # Panics
/// When it has not all four of OpenAI's fields, or others than ours besides.
pub fn in_short(error: &Value) -> String {
    let fields: Vec<&str> = error.as_object().expect("an error is an object").keys().map(String::as_str).collect();
    assert_eq!(fields, ["message", "type", "param", "code", "request_id"], "{error}");
    let class = error["type"].as_str().expect("an error has a type");
    let mut text = format!("{class} {}", error["code"].as_str().unwrap_or("-"));
    if let Some(param) = error["param"].as_str() {
        text += &format!(" ({param})");
    }
    text
}
