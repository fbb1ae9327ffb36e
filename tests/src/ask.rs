//! The caller's side of one request, on a connection of its own.

use crate::answer::{Answer, Open};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};
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
    pub async fn open_on(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Open, hyper::Error> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // What goes wrong here is seen by whoever reads the answer.
            let _ = connection.await;
        });
        let (parts, body) = sender.send_request(self.request()).await?.into_parts();
        Ok(Open::new(parts, body, driver))
    }

    /// The same where an ingress may be dead: `None` then.
    pub async fn try_open(self) -> Option<Open> {
        let stream = TcpStream::connect(&self.address).await.ok()?;
        self.open_on(stream).await.ok()
    }

    /// Sends it and reads the answer as far as it goes, where an ingress may die: `None` without a head.
    pub async fn try_send(self) -> Option<Answer> {
        let open = timeout(crate::wait::LONG, self.try_open()).await.ok()??;
        let (status, headers) = (open.status, open.headers.clone());
        let (body, _) = timeout(crate::wait::LONG, open.until_the_end()).await.ok()?;
        Some(Answer { status, headers, body })
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

    /// What it sends.
    ///
    /// # Panics
    /// When HTTP cannot carry it.
    pub fn request(self) -> Request<Full<Bytes>> {
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
