//! Copies of streams as they are, made and put back by the server itself: with numbers, times and readers. Knows nothing of
//! what is in them.
//! Source: <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-29.md> and the server's own clients.

use super::{Bus, BusError, failed};
use async_nats::Message;
use bytes::Bytes;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Bytes of a piece of a copy.
const PIECE: usize = 128 * 1024;

/// The longest wait for a piece, for its acknowledgement, and for what the server does with a whole stream.
const ANSWER: Duration = Duration::from_secs(60);

/// What a stream was like when its copy was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamCopy {
    /// Its settings.
    pub config: Value,
    /// Its numbers.
    pub state: Value,
}

/// A question that JetStream answers with an error, or with something else.
#[derive(Deserialize)]
struct Answer {
    error: Option<Refused>,
    #[serde(flatten)]
    rest: Value,
}

#[derive(Deserialize)]
struct Refused {
    description: String,
}

impl Bus {
    /// The names of all streams of the deployment, those of buckets and object stores among them.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn stream_names(&self) -> Result<Vec<String>, BusError> {
        let mut names = self.jetstream.stream_names();
        let mut own = Vec::new();
        while let Some(name) = names.next().await {
            let name = name.map_err(failed("list the streams"))?;
            if self.subjects.is_own(&name) {
                own.push(name);
            }
        }
        own.sort();
        Ok(own)
    }

    /// Writes a copy of a stream, as the server makes it.
    ///
    /// # Errors
    /// When the server does not make it, or it cannot be written.
    pub async fn save_stream(&self, name: &str, to: &mut (impl AsyncWrite + Unpin)) -> Result<StreamCopy, BusError> {
        let inbox = self.client.new_inbox();
        let mut pieces = self.client.subscribe(inbox.clone()).await.map_err(failed("copy a stream"))?;
        let wish = json!({ "deliver_subject": inbox, "no_consumers": false, "jsck": false, "chunk_size": PIECE });
        let answer = self.ask_jetstream(&format!("STREAM.SNAPSHOT.{name}"), &wish).await?;
        let copy: StreamCopy = serde_json::from_value(answer).map_err(failed("copy a stream"))?;
        loop {
            let piece = timeout(ANSWER, pieces.next()).await.map_err(failed("copy a stream"))?;
            let piece = piece.ok_or_else(|| failed("copy a stream")("the connection ended"))?;
            if piece.payload.is_empty() {
                is_fine(&piece)?;
                break;
            }
            to.write_all(&piece.payload).await.map_err(failed("write the copy of a stream"))?;
            if let Some(reply) = piece.reply {
                self.client.publish(reply, Bytes::new()).await.map_err(failed("copy a stream"))?;
            }
        }
        to.flush().await.map_err(failed("write the copy of a stream"))?;
        Ok(copy)
    }

    /// Makes a stream of its copy, with as many replicas as this deployment has. One that is there and has never held anything
    /// is replaced.
    ///
    /// # Errors
    /// When there is one already, or the server does not take the copy.
    pub async fn restore_stream(
        &self,
        name: &str,
        copy: &StreamCopy,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Result<(), BusError> {
        if let Ok(stream) = self.jetstream.get_stream(name).await {
            if stream.cached_info().state.last_sequence > 0 {
                return Err(failed("put a stream back")(format!("{name} is there already, and is not empty")));
            }
            self.jetstream.delete_stream(name).await.map_err(failed("put a stream back"))?;
        }
        let mut config = copy.config.clone();
        config["num_replicas"] = self.replicas.into();
        let wish = json!({ "config": config, "state": copy.state });
        let answer = self.ask_jetstream(&format!("STREAM.RESTORE.{name}"), &wish).await?;
        let to = answer["deliver_subject"].as_str().ok_or_else(|| failed("put a stream back")("it is not taken"))?;
        let mut piece = vec![0; PIECE];
        loop {
            let read = read_full(from, &mut piece).await.map_err(failed("read the copy of a stream"))?;
            let sent = self.client.request(to.to_owned(), Bytes::copy_from_slice(&piece[..read]));
            let answer = timeout(ANSWER, sent).await.map_err(failed("put a stream back"))?;
            let answer = answer.map_err(failed("put a stream back"))?;
            if !answer.payload.is_empty() {
                checked(&answer.payload)?;
            }
            if read == 0 {
                return Ok(());
            }
        }
    }

    async fn ask_jetstream(&self, question: &str, wish: &Value) -> Result<Value, BusError> {
        let asked = self.client.request(format!("$JS.API.{question}"), wish.to_string().into());
        let answer = timeout(ANSWER, asked).await.map_err(failed("ask JetStream"))?.map_err(failed("ask JetStream"))?;
        checked(&answer.payload)
    }
}

fn checked(payload: &[u8]) -> Result<Value, BusError> {
    let answer: Answer = serde_json::from_slice(payload).map_err(failed("ask JetStream"))?;
    match answer.error {
        Some(refused) => Err(failed("ask JetStream")(refused.description)),
        None => Ok(answer.rest),
    }
}

/// The last message of a copy says how it ended.
fn is_fine(last: &Message) -> Result<(), BusError> {
    match last.status {
        None => Ok(()),
        Some(status) if status.as_u16() / 100 == 2 => Ok(()),
        Some(status) => {
            let why = last.description.as_deref().unwrap_or_default();
            Err(failed("copy a stream")(format!("{status} {why}")))
        }
    }
}

async fn read_full(from: &mut (impl AsyncRead + Unpin), piece: &mut [u8]) -> std::io::Result<usize> {
    let mut read = 0;
    while read < piece.len() {
        match from.read(&mut piece[read..]).await? {
            0 => break,
            count => read += count,
        }
    }
    Ok(read)
}
