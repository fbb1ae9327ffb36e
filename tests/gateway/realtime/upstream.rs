//! A provider of sessions as a test scripts it: a WebSocket server in the test's process that speaks OpenAI's events. What a
//! response comes to is told by its `instructions`. Knows nothing of Penstock.

use futures_util::{SinkExt, StreamExt};
use penstock_runtime::websocket::accept_key;
use penstock_tests::until;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

/// The server. Dropping it ends it.
pub(super) struct Provider {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    _server: JoinSet<()>,
}

/// What it has seen.
#[derive(Default)]
struct Seen {
    heads: Vec<String>,
    events: Vec<Value>,
    closed: usize,
    sent: usize,
}

type Socket = WebSocketStream<TcpStream>;

impl Provider {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the machine has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let seen = Arc::<Mutex<Seen>>::default();
        let mut server = JoinSet::new();
        let noted = seen.clone();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, noted.clone()));
            }
        });
        Self { address, seen, _server: server }
    }

    /// The configuration of it as the provider `rt`, with a price for its model `m`.
    pub(super) fn config(&self) -> String {
        format!(
            "[providers.rt]\ndialect = \"openai\"\nbase_url = \"http://{}/v1\"\nkeys = [\"env:BETA_KEY\"]\nprobe = false\n\
             [[prices]]\nmodel = \"rt/m\"\ninput_usd_per_million = \"1\"\noutput_usd_per_million = \"2\"\n\
             cache_read_usd_per_million = \"0.1\"\ninput_audio_usd_per_million = \"10\"\noutput_audio_usd_per_million = \"20\"\n\
             [models.voice]\ntargets = [{{ model = \"rt/m\" }}]\n",
            self.address
        )
    }

    fn seen<T>(&self, look: impl Fn(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The heads of the requests so far.
    pub(super) fn heads(&self) -> Vec<String> {
        self.seen(|seen| seen.heads.clone())
    }

    /// The events so far, of one type.
    pub(super) fn events(&self, kind: &str) -> Vec<Value> {
        self.seen(|seen| seen.events.iter().filter(|event| event["type"] == kind).cloned().collect())
    }

    /// How much it has handed to its connections, in bytes.
    pub(super) fn sent(&self) -> usize {
        self.seen(|seen| seen.sent)
    }

    /// Waits until so many sessions are over.
    pub(super) async fn closed(&self, count: usize) {
        until("a provider's session to be closed", async || self.seen(|seen| seen.closed >= count).then_some(())).await;
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let note = |change: &dyn Fn(&mut Seen)| change(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    note(&|seen| seen.heads.push(head.clone()));
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let Some(key) = key.filter(|_| !head.contains("model=refused")) else {
        let body = r#"{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}"#;
        let answer = format!(
            "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes()).await;
        return;
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {}\r\n\r\n",
        accept_key(key.as_bytes())
    );
    if stream.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let bearer = head.lines().find_map(|line| line.split_once("Bearer ")).map(|(_, key)| key.trim().to_owned());
    let key = bearer.expect("a provider is asked with its key");
    let mut session = Session { socket, key, session: begun(), responses: 0, seen: seen.clone() };
    if session.say(json!({ "type": "session.created", "session": session.session })).await {
        while let Some(Ok(message)) = session.socket.next().await {
            let Message::Text(text) = message else { continue };
            let event: Value = serde_json::from_str(&text).expect("the gateway sends JSON");
            note(&|seen| seen.events.push(event.clone()));
            if !session.answer(&event).await {
                break;
            }
        }
    }
    note(&|seen| seen.closed += 1);
}

fn begun() -> Value {
    json!({ "type": "realtime", "model": "m", "audio": { "input": { "turn_detection": {
        "type": "server_vad", "create_response": true, "interrupt_response": true, "idle_timeout_ms": null } } } })
}

struct Session {
    socket: Socket,
    /// What it was asked with.
    key: String,
    session: Value,
    responses: u32,
    seen: Arc<Mutex<Seen>>,
}

/// What a response of this provider consumes.
pub(super) fn usage() -> Value {
    json!({
        "total_tokens": 150, "input_tokens": 100, "output_tokens": 50,
        "input_token_details": { "text_tokens": 60, "audio_tokens": 40, "image_tokens": 0, "cached_tokens": 30,
            "cached_tokens_details": { "text_tokens": 20, "audio_tokens": 10, "image_tokens": 0 } },
        "output_token_details": { "text_tokens": 10, "audio_tokens": 40 },
    })
}

impl Session {
    async fn say(&mut self, mut event: Value) -> bool {
        event["event_id"] = json!("event_of_provider");
        let text = event.to_string();
        let length = text.len();
        let is_sent = self.socket.send(Message::text(text)).await.is_ok();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).sent += length;
        is_sent
    }

    /// False when the session is over.
    async fn answer(&mut self, event: &Value) -> bool {
        match event["type"].as_str().unwrap_or_default() {
            "session.update" => {
                merge(&mut self.session, &event["session"]);
                self.say(json!({ "type": "session.updated", "session": self.session })).await
            }
            "conversation.item.create" => {
                self.say(json!({ "type": "conversation.item.added", "item": event["item"] })).await
            }
            "input_audio_buffer.append" => {
                for kind in ["speech_started", "speech_stopped", "committed"] {
                    let event = json!({ "type": format!("input_audio_buffer.{kind}"), "item_id": "item_1" });
                    if !self.say(event).await {
                        return false;
                    }
                }
                true
            }
            "response.create" => self.respond(event).await,
            "response.cancel" => {
                let id = event["response_id"].clone();
                let response = json!({ "id": id, "status": "cancelled", "usage": usage() });
                self.say(json!({ "type": "response.done", "response": response })).await
            }
            _ => true,
        }
    }

    async fn respond(&mut self, event: &Value) -> bool {
        let how = event["response"]["instructions"].as_str().unwrap_or_default();
        if how == "refuse" {
            let error = json!({ "type": "invalid_request_error", "code": "conversation_already_has_active_response",
                "message": "not now", "event_id": event["event_id"] });
            return self.say(json!({ "type": "error", "error": error })).await;
        }
        self.responses += 1;
        let id = format!("resp_{}", self.responses);
        let response = json!({ "id": id, "status": "in_progress" });
        if !self.say(json!({ "type": "response.created", "response": response })).await {
            return false;
        }
        let delta = json!({ "type": "response.output_audio.delta", "response_id": id, "delta": "x".repeat(1000) });
        match how {
            "silence" => return self.say(delta).await,
            "vanish" => return false,
            "betray" => {
                let key = self.key.clone();
                let error = json!({ "type": "server_error", "code": key, "message": format!("{key} is bad") });
                let _ = self.say(json!({ "type": "error", "error": error })).await;
                let frame = CloseFrame { code: 1011.into(), reason: format!("{key} is bad").into() };
                let _ = self.socket.send(Message::Close(Some(frame))).await;
                return false;
            }
            "close" => {
                let frame = CloseFrame { code: 1011.into(), reason: "out of order".into() };
                let _ = self.socket.send(Message::Close(Some(frame))).await;
                return false;
            }
            "flood" => {
                let long =
                    json!({ "type": "response.output_audio.delta", "response_id": id, "delta": "x".repeat(100_000) });
                while self.say(long.clone()).await {}
                return false;
            }
            "unasked" => {
                let more = json!({ "id": "resp_unasked", "status": "in_progress" });
                if !self.say(json!({ "type": "response.created", "response": more })).await {
                    return false;
                }
            }
            _ => {}
        }
        let response = json!({ "id": id, "status": "completed", "usage": usage() });
        self.say(delta).await && self.say(json!({ "type": "response.done", "response": response })).await
    }
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (name, value) in change {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}
