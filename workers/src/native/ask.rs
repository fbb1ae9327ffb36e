//! One question to a provider's batch API, there and back: with the key that it is for, within bounds of time and length.
//! Knows HTTP; leaves every word to the API and the adapter.

use crate::exchange::{describe, read_body, read_refusal};
use crate::keys::Key;
use crate::limits::Pick;
use crate::provider::Provider;
use crate::providers::batch_api::{BatchApi, BatchPage, BatchRequest, NewBatch, ProviderBatch};
use crate::providers::{self, Adapter, ErrorResponse, Outgoing};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use penstock_dialects::provider::RequestPath;
use penstock_runtime::memory::Memory;
use penstock_runtime::{Secret, clock};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::native_batch::NativeJob;
use reqwest::Response;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for the answer to a question.
const ANSWER: Duration = Duration::from_secs(60);

/// Longest wait until the provider has taken a group's lines.
const UPLOAD: Duration = Duration::from_secs(600);

/// The longest answer in one piece, in bytes.
const ANSWER_BYTES: usize = 64 << 20;

/// The means to ask.
pub(super) struct Asking<'a> {
    pub(super) provider: &'a Provider,
    pub(super) memory: &'a Memory,
    pub(super) api: &'static dyn BatchApi,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The provider has said no: nothing was done.
    Refused(Failure),
    /// Nobody knows what was done.
    Unknown(Failure),
}

impl Unanswered {
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Refused(failure) | Self::Unknown(failure) => failure,
        }
    }
}

impl Asking<'_> {
    /// The adapter of the provider's single calls: it has the words for keys and refusals.
    fn adapter(&self) -> Result<&'static dyn Adapter, Failure> {
        let adapter = self.provider.dialects.first().and_then(|dialect| providers::of(*dialect));
        adapter.ok_or_else(|| Failure::gateway(FailureKind::Internal, "the dialect is not spoken"))
    }

    /// The key that a job was submitted with.
    pub(super) fn key_of(&self, job: &NativeJob) -> Result<Pick, Failure> {
        if job.key.is_empty() {
            return Ok(Pick::NoKey);
        }
        let key = self.provider.limits.keys().into_iter().find(|key| key.digest == job.key);
        key.map(Pick::Key).ok_or_else(|| {
            let why = "the key that the batch was submitted with is not among the provider's keys any more";
            Failure::gateway(FailureKind::ProviderAuth, why)
        })
    }

    /// The secret of a key.
    pub(super) async fn secret(&self, key: &Pick) -> Result<Option<Secret>, Failure> {
        self.provider.secret(key).await
    }

    /// Every key that a batch may have been submitted with.
    pub(super) fn keys(&self) -> Vec<Pick> {
        let keys: Vec<Arc<Key>> = self.provider.limits.keys();
        if keys.is_empty() { vec![Pick::NoKey] } else { keys.into_iter().map(Pick::Key).collect() }
    }

    /// How a batch is.
    pub(super) async fn poll(&self, job: &NativeJob) -> Result<ProviderBatch, Failure> {
        let body = self.get(&self.api.poll(&job.id)?, &self.key_of(job)?).await?;
        self.api.read(&body)
    }

    /// Stops a batch.
    pub(super) async fn cancel(&self, job: &NativeJob) -> Result<(), Failure> {
        let request = BatchRequest { path: self.api.cancel(&job.id)?, content_type: None, body: Bytes::new() };
        self.post(request, &self.key_of(job)?).await.map(drop).map_err(Unanswered::into_failure)
    }

    /// A page of the batches that a key can see.
    pub(super) async fn list(&self, page: Option<&str>, key: &Pick) -> Result<BatchPage, Failure> {
        let body = self.get(&self.api.list(page), key).await?;
        self.api.read_list(page, &body)
    }

    /// Stores the lines where that is done first: their id there.
    pub(super) async fn upload(&self, name: &str, input: &Bytes, key: &Pick) -> Result<Option<String>, Failure> {
        #[derive(serde::Deserialize)]
        struct Stored {
            id: String,
        }
        let Some(request) = self.api.upload(name, input) else { return Ok(None) };
        let body = self.post(request, key).await.map_err(Unanswered::into_failure)?;
        Ok(Some(providers::batch_api::parse::<Stored>(&body)?.id))
    }

    /// Makes a batch.
    pub(super) async fn create(&self, new: &NewBatch<'_>, key: &Pick) -> Result<ProviderBatch, Unanswered> {
        let request = self.api.create(new).map_err(Unanswered::Refused)?;
        let body = self.post(request, key).await?;
        self.api.read(&body).map_err(Unanswered::Unknown)
    }

    /// Something that is read, in one piece.
    pub(super) async fn get(&self, path: &RequestPath, key: &Pick) -> Result<Bytes, Failure> {
        let request = BatchRequest { path: path.clone(), content_type: None, body: Bytes::new() };
        let response = self.send(Method::GET, request, key, ANSWER).await.map_err(Unanswered::into_failure)?;
        self.whole(response).await
    }

    /// Something that is read as it comes.
    pub(super) async fn open(&self, path: &RequestPath, key: &Pick) -> Result<Response, Failure> {
        let request = BatchRequest { path: path.clone(), content_type: None, body: Bytes::new() };
        self.send(Method::GET, request, key, ANSWER).await.map_err(Unanswered::into_failure)
    }

    async fn post(&self, request: BatchRequest, key: &Pick) -> Result<Bytes, Unanswered> {
        let response = self.send(Method::POST, request, key, UPLOAD).await?;
        self.whole(response).await.map_err(Unanswered::Unknown)
    }

    async fn whole(&self, response: Response) -> Result<Bytes, Failure> {
        let mut memory = self.memory.none();
        let read = timeout(UPLOAD, read_body(response, ANSWER_BYTES, &mut memory)).await;
        let read = read.map_err(|_| late("did not finish its answer in time"))?;
        read.map_err(|error| error.into_failure(&self.provider.id))
    }

    /// Sends a request, and gives the answer to it unless that is a refusal.
    async fn send(
        &self,
        method: Method,
        request: BatchRequest,
        key: &Pick,
        limit: Duration,
    ) -> Result<Response, Unanswered> {
        let adapter = self.adapter().map_err(Unanswered::Refused)?;
        let secret = self.provider.secret(key).await.map_err(Unanswered::Refused)?;
        let mut headers = self.api.headers(&self.provider.settings);
        if let Some(kind) = request.content_type.as_deref().and_then(|kind| HeaderValue::from_str(kind).ok()) {
            headers.insert(CONTENT_TYPE, kind);
        }
        let mut outgoing = Outgoing { url: self.provider.url(request.path.as_str()), headers, body: request.body };
        if let Some(secret) = &secret {
            let authorized = adapter.authorize(&mut outgoing, secret.reveal(), &self.provider.settings, clock::now());
            authorized.map_err(Unanswered::Refused)?;
        }
        let client = self.provider.client(None).map_err(|error| Unanswered::Refused(connect(&error)))?;
        let sending = client.request(method, outgoing.url).headers(outgoing.headers).body(outgoing.body).send();
        let response = match timeout(limit, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => return Err(Unanswered::Refused(connect(&error))),
            Ok(Err(error)) => return Err(Unanswered::Unknown(connect(&error))),
            Err(_) => return Err(Unanswered::Unknown(late("did not answer in time"))),
        };
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(adapter, response, secret).await) }
    }

    async fn refusal(&self, adapter: &'static dyn Adapter, response: Response, secret: Option<Secret>) -> Unanswered {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = read_refusal(response).await;
        let (provider, key) = (&self.provider.id, secret.as_ref().map(Secret::reveal));
        let failure =
            adapter.refuse(&ErrorResponse { provider, key, status, headers: &headers, body: &body, now: clock::now() });
        // What a server says that fails is no word on what it has done.
        if status < 500 { Unanswered::Refused(failure) } else { Unanswered::Unknown(failure) }
    }
}

fn connect(error: &reqwest::Error) -> Failure {
    Failure::provider(
        FailureKind::Connect,
        format!("the provider's batch API could not be reached: {}", describe(error)),
    )
}

fn late(what: &str) -> Failure {
    Failure::provider(FailureKind::Timeout, format!("the provider's batch API {what}"))
}
