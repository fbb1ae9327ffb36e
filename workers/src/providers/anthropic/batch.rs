//! Anthropic's Message Batches: all lines in the request that makes the batch, and one file of what came of them. It keeps no
//! name of ours: a batch is known by its lines alone.
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/batch-processing>,
//! <https://platform.claude.com/docs/en/api/messages/batches>,
//! <https://github.com/anthropics/anthropic-sdk-python/tree/main/src/anthropic/types/messages>.

use crate::providers::batch_api::{
    BatchApi, BatchLine, BatchPage, BatchRequest, BatchState, LineEnd, NewBatch, Output, ProviderBatch, around, parse,
    post, put_item, quoted, raw, rfc3339,
};
use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};
use penstock_dialects::anthropic::provider::VERSION;
use penstock_dialects::provider::{FormatSettings, RequestPath, json_headers};
use penstock_schemas::envelope::{Delivery, Operation};
use penstock_schemas::failure::Failure;
use penstock_schemas::native_batch::{GROUP_BYTES, GROUP_LINES, NativeBatchCard};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Where batches are.
const PATH: &str = "v1/messages/batches";

/// Anthropic's Message Batches.
#[derive(Debug)]
pub(crate) struct AnthropicBatch;

#[derive(Deserialize)]
struct RawBatch {
    id: String,
    processing_status: String,
    created_at: Option<String>,
    request_counts: Option<Counts>,
}

#[derive(Deserialize)]
struct Counts {
    canceled: u64,
    errored: u64,
    expired: u64,
    processing: u64,
    succeeded: u64,
}

#[derive(Deserialize)]
struct List {
    data: Vec<RawBatch>,
    #[serde(default)]
    has_more: bool,
    last_id: Option<String>,
}

#[derive(Deserialize)]
struct Line {
    custom_id: String,
    result: LineResult,
}

#[derive(Deserialize)]
struct LineResult {
    r#type: String,
    message: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct ErrorResponse {
    error: ErrorObject,
}

#[derive(Deserialize)]
struct ErrorObject {
    r#type: String,
}

impl RawBatch {
    fn read(self) -> Result<ProviderBatch, Failure> {
        let counts = self.request_counts;
        let sum = |counts: &Counts| counts.canceled + counts.errored + counts.expired + counts.succeeded;
        let state = match self.processing_status.as_str() {
            "ended" => {
                let results = RequestPath::fixed(PATH).step(&self.id)?.then("/results");
                BatchState::Ended(vec![Output::File(results)])
            }
            _ => BatchState::Running(counts.as_ref().map_or(0, sum)),
        };
        let lines = counts.map(|counts| sum(&counts) + counts.processing);
        let created_at = self.created_at.as_deref().and_then(rfc3339);
        Ok(ProviderBatch { id: self.id, name: None, lines, created_at, state })
    }
}

impl BatchApi for AnthropicBatch {
    /// It takes 100,000 requests and 256 MB; what is less is ours.
    fn limits(&self) -> NativeBatchCard {
        NativeBatchCard { lines: GROUP_LINES, bytes: GROUP_BYTES, hours: 24 }
    }

    fn keeps_names(&self) -> bool {
        false
    }

    fn takes(&self, operation: Operation) -> bool {
        operation == Operation::Chat
    }

    fn headers(&self, settings: &FormatSettings) -> HeaderMap {
        let mut headers = json_headers(Delivery::Whole);
        if let Ok(version) = HeaderValue::from_str(settings.api_version.as_deref().unwrap_or(VERSION)) {
            headers.insert("anthropic-version", version);
        }
        headers
    }

    fn add(&self, id: &str, _endpoint: &RequestPath, request: &[u8], input: &mut BytesMut) {
        put_item(&format!(r#"{{"custom_id":{},"params":"#, quoted(id)), request, "}", input);
    }

    fn create(&self, new: &NewBatch<'_>) -> Result<BatchRequest, Failure> {
        Ok(post(RequestPath::fixed(PATH), around(r#"{"requests":["#, new.input, "]}")))
    }

    fn list(&self, page: Option<&str>) -> RequestPath {
        let first = RequestPath::fixed(PATH).with_query("limit", "100");
        page.map_or(first.clone(), |page| first.and_query("after_id", page))
    }

    fn read_list(&self, _page: Option<&str>, body: &[u8]) -> Result<BatchPage, Failure> {
        let list: List = parse(body)?;
        let next = list.last_id.filter(|_| list.has_more);
        Ok(BatchPage { batches: list.data.into_iter().map(RawBatch::read).collect::<Result<_, _>>()?, next })
    }

    fn poll(&self, id: &str) -> Result<RequestPath, Failure> {
        RequestPath::fixed(PATH).step(id)
    }

    fn read(&self, body: &[u8]) -> Result<ProviderBatch, Failure> {
        parse::<RawBatch>(body)?.read()
    }

    fn cancel(&self, id: &str) -> Result<RequestPath, Failure> {
        Ok(self.poll(id)?.then("/cancel"))
    }

    fn read_line(&self, line: &[u8]) -> Result<BatchLine, Failure> {
        let line: Line = parse(line)?;
        let end = match line.result {
            LineResult { message: Some(message), .. } => LineEnd::Answered(200, raw(&message)),
            LineResult { error: Some(error), .. } => LineEnd::Answered(status(&error), raw(&error)),
            LineResult { r#type, .. } => LineEnd::Unrun(r#type),
        };
        Ok(BatchLine { id: line.custom_id, end })
    }
}

/// The status that a single call would have had with this error.
/// Source: <https://platform.claude.com/docs/en/api/errors>.
fn status(error: &RawValue) -> u16 {
    let kind = serde_json::from_str::<ErrorResponse>(error.get()).map(|response| response.error.r#type);
    match kind.as_deref() {
        Ok("invalid_request_error") => 400,
        Ok("authentication_error") => 401,
        Ok("billing_error") => 402,
        Ok("permission_error") => 403,
        Ok("not_found_error") => 404,
        Ok("request_too_large") => 413,
        Ok("rate_limit_error") => 429,
        Ok("timeout_error") => 504,
        Ok("overloaded_error") => 529,
        Ok(_) | Err(_) => 500,
    }
}
