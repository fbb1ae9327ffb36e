//! The command line, and the request that it describes. Sends nothing.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Parser;
use http::{HeaderMap, HeaderName, Uri, header};
use std::path::PathBuf;

/// Loads a chat completions URL over kept-alive HTTP/1.1 connections.
///
/// Without --rate: a closed loop; each connection sends as soon as its last reply ended. With --rate: an open loop;
/// requests start on a fixed schedule, and latency is given from the actual send (`latency`) and from the scheduled time
/// (`corrected`, free of coordinated omission). Every output gives `foreign_cores`, the CPU that other processes used
/// meanwhile: repeat a run where it is over about 0.3.
#[derive(Parser)]
#[command(after_help = "Examples:\n  \
    loadgen http://127.0.0.1:9100/v1/chat/completions -c 16 -d 3\n  \
    loadgen http://127.0.0.1:8080/v1/chat/completions -H 'Authorization: Bearer psk_...' -m mock/mock-model \\\n          \
    -r 500 -d 5 -p penstock=$(pidof penstock)")]
pub(crate) struct Options {
    /// Target, such as http://127.0.0.1:8080/v1/chat/completions
    pub(crate) url: Uri,
    /// Kept-alive connections; in the open loop, the most requests in flight at once
    #[arg(short, long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Requests per second; makes it an open loop
    #[arg(short, long)]
    pub(crate) rate: Option<f64>,
    /// Open loop: arrivals of a Poisson process instead of evenly spaced ones
    #[arg(long)]
    pub(crate) poisson: bool,
    /// Measured seconds
    #[arg(short, long, default_value_t = 5.0)]
    pub(crate) duration: f64,
    /// Seconds run before measuring
    #[arg(short, long, default_value_t = 1.0)]
    pub(crate) warmup: f64,
    /// Stop after this many measured requests, if that comes before --duration
    #[arg(short = 'n', long)]
    pub(crate) requests: Option<u64>,
    /// Longest time for one request, seconds
    #[arg(long, default_value_t = 10.0)]
    pub(crate) timeout: f64,
    /// Ask for streams
    #[arg(short, long)]
    pub(crate) stream: bool,
    /// Check that a stream holds the tokens t0, t1, t2 ... of mock-upstream in order
    #[arg(long)]
    pub(crate) verify: bool,
    /// Drop the connection after this many body frames, as a client that goes away
    #[arg(long)]
    pub(crate) cancel_after: Option<u64>,
    /// The model asked for
    #[arg(short, long, default_value = "mock-model")]
    pub(crate) model: String,
    /// Bytes of prompt text in the request
    #[arg(long, default_value_t = 200)]
    pub(crate) prompt_bytes: usize,
    /// Messages that the prompt is split over
    #[arg(long, default_value_t = 2)]
    pub(crate) messages: usize,
    /// Each request asks something else: its last message ends with a number, from this one on
    #[arg(long)]
    pub(crate) numbered: Option<u64>,
    /// Send this file instead
    #[arg(long)]
    pub(crate) body_file: Option<PathBuf>,
    /// Extra header, `name: value`; repeatable
    #[arg(short = 'H', long)]
    pub(crate) header: Vec<String>,
    /// A process to charge, NAME=PID; repeatable: CPU per request, cores, memory
    #[arg(short, long)]
    pub(crate) pid: Vec<String>,
    /// Print one JSON object instead of text
    #[arg(short, long)]
    pub(crate) json: bool,
    /// Copied to the output
    #[arg(short, long, default_value = "")]
    pub(crate) label: String,
}

/// What stands in the body for the number of a request.
pub(crate) const NUMBER: &str = " 000000000000";

impl Options {
    /// `host:port` to connect to.
    pub(crate) fn address(&self) -> anyhow::Result<String> {
        if self.url.scheme_str() != Some("http") {
            bail!("{}: only http:// is spoken", self.url);
        }
        let host = self.url.host().context("the URL needs a host")?;
        Ok(format!("{host}:{}", self.url.port_u16().unwrap_or(80)))
    }

    /// The headers of every request.
    pub(crate) fn headers(&self) -> anyhow::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, self.address()?.parse()?);
        headers.insert(header::CONTENT_TYPE, "application/json".parse()?);
        for line in &self.header {
            let (name, value) = line.split_once(':').with_context(|| format!("header {line}: needs `name: value`"))?;
            headers.insert(HeaderName::try_from(name.trim())?, value.trim().parse()?);
        }
        Ok(headers)
    }

    /// The body of every request.
    pub(crate) fn body(&self) -> anyhow::Result<Bytes> {
        const TEXT: &str =
            r#"The quick brown fox jumps over the lazy dog; "pack my box" with five dozen liquor jugs. "#;
        if let Some(path) = &self.body_file {
            return Ok(std::fs::read(path).with_context(|| path.display().to_string())?.into());
        }
        let count = self.messages.max(1);
        let text: String = TEXT.chars().cycle().take(self.prompt_bytes / count).collect();
        let role = |index| if index == 0 && count > 1 { "system" } else { "user" };
        let message = |index| {
            let number = if self.numbered.is_some() && index + 1 == count { NUMBER } else { "" };
            serde_json::json!({"role": role(index), "content": format!("{text}{number}")})
        };
        let mut body = serde_json::json!({
            "model": self.model,
            "messages": (0..count).map(message).collect::<Vec<_>>(),
            "temperature": 0.7,
            "max_tokens": 256,
        });
        if self.stream {
            body["stream"] = true.into();
        }
        Ok(body.to_string().into())
    }
}
