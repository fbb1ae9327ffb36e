//! A session at the ingress: the client's WebSocket on one side, the call that its worker holds on the other. Every event
//! passes as it came, save that the model has the name that the client knows. Knows what ends it, and nothing of what is said.

use super::client::{Client, Gone, Socket};
use crate::dialect::error_body;
use crate::http::upgrade::Wire;
use crate::refusal::Refusal;
use crate::stage::dispatch::{Frames, Placed, Source, Streaming};
use crate::stage::record::Record;
use crate::state::Shared;
use crate::status;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use penstock_dialects::openai::realtime::{error_event, with_model};
use penstock_runtime::bus::{PendingCall, Pusher};
use penstock_runtime::heavy;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Ended, Failed, Payload};
use penstock_schemas::message::{MESSAGE_BYTES, MessageJoiner};
use penstock_schemas::name::Target;
use std::pin::pin;
use std::time::Duration;
use tokio::select;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tracing::warn;

/// How long the worker may take to say what a session came to whose client has left.
const FAREWELL: Duration = Duration::from_secs(10);

/// How long a session goes on in a process that stops.
const GRACE: Duration = Duration::from_secs(10);

/// How long a client has to close the connection after it was told that it is over.
const CLOSE: Duration = Duration::from_secs(2);

/// The code of a WebSocket's normal end.
const NORMAL: u16 = 1000;

/// A session that has begun.
pub(crate) struct Talk {
    call: Box<PendingCall>,
    pusher: Pusher,
    target: Target,
    record: Record,
    ingress: Shared,
    /// As the client names it.
    model: String,
    _placed: Option<Placed>,
}

/// Why nothing more comes from a client.
enum Silence {
    /// It has left.
    Left,
    /// It has done what it may not.
    Wrong(Failure),
}

/// How a session ended.
enum End {
    /// Its client has left.
    Left,
    /// The worker says so.
    Call(Result<Box<Ended>, Failed>),
    /// Here.
    Refused(Refusal),
}

impl Talk {
    /// The session that this answer begins.
    pub(crate) fn new(streaming: Streaming, record: Record, model: String, ingress: &Shared) -> Result<Self, Refusal> {
        let internal = || Refusal::from(Failure::gateway(FailureKind::Internal, "a session has no worker"));
        let Streaming { head, source: Source::Live(call), placed, .. } = streaming else { return Err(internal()) };
        let pusher = call.pusher().ok_or_else(internal)?;
        let ingress = ingress.clone();
        Ok(Self { call, pusher, target: head.target, record, ingress, model, _placed: placed })
    }

    /// Who is at the other end.
    pub(crate) fn target(&self) -> String {
        self.target.to_string()
    }

    /// From here to its end.
    pub(crate) async fn run(self, wire: Wire) {
        let Self { mut call, mut pusher, target, mut record, ingress, model, .. } = self;
        let role = Role::Server;
        let socket = Socket::from_partially_read(wire.stream, wire.read.to_vec(), role, Some(settings())).await;
        let (sink, mut source) = socket.split();
        let client = Client::new(sink, ingress.config.write_timeout);
        let mut grant = record.grant();
        let mut down = pin!(down(&mut call, &client, &model));
        let stopping = async {
            ingress.life.stopping().await;
            sleep(GRACE).await;
        };
        let end = select! {
            biased;
            refusal = grant.over() => End::Refused(Failure::gateway(FailureKind::Revoked, refusal.to_string()).into()),
            ended = &mut down => End::Call(ended),
            silence = up(&mut source, &client, &mut pusher) => match silence {
                Silence::Left => End::Left,
                Silence::Wrong(failure) => End::Refused(failure.into()),
            },
            () = client.watch() => End::Left,
            () = stopping => End::Refused(Refusal::Draining),
        };
        if let Some(refusal) = end.refusal() {
            let error = error_body(Dialect::Openai, &refusal, record.id())["error"].take();
            let event = error_event(&format!("event_{}", record.id()), error, None);
            let _ = client.say(event.into()).await;
            client.close(status::close_code(&refusal), &refusal.to_string()).await;
        } else {
            client.close(NORMAL, "").await;
        }
        let is_called = !matches!(end, End::Call(_));
        let last = if is_called { farewell(pusher, down.as_mut()).await } else { None };
        note(&mut record, &target, end, last);
        drop(record);
        // The client's own word that it is over, as far as it comes.
        let _ = timeout(CLOSE, async { while let Some(Ok(_)) = source.next().await {} }).await;
    }
}

impl End {
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Left | Self::Call(Ok(_)) => None,
            Self::Call(Err(failed)) => Some(failed.failure.clone().into()),
            Self::Refused(refusal) => Some(refusal.clone()),
        }
    }
}

/// Tells the worker that the client has left, and waits for what the session came to.
async fn farewell(
    pusher: Pusher,
    down: impl Future<Output = Result<Box<Ended>, Failed>>,
) -> Option<Result<Box<Ended>, Failed>> {
    if let Err(error) = pusher.leave().await {
        warn!(%error, "a worker could not be told that a client has left");
        return None;
    }
    timeout(FAREWELL, down).await.ok()
}

/// What becomes of the session in its record.
fn note(record: &mut Record, target: &Target, end: End, last: Option<Result<Box<Ended>, Failed>>) {
    let refusal = end.refusal();
    let told = match end {
        End::Call(told) => Some(told),
        End::Left | End::Refused(_) => last,
    };
    match told {
        Some(Ok(ended)) => {
            record.tried(Some(target.clone()), ended.head.as_ref().map_or(0, |head| head.attempts));
            record.served(&ended.summary);
        }
        Some(Err(failed)) => {
            // Only the worker knows how many there were.
            if failed.target.is_some() {
                record.tried(Some(target.clone()), failed.attempts);
            }
            record.broken(&failed.failure);
        }
        None => {}
    }
    match refusal {
        Some(Refusal::Failed(failure)) => record.broken(&failure),
        Some(other) => record.broken(&Failure::gateway(FailureKind::Lost, other.to_string())),
        None => {}
    }
}

/// No message is longer than a session may hold.
fn settings() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES))
        .max_write_buffer_size(2 * MESSAGE_BYTES)
}

/// What the client says, to the worker: no faster than that one reads.
async fn up(source: &mut SplitStream<Socket>, client: &Client, pusher: &mut Pusher) -> Silence {
    let wrong = |kind, why: String| Silence::Wrong(Failure::gateway(kind, why));
    loop {
        let message = source.next().await;
        client.is_heard();
        match message {
            Some(Ok(Message::Text(text))) => {
                if let Err(error) = pusher.push(text.as_bytes()).await {
                    return wrong(FailureKind::Internal, error.to_string());
                }
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Binary(_))) => {
                return wrong(FailureKind::BadRequest, "send events as text: a binary message is none".to_owned());
            }
            Some(Err(Error::Capacity(CapacityError::MessageTooLong { .. }))) => {
                let why = format!("an event may have {MESSAGE_BYTES} bytes: send audio in shorter pieces");
                return wrong(FailureKind::TooLarge, why);
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Silence::Left,
        }
    }
}

/// What the worker says, to the client.
async fn down(call: &mut PendingCall, client: &Client, model: &str) -> Result<Box<Ended>, Failed> {
    let failed = |failure| Failed { failure, target: None, attempts: 0, sent: None };
    let mut joiner = MessageJoiner::default();
    loop {
        match Frames::next(call).await.map_err(failed)? {
            Payload::Chunk(_, bytes) => {
                joiner.push(&bytes);
                let unreadable =
                    |_| failed(Failure::gateway(FailureKind::Internal, "the worker's events cannot be read"));
                while let Some(event) = joiner.next_message().map_err(unreadable)? {
                    let is_read = pass(client, event, model).await.is_ok();
                    if !is_read {
                        let why = "the client does not read what is said to it";
                        return Err(failed(Failure::gateway(FailureKind::Cancelled, why)));
                    }
                }
                call.consumed(bytes.len());
            }
            Payload::End(ended, _) => return Ok(ended),
            Payload::Failed(failed) => return Err(failed),
            Payload::Accepted(_) | Payload::Alive | Payload::Gone | Payload::Declined(_) | Payload::Read(_) => {}
        }
    }
}

async fn pass(client: &Client, event: Bytes, model: &str) -> Result<(), Gone> {
    let event = match heavy(event.len(), || with_model(&event, model)).await {
        Some(event) => event.into(),
        None => Utf8Bytes::try_from(event).map_err(|_| Gone)?,
    };
    client.say(event).await
}
