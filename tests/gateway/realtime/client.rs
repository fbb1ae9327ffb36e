//! A client of a session: a WebSocket by hand, so that a test sees the answer to the handshake too.

use futures_util::{SinkExt, StreamExt};
use penstock_tests::World;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Longer than anything takes, on a machine that is busy.
const LONG: Duration = Duration::from_secs(60);

/// A session that is open.
pub(super) struct Client {
    pub(super) head: String,
    socket: WebSocketStream<TcpStream>,
}

/// What a session ends with: the events before the end, the code, and the reason.
pub(super) struct Ended {
    pub(super) events: Vec<Value>,
    pub(super) code: u16,
    pub(super) reason: String,
}

impl Ended {
    /// The last error before the end: its type, its code and its message.
    pub(super) fn error(&self) -> (String, String) {
        let error = &self.events.iter().rfind(|event| event["type"] == "error").expect("there was an error")["error"];
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (format!("{} {}", text("type"), text("code")), text("message"))
    }
}

impl Client {
    /// Connects with a key in the usual header.
    pub(super) async fn connect(world: &World, query: &str, key: &str) -> Result<Self, (u16, Value)> {
        Self::connect_at(world.address(), query, &format!("authorization: Bearer {key}\r\n")).await
    }

    /// Connects with these lines in the head.
    pub(super) async fn connect_at(address: &str, query: &str, lines: &str) -> Result<Self, (u16, Value)> {
        let mut stream = TcpStream::connect(address).await.expect("the gateway listens");
        let head = format!(
            "GET /v1/realtime?{query} HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("the gateway reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(LONG, stream.read_u8()).await.expect("it answers in time").expect("it answers"));
        }
        let head = String::from_utf8(head).expect("a head is text").to_ascii_lowercase();
        let status: u16 = head[9..12].parse().expect("a head begins with a status");
        if status == 101 {
            assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
            return Ok(Self { head, socket: WebSocketStream::from_raw_socket(stream, Role::Client, None).await });
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let mut body = vec![0; length.unwrap_or_default()];
        stream.read_exact(&mut body).await.expect("a body has the length that it says");
        Err((status, serde_json::from_slice(&body).expect("an error is JSON")))
    }

    /// Sends an event.
    pub(super) async fn say(&mut self, event: Value) {
        self.send(Message::text(event.to_string())).await;
    }

    /// Sends anything.
    pub(super) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.expect("the session is open");
    }

    /// Asks for a response that goes so.
    pub(super) async fn ask(&mut self, how: &str) {
        self.say(json!({ "type": "response.create", "event_id": "mine", "response": { "instructions": how } })).await;
    }

    /// The next event.
    pub(super) async fn next(&mut self) -> Value {
        loop {
            let message = timeout(LONG, self.socket.next()).await.expect("an event comes in time");
            match message.expect("the session is open").expect("the session is whole") {
                Message::Text(text) => return serde_json::from_str(&text).expect("events are JSON"),
                Message::Close(frame) => panic!("the session is closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The next event of this type; those before it are not looked at.
    pub(super) async fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await;
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// What comes until the end.
    pub(super) async fn end(self) -> Ended {
        timeout(LONG, self.read_to_end()).await.expect("the session ends in time")
    }

    async fn read_to_end(mut self) -> Ended {
        let mut events = Vec::new();
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => events.push(serde_json::from_str(&text).expect("events are JSON")),
                Some(Ok(Message::Close(Some(frame)))) => {
                    let (code, reason) = (frame.code.into(), frame.reason.to_string());
                    return Ended { events, code, reason };
                }
                Some(Ok(_)) => {}
                other => panic!("the session ended without a word: {other:?} after {events:?}"),
            }
        }
    }

    /// Ends it.
    pub(super) async fn leave(mut self) {
        self.socket.close(None).await.expect("the session is open");
        let _ = timeout(LONG, async { while let Some(Ok(_)) = self.socket.next().await {} }).await;
    }
}
