//! How an answer is to be: the command line's defaults, and what a request asks for. Answers nothing.

use clap::{Args, Parser};
use std::net::SocketAddr;

/// A very fast upstream in OpenAI's shape: chat completions, plain and streamed, and embeddings. `GET /stats` counts.
///
/// Every default can be overridden by the request: in the query
/// (`?chunks=50&delay_us=0&latency_us=0&status=200&abort_after=3&retry_after=1`), or, where a gateway drops the query, in
/// the model's name: `anything~c50~d1000~l20000~s429~a3~r1`.
#[derive(Parser)]
pub(crate) struct Options {
    /// Where to listen; port 0 takes a free one, and the first line printed tells which
    #[arg(long, default_value = "127.0.0.1:9100")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) knobs: Knobs,
}

#[derive(Args, Clone, Copy)]
pub(crate) struct Knobs {
    /// Content chunks of a streamed reply
    #[arg(long, default_value_t = 50)]
    pub(crate) chunks: u64,
    /// Microseconds before each chunk but the first
    #[arg(long, default_value_t = 0)]
    pub(crate) delay_us: u64,
    /// Microseconds before the head of the reply
    #[arg(long, default_value_t = 0)]
    pub(crate) latency_us: u64,
    /// Answer with this status; from 400 on, with an error's body
    #[arg(long, default_value_t = 200)]
    pub(crate) status: u16,
    /// Break streams off before this chunk; 0 never does
    #[arg(long, default_value_t = 0)]
    pub(crate) abort_after: u64,
    /// Seconds for `Retry-After` beside an error; 0 leaves it out
    #[arg(long, default_value_t = 0)]
    pub(crate) retry_after: u64,
}

impl Knobs {
    /// These, as the request changes them.
    pub(crate) fn of_request(mut self, query: Option<&str>, body: &[u8]) -> Self {
        for (name, value) in query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
            self.turn(name, value);
        }
        let model = value_of(body, "\"model\"").and_then(|value| value.strip_prefix(b"\"")).unwrap_or_default();
        let end = memchr::memchr(b'"', model).unwrap_or(model.len());
        for part in std::str::from_utf8(&model[..end]).unwrap_or_default().split('~').skip(1) {
            if let Some((name, value)) = part.split_at_checked(1) {
                self.turn(name, value);
            }
        }
        self
    }

    fn turn(&mut self, name: &str, value: &str) {
        let Ok(number) = value.parse() else { return };
        match name {
            "chunks" | "c" => self.chunks = number,
            "delay_us" | "d" => self.delay_us = number,
            "latency_us" | "l" => self.latency_us = number,
            "status" | "s" => self.status = number.try_into().unwrap_or(self.status),
            "abort_after" | "a" => self.abort_after = number,
            "retry_after" | "r" => self.retry_after = number,
            _ => {}
        }
    }
}

/// Does the body say `"key": true`?
pub(crate) fn is_true(body: &[u8], key: &str) -> bool {
    value_of(body, key).is_some_and(|value| value.starts_with(b"true"))
}

/// What follows the first `"key":` at any depth: good enough for the requests that we send ourselves.
fn value_of<'a>(body: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let after = memchr::memmem::find(body, key.as_bytes())? + key.len();
    let start = body[after..].iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b':'))?;
    Some(&body[after + start..])
}
