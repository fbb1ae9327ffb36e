//! A receiver of traces as the test has it: OTLP over HTTP or gRPC, decoded with the protocol's own types. Keeps what it was
//! sent, and may hang or refuse instead. Knows nothing of Penstock.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How a receiver speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otlp {
    /// `http/protobuf`.
    Http,
    /// `grpc`.
    Grpc,
}

/// How a receiver answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It takes everything.
    Takes,
    /// It never answers.
    Hangs,
}

/// A span, as a test looks at it.
#[derive(Clone, Debug)]
pub struct SeenSpan {
    /// Its trace, in hexadecimal digits.
    pub trace_id: String,
    /// Its id.
    pub id: String,
    /// Its parent; empty: none.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// Its kind, as the protocol numbers it: 1 internal, 2 server, 3 client.
    pub kind: i32,
    /// Whether its status is an error.
    pub is_error: bool,
    /// What it says.
    pub attributes: Map<String, Value>,
    /// What its resource says.
    pub resource: Map<String, Value>,
    /// When it began, in nanoseconds.
    pub start: u64,
    /// When it ended.
    pub end: u64,
}

#[derive(Debug, Default)]
struct Taken {
    spans: Vec<SeenSpan>,
    requests: usize,
    headers: Vec<HeaderMap>,
    messages: Vec<Bytes>,
}

/// The server. Dropping it ends it.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
    _server: JoinSet<()>,
}

impl Collector {
    /// Starts one.
    ///
    /// # Panics
    /// When the machine has no port for it.
    pub async fn start(otlp: Otlp, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the machine has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let taken = Arc::<Mutex<Taken>>::default();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, otlp, manner, taken.clone()));
        Self { address, taken, _server: server }
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that it was sent.
    pub fn spans(&self) -> Vec<SeenSpan> {
        self.taken().spans.clone()
    }

    /// The messages themselves, as they came.
    pub fn messages(&self) -> Vec<Bytes> {
        self.taken().messages.clone()
    }

    /// How often it was asked.
    pub fn requests(&self) -> usize {
        self.taken().requests
    }

    /// A header of the first request.
    pub fn header(&self, name: &str) -> String {
        let taken = self.taken();
        let value = taken.headers.first().and_then(|headers| headers.get(name)).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: TcpListener, otlp: Otlp, manner: Manner, taken: Arc<Mutex<Taken>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let taken = taken.clone();
        let service = service_fn(move |request| answer(request, otlp, manner, taken.clone()));
        let stream = TokioIo::new(stream);
        // A connection that breaks is made anew by who needs it.
        match otlp {
            Otlp::Http => connections.spawn(async move {
                let _ = http1::Builder::new().serve_connection(stream, service).await;
            }),
            Otlp::Grpc => connections.spawn(async move {
                let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await;
            }),
        };
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(
    request: Request<Incoming>,
    otlp: Otlp,
    manner: Manner,
    taken: Arc<Mutex<Taken>>,
) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let message = match otlp {
        Otlp::Http => body,
        // A flag, the length, the message.
        Otlp::Grpc => body.slice(5.min(body.len())..),
    };
    let decoded = ExportTraceServiceRequest::decode(message.clone());
    {
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.requests += 1;
        taken.headers.push(head.headers);
        taken.messages.push(message);
        if manner == Manner::Takes {
            taken.spans.extend(decoded.iter().flat_map(spans));
        }
    }
    if manner == Manner::Hangs {
        std::future::pending::<()>().await;
    }
    if decoded.is_err() {
        let mut refused = Response::new(Full::new(Bytes::new()).boxed());
        *refused.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(refused);
    }
    Ok(accepted(otlp))
}

fn accepted(otlp: Otlp) -> Answer {
    let message = ExportTraceServiceResponse::default().encode_to_vec();
    match otlp {
        Otlp::Http => {
            let mut answer = Response::new(Full::new(Bytes::from(message)).boxed());
            answer.headers_mut().insert("content-type", HeaderValue::from_static("application/x-protobuf"));
            answer
        }
        Otlp::Grpc => {
            let length = u32::try_from(message.len()).expect("it is short").to_be_bytes();
            let framed = [&[0][..], &length, &message].concat();
            let trailers =
                HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
            let frames = [Ok(Frame::data(Bytes::from(framed))), Ok(Frame::trailers(trailers))];
            let mut answer = Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed());
            answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            answer
        }
    }
}

fn spans(request: &ExportTraceServiceRequest) -> Vec<SeenSpan> {
    let mut all = Vec::new();
    for resource in &request.resource_spans {
        let of_resource = resource.resource.as_ref().map(|resource| attributes(&resource.attributes));
        let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
        all.extend(spans.map(|span| seen(span, of_resource.clone().unwrap_or_default())));
    }
    all
}

fn seen(span: &Span, resource: Map<String, Value>) -> SeenSpan {
    SeenSpan {
        trace_id: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name.clone(),
        kind: span.kind,
        is_error: span.status.as_ref().is_some_and(|status| status.code == 2),
        attributes: attributes(&span.attributes),
        resource,
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
    }
}

fn attributes(all: &[KeyValue]) -> Map<String, Value> {
    all.iter().map(|one| (one.key.clone(), value(one.value.as_ref()))).collect()
}

fn value(value: Option<&AnyValue>) -> Value {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(is)) => json!(is),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::ArrayValue(list)) => list.values.iter().map(|one| self::value(Some(one))).collect(),
        _ => Value::Null,
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}
