//! The gateway as a client sees it. Knows nothing of batches but their path.

use super::GatewayOptions;
use crate::Place;
use crate::up::RunFile;
use anyhow::{Context, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{Body, RequestBuilder, Response};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use tokio_util::io::ReaderStream;

/// What stands between the parts of an upload.
const BOUNDARY: &str = "penstock-batch-3f6c1b9a";

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// A gateway, with a key.
pub(super) struct GatewayClient {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl GatewayClient {
    pub(super) fn open(place: &Place, gateway: &GatewayOptions) -> anyhow::Result<Self> {
        let url =
            match &gateway.url {
                Some(url) => url.clone(),
                None => RunFile::read(place)?
                    .context(
                        "no gateway runs here: start `penstock up`, or say --url, or --data if its folder is another",
                    )?
                    .url,
            };
        let key =
            gateway.key.clone().context("say --key psk_…, or set PENSTOCK_KEY: a key of the project that pays")?;
        let http = reqwest::Client::builder().connect_timeout(CONNECT).build()?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), key })
    }

    pub(super) async fn batch(&self, id: &str) -> anyhow::Result<Value> {
        self.get(&format!("/v1/batches/{id}")).await
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        json(self.send(self.http.get(self.at(path))).await?).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(self.at(path)).header("content-type", "application/json");
        json(self.send(request.body(body.to_string())).await?).await
    }

    /// Writes a file of the gateway's into `into`, as it comes.
    pub(super) async fn fetch(&self, file: &str, into: &mut impl Write) -> anyhow::Result<()> {
        let response = self.send(self.http.get(self.at(&format!("/v1/files/{file}/content")))).await?;
        let mut bytes = response.bytes_stream();
        while let Some(piece) = bytes.next().await {
            into.write_all(&piece?)?;
        }
        Ok(into.flush()?)
    }

    /// Gives the gateway a file to keep. Its id.
    pub(super) async fn upload(&self, path: &Path) -> anyhow::Result<String> {
        let shown = path.display();
        let file = tokio::fs::File::open(path).await.with_context(|| format!("{shown} cannot be opened"))?;
        let length = file.metadata().await.with_context(|| format!("{shown} cannot be read"))?.len();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let content = ReaderStream::new(file).map_ok(|piece| piece.to_vec());
        self.upload_stream(&name, length, content).await
    }

    pub(super) async fn upload_bytes(&self, name: &str, bytes: Vec<u8>) -> anyhow::Result<String> {
        let length = bytes.len() as u64;
        self.upload_stream(name, length, stream::iter([Ok(bytes)])).await
    }

    async fn upload_stream(
        &self,
        name: &str,
        length: u64,
        content: impl futures_util::Stream<Item = std::io::Result<Vec<u8>>> + Send + 'static,
    ) -> anyhow::Result<String> {
        let name: String = name.chars().map(|c| if c == '"' || c.is_control() { '_' } else { c }).collect();
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{BOUNDARY}\r\n\
             content-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\ncontent-type: application/jsonl\r\n\r\n"
        );
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        let length = head.len() as u64 + length + tail.len() as u64;
        let edge = |text: String| stream::iter([Ok(text.into_bytes())]);
        let body = Body::wrap_stream(edge(head).chain(content).chain(edge(tail)));
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let request = self.http.post(self.at("/v1/files")).header("content-type", kind);
        let answer = json(self.send(request.header("content-length", length).body(body)).await?).await?;
        let id = answer["id"].as_str().map(ToOwned::to_owned);
        id.context("the gateway's answer to the upload names no file")
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let sent = request.bearer_auth(&self.key).send().await;
        let response = sent.with_context(|| format!("the gateway at {} does not answer", self.url))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        let error: Value = serde_json::from_str(&text).unwrap_or_default();
        let message =
            error["error"]["message"].as_str().map_or_else(|| text.chars().take(500).collect(), ToOwned::to_owned);
        bail!("{message} ({})", status.as_u16())
    }
}

async fn json(response: Response) -> anyhow::Result<Value> {
    let text = response.text().await.context("the gateway's answer broke off")?;
    serde_json::from_str(&text).context("the gateway's answer cannot be read")
}
