//! How a session at a provider begins: the WebSocket, by the same client, addresses and keys as every call, and the
//! provider's first word. Nothing of it costs anything.

use super::super::Call;
use super::super::attempt::cannot_speak;
use crate::exchange::{Attempt, Clocks, Report, Stop, describe, read_refusal};
use crate::limits::Pick;
use crate::providers::{Adapter, ErrorResponse, Outgoing, quota};
use crate::sink::FrameSink;
use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue};
use penstock_dialects::openai::realtime::{ServerEvent, read_server};
use penstock_runtime::websocket::{accept_key, new_key};
use penstock_runtime::{Secret, clock};
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::message::MESSAGE_BYTES;
use penstock_schemas::plan::Link;
use reqwest::{Response, StatusCode, Upgraded};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// A connection to the provider.
pub(super) type Socket = WebSocketStream<Upgraded>;

fn failed(kind: FailureKind, message: impl Into<String>) -> Stop {
    Stop::Failed(Failure::provider(kind, message))
}

impl<S: FrameSink> Call<S> {
    /// Opens a session; gives what the provider says first.
    pub(super) async fn open(
        &mut self,
        (link, key): (&Link, &Pick),
        clocks: &Clocks,
        report: &mut Report,
    ) -> Result<(Socket, Bytes), Stop> {
        let until = Instant::now() + clocks.first_token.min(clocks.total);
        let provider = self.context.provider.clone();
        let late = || failed(FailureKind::Timeout, format!("{} did not open a session in time", link.target));
        let speaks = provider.speak(Dialect::Openai, true, (Operation::Realtime, provider.model(&link.target.model)));
        let Some((adapter, _)) = speaks else { return Err(cannot(&link.target)) };
        let secret = self.sink.wait(timeout_at(until, provider.secret(key))).await.ok_or(Stop::Cancelled)?;
        let secret = secret.map_err(|_| late())?.map_err(Stop::Failed)?;
        report.key.clone_from(&secret);
        let challenge = new_key();
        let request = self.spell_opening(link, (adapter, secret.as_ref()), &challenge).map_err(Stop::Failed)?;
        let client = provider.session_client();
        let client = client.map_err(|error| failed(FailureKind::Internal, describe(&error)))?;
        let sending = client.get(request.url).headers(request.headers).send();
        let response = self.sink.wait(timeout_at(until, sending)).await.ok_or(Stop::Cancelled)?;
        let response = response.map_err(|_| late())?.map_err(|error| {
            let kind = if error.is_timeout() { FailureKind::Timeout } else { FailureKind::Connect };
            failed(kind, format!("{} could not be reached: {}", link.target, describe(&error)))
        })?;
        report.status = Some(response.status().as_u16());
        report.left = quota::read(response.headers(), clock::now());
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Stop::Failed(self.refusal(response, (adapter, secret.as_ref()), until).await?));
        }
        report.left.retry_after = None;
        let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
        if accepted != Some(accept_key(challenge.as_bytes()).as_bytes()) {
            return Err(failed(FailureKind::Broken, format!("{} did not open a WebSocket", provider.id)));
        }
        let upgraded = response.upgrade().await.map_err(|error| failed(FailureKind::Broken, describe(&error)))?;
        let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(settings())).await;
        let first = self.sink.wait(timeout_at(until, first_word(&mut socket))).await.ok_or(Stop::Cancelled)?;
        let first = first.map_err(|_| late())?.map_err(Stop::Failed)?;
        Ok((socket, first))
    }

    fn spell_opening(
        &self,
        link: &Link,
        (adapter, secret): (&dyn Adapter, Option<&Secret>),
        challenge: &str,
    ) -> Result<Outgoing, Failure> {
        let provider = &self.context.provider;
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query = query.append_pair("model", link.target.model.as_str()).finish();
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(challenge).expect("base64 is a header value"));
        let url = provider.url(&format!("realtime?{query}"));
        let mut request = Outgoing { url, headers, body: Bytes::new() };
        request.carry(&self.envelope.query, &self.envelope.headers);
        if let Some(secret) = secret {
            adapter.authorize(&mut request, secret.reveal(), &provider.settings, clock::now())?;
        }
        Ok(request)
    }

    async fn refusal(
        &mut self,
        response: Response,
        (adapter, secret): (&dyn Adapter, Option<&Secret>),
        until: Instant,
    ) -> Result<Failure, Stop> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let read = timeout_at(until, read_refusal(response));
        let body = self.sink.wait(read).await.ok_or(Stop::Cancelled)?.unwrap_or_default();
        if status < 300 {
            let why = format!("{} answers where a WebSocket was to open", self.context.provider.id);
            return Ok(Failure::provider(FailureKind::NotFound, why));
        }
        let (provider, key) = (&self.context.provider.id, secret.map(Secret::reveal));
        let refusal = ErrorResponse { provider, key, status, headers: &headers, body: &body, now: clock::now() };
        Ok(adapter.refuse(&refusal))
    }
}

fn cannot(target: &penstock_schemas::name::Target) -> Stop {
    match cannot_speak(target) {
        Attempt::Refused(failure) | Attempt::Broken(failure) => Stop::Failed(failure),
        Attempt::Served | Attempt::Cancelled => Stop::Cancelled,
    }
}

/// No message is longer than a session may hold, and no more waits to be written than that.
fn settings() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES))
        .max_write_buffer_size(2 * MESSAGE_BYTES)
}

/// What the provider says first: that the session is there, or why not.
async fn first_word(socket: &mut Socket) -> Result<Bytes, Failure> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                let text = Bytes::from(text);
                return match read_server(&text) {
                    ServerEvent::Error { code, message, .. } => Err(refused(code, message)),
                    _ => Ok(text),
                };
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(frame))) => {
                let why = frame.map(|frame| format!(": {} {}", frame.code, frame.reason)).unwrap_or_default();
                return Err(Failure::provider(FailureKind::Broken, format!("the provider closed the session{why}")));
            }
            Some(Ok(Message::Binary(_)) | Err(_)) | None => {
                return Err(Failure::provider(FailureKind::Broken, "the provider broke the session off"));
            }
        }
    }
}

/// An error before the session has begun.
fn refused(code: Option<String>, message: String) -> Failure {
    let kind = match code.as_deref() {
        Some("model_not_found") => FailureKind::NotFound,
        Some("invalid_api_key") => FailureKind::ProviderAuth,
        Some("rate_limit_exceeded") => FailureKind::RateLimited,
        _ => FailureKind::BadRequest,
    };
    let mut failure = Failure::provider(kind, message);
    failure.provider_code = code;
    failure
}
