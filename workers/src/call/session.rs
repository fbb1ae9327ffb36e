//! A session: one call that lasts, over a WebSocket to its provider, in OpenAI's events. Its responses are attempts, each paid
//! for before it can begin. Knows when a session is over; how it opens stands in `opening`, what responses cost in
//! `responses`, what the events say in `penstock_dialects::openai::realtime`.

mod events;
mod opening;
mod responses;

use super::Call;
use super::attempt::clocks;
use super::ledger::End;
use crate::exchange::{Attempt, Clocks, Report, Stop};
use crate::limits::Pick;
use crate::sink::FrameSink;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use opening::Socket;
use penstock_dialects::error_details::strike_failure;
use penstock_dialects::openai::realtime::{ServerEvent, Turns, cancel, read_server};
use penstock_runtime::bus::{BusError, ClientPieces, Heard};
use penstock_runtime::{Secret, clock};
use penstock_schemas::envelope::Dialect;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{CLIENT_WINDOW, ClientPiece, Ended, Head, Payload};
use penstock_schemas::message::{MESSAGE_BYTES, MessageJoiner, framed};
use penstock_schemas::plan::Link;
use responses::Responses;
use std::time::Duration;
use tokio::select;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

/// How often the times of a session are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A session in which nothing is said for so long is over. OpenAI's own is 15 minutes.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// How often the provider is asked whether it is there, and after how long without any answer it is not.
const PING: Duration = Duration::from_secs(20);
const DEAD: Duration = Duration::from_secs(65);

/// After how long without a word of the ingress, which asks several times a second while nothing comes, it is gone.
const ORPHANED: Duration = Duration::from_secs(30);

/// How long a client may take to read, and a provider.
const SLOW: Duration = Duration::from_secs(60);

/// How long the provider has to say what responses came to that were cut off.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What a session may hold at once: a message of either side.
const HELD: usize = 2 * MESSAGE_BYTES;

/// The id of the event that switches off what the provider does by itself.
const STEERING: &str = "penstock_turns";

/// Why a session is over.
enum Over {
    /// Its client has left.
    Left,
    /// It cannot go on.
    Failed(Failure),
    /// Nobody knows it any more.
    Cancelled,
}

impl From<Failure> for Over {
    fn from(failure: Failure) -> Self {
        if failure.kind == FailureKind::Cancelled { Self::Cancelled } else { Self::Failed(failure) }
    }
}

impl From<BusError> for Over {
    fn from(error: BusError) -> Self {
        Self::Failed(Failure::gateway(FailureKind::Internal, error.to_string()))
    }
}

/// Whether the provider answers turns by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Steered {
    /// It has not said what it does: nothing is to be heard.
    Unknown,
    /// It was told not to, and has not said that it heard.
    Told,
    /// It does not.
    Done,
}

/// What has come.
enum Came {
    Client(Heard),
    Provider(Option<Result<Message, tungstenite::Error>>),
    Look,
}

struct Session<'a, S> {
    call: &'a mut Call<S>,
    link: &'a Link,
    clocks: Clocks,
    socket: Socket,
    client: ClientPieces,
    joiner: MessageJoiner,
    unread: u32,
    responses: Responses,
    steered: Steered,
    turns: Turns,
    /// The provider's key, which nothing that it says may hold.
    key: Option<Secret>,
    last_turn: Option<String>,
    ids: u32,
    /// Why it ends once no response runs any more.
    closing: Option<Failure>,
    look_at: Instant,
    ping_at: Instant,
    /// When something was said last, by either side; and anything came from the provider, if only an answer to a ping.
    said: Instant,
    alive: Instant,
    sent: Instant,
    /// Since when the provider says nothing to what it was asked.
    silent: Instant,
}

impl<S: FrameSink> Call<S> {
    /// A session from its opening to its end.
    pub(super) async fn session(&mut self, link: &Link, key: &Pick) -> Attempt {
        let (began, mut report) = (Instant::now(), Report::default());
        let clocks = clocks(link, &self.envelope, false);
        let opened = match self.begin_session(link, key, &mut report).await {
            Ok(opened) => opened,
            Err(Stop::Cancelled) => return Attempt::Cancelled,
            Err(Stop::Failed(mut failure)) => {
                strike_failure(&mut failure, report.key.as_ref().map(Secret::reveal));
                let attempt = Attempt::Refused(failure);
                self.context.learn(&link.target.model, key, &attempt, &report);
                self.context.log(&self.envelope, &attempt, &report);
                self.envelope.attempts += 1;
                let start = self.context.start((&self.envelope, &self.body), link, &clocks);
                let end = End::of(&attempt, began.elapsed(), FailureKind::Cancelled);
                // Nothing was asked yet.
                report.was_sent = false;
                let noted = self.context.note(start, end, report).await;
                self.ends.push(noted.recorded);
                return attempt;
            }
        };
        let (socket, client, first) = opened;
        let now = Instant::now();
        let session = Session {
            link,
            clocks,
            socket,
            client,
            joiner: MessageJoiner::default(),
            unread: 0,
            responses: Responses::default(),
            steered: Steered::Unknown,
            turns: Turns::Unanswered,
            key: report.key.take(),
            last_turn: None,
            ids: 0,
            closing: None,
            look_at: now + LOOK,
            ping_at: now + PING,
            said: now,
            alive: now,
            sent: now,
            silent: now,
            call: self,
        };
        let (attempt, first_content) = session.run(first).await;
        let report = Report { first_token: first_content, status: Some(200), ..Report::default() };
        self.context.learn(&link.target.model, key, &attempt, &report);
        self.context.log(&self.envelope, &attempt, &report);
        attempt
    }

    async fn begin_session(
        &mut self,
        link: &Link,
        key: &Pick,
        report: &mut Report,
    ) -> Result<(Socket, ClientPieces, Bytes), Stop> {
        let internal = |why| Failure::gateway(FailureKind::Internal, why);
        let memory = self.memory.as_mut().ok_or_else(|| internal("a session has no memory"))?;
        memory.grow(HELD).map_err(|_| internal("the worker's memory for answers is in use ([workers] memory)"))?;
        self.afford_responses(link, 1).await?;
        let clocks = clocks(link, &self.envelope, false);
        let (socket, first) = self.open((link, key), &clocks, report).await?;
        let client = self.sink.take_client().ok_or_else(|| internal("nobody speaks in this session"))?;
        Ok((socket, client, first))
    }
}

impl<S: FrameSink> Session<'_, S> {
    async fn run(mut self, first: Bytes) -> (Attempt, Option<Duration>) {
        let mut over = self.begin(first).await.err();
        while over.is_none() {
            over = match self.step().await {
                Ok(()) if self.responses.open() == 0 => self.closing.take().map(Over::Failed),
                Ok(()) => None,
                Err(over) => Some(over),
            };
        }
        let over = over.unwrap_or(Over::Cancelled);
        self.wind_down(!matches!(over, Over::Failed(_))).await;
        let attempt = match over {
            Over::Failed(mut failure) => {
                strike_failure(&mut failure, self.key.as_ref().map(Secret::reveal));
                Attempt::Broken(failure)
            }
            Over::Cancelled => Attempt::Cancelled,
            Over::Left => {
                let ended = Ended { head: Some(self.head()), summary: self.responses.summary() };
                match self.call.sink.send(Payload::End(Box::new(ended), Bytes::new())).await {
                    Ok(()) => Attempt::Served,
                    Err(error) => Attempt::Broken(Failure::gateway(FailureKind::Internal, error.to_string())),
                }
            }
        };
        (attempt, self.responses.first_content)
    }

    fn head(&self) -> Head {
        Head {
            worker: self.call.context.worker.clone(),
            target: self.link.target.clone(),
            dialect: Dialect::Openai,
            attempts: self.call.envelope.attempts,
            dropped: Vec::new(),
            content_type: None,
            input_tokens: None,
            sent: None,
        }
    }

    /// The client hears that it has a session, and what the provider said first.
    async fn begin(&mut self, first: Bytes) -> Result<(), Over> {
        let head = self.head();
        self.call.sink.send(Payload::Chunk(Some(head), Bytes::new())).await?;
        self.hear_provider(first).await
    }

    async fn step(&mut self) -> Result<(), Over> {
        match self.hear().await.ok_or(Over::Cancelled)? {
            Came::Client(Heard::Piece(piece)) => self.take_piece(piece).await,
            Came::Client(Heard::Left) => Err(Over::Left),
            Came::Client(Heard::Gap) => {
                let why = "a part of what the client says was lost on the bus";
                Err(Failure::gateway(FailureKind::Lost, why).into())
            }
            Came::Provider(message) => self.take_message(message).await,
            Came::Look => self.look().await,
        }
    }

    /// Waits for what comes next. While the session is about to end, nothing more is taken from its client but that it leaves.
    async fn hear(&mut self) -> Option<Came> {
        let Self { call, socket, client, look_at, .. } = self;
        let next = async {
            select! {
                message = socket.next() => Came::Provider(message),
                heard = client.next() => Came::Client(heard),
                () = sleep_until(*look_at) => Came::Look,
            }
        };
        call.sink.wait(next).await
    }

    /// Looks at the times.
    async fn look(&mut self) -> Result<(), Over> {
        let now = Instant::now();
        self.look_at = now + LOOK;
        let target = &self.link.target;
        let (is_idle, is_stopping) = (self.responses.open() == 0, self.call.context.life.is_stopping());
        let over = |kind, why: &str| Err(Failure::gateway(kind, why).into());
        if now.duration_since(self.client.last_heard().max(self.sent)) > ORPHANED {
            return Err(Over::Cancelled);
        }
        if clock::now() >= self.call.envelope.deadline {
            return over(FailureKind::Deadline, "the session has lasted as long as one may: connect again");
        }
        if is_idle && is_stopping {
            return over(FailureKind::Lost, "the worker of this session is stopping: connect again");
        }
        if is_idle && now.duration_since(self.said) > IDLE {
            return over(FailureKind::Deadline, "nothing was said in this session for 15 minutes");
        }
        let is_silent = !is_idle && now.duration_since(self.silent) > self.clocks.idle;
        if is_silent || self.responses.has_older_than(self.clocks.total) {
            let why = format!("{target} did not finish a response in time");
            return Err(Failure::provider(FailureKind::Timeout, why).into());
        }
        if now.duration_since(self.alive) > DEAD {
            return Err(Failure::provider(FailureKind::Timeout, format!("{target} does not answer any more")).into());
        }
        if now >= self.ping_at {
            self.ping_at = now + PING;
            self.send(Message::Ping(Bytes::new())).await?;
        }
        Ok(())
    }

    async fn take_piece(&mut self, piece: Bytes) -> Result<(), Over> {
        self.unread += ClientPiece::cost(piece.len());
        if self.unread >= CLIENT_WINDOW / 4 {
            self.call.sink.read(std::mem::take(&mut self.unread)).await?;
        }
        if self.closing.is_some() {
            return Ok(());
        }
        self.said = Instant::now();
        self.joiner.push(&piece);
        while let Some(message) = self.joiner.next_message().map_err(|why| too_long(&why.to_string()))? {
            self.hear_client(message).await?;
            if self.closing.is_some() {
                break;
            }
        }
        Ok(())
    }

    async fn take_message(&mut self, message: Option<Result<Message, tungstenite::Error>>) -> Result<(), Over> {
        self.alive = Instant::now();
        let broken = |why: String| Err(Failure::provider(FailureKind::Broken, why).into());
        let target = &self.link.target;
        match message {
            Some(Ok(Message::Text(text))) => {
                (self.said, self.silent) = (self.alive, self.alive);
                self.hear_provider(text.into()).await
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Ok(Message::Binary(_))) => broken(format!("{target} sent what is no event")),
            Some(Ok(Message::Close(frame))) => {
                let why = frame.map(|frame| format!(": {} {}", frame.code, frame.reason)).unwrap_or_default();
                broken(format!("{target} closed the session{why}"))
            }
            Some(Err(tungstenite::Error::Capacity(error))) => {
                broken(format!("{target} sent too long an event: {error}"))
            }
            Some(Err(_)) | None => broken(format!("{target} broke the session off")),
        }
    }

    async fn tell_client(&mut self, text: Bytes) -> Result<(), Over> {
        match timeout(SLOW, self.call.sink.send(Payload::Chunk(None, framed(&text)))).await {
            Ok(sent) => sent?,
            Err(_) => return Err(Failure::gateway(FailureKind::Deadline, "the client reads too slowly").into()),
        }
        self.sent = Instant::now();
        Ok(())
    }

    async fn tell(&mut self, text: Bytes) -> Result<(), Over> {
        let text = Utf8Bytes::try_from(text)
            .map_err(|_| Failure::gateway(FailureKind::BadRequest, "an event is not UTF-8"))?;
        self.send(Message::Text(text)).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Over> {
        let broken = |why: &str| Failure::provider(FailureKind::Broken, format!("{} {why}", self.link.target));
        let sending = timeout(SLOW, self.socket.send(message));
        let sent = self.call.sink.wait(sending).await.ok_or(Over::Cancelled)?;
        Ok(sent.map_err(|_| broken("does not read any more"))?.map_err(|_| broken("broke the session off"))?)
    }

    /// Ends what runs, and waits a moment for what it came to; the rest counts at its worst case.
    async fn wind_down(&mut self, is_left: bool) {
        let until = Instant::now() + LAST_WORDS;
        for id in self.responses.running() {
            let event = cancel(&self.next_id(), &id);
            // A provider that is gone says nothing any more.
            let _ = timeout_at(until, self.socket.send(Message::text(event))).await;
        }
        while self.responses.open() > 0 {
            let Ok(Some(Ok(message))) = timeout_at(until, self.socket.next()).await else { break };
            let Message::Text(text) = message else { continue };
            match read_server(text.as_bytes()) {
                ServerEvent::Created(id) if self.responses.begin(id.clone()) => {
                    let event = cancel(&self.next_id(), &id);
                    let _ = timeout_at(until, self.socket.send(Message::text(event))).await;
                }
                ServerEvent::Done(done) => self.call.response_done(self.link, &mut self.responses, *done).await,
                ServerEvent::Error { event_id: Some(id), code, message } => {
                    let _ = self.refused(&id, code, message).await;
                }
                _ => {}
            }
        }
        self.call.responses_lost(&mut self.responses, is_left).await;
        let _ = timeout(LOOK, self.socket.close(None)).await;
    }
}

fn too_long(why: &str) -> Failure {
    Failure::gateway(FailureKind::TooLarge, why)
}
