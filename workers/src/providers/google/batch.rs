//! Gemini's Batch API: all lines in the request that makes the batch, and what came of them in the batch itself.
//! Sources: <https://ai.google.dev/gemini-api/docs/batch-api>, <https://ai.google.dev/api/batch-api>,
//! <https://github.com/googleapis/python-genai/blob/main/google/genai/batches.py>.

use crate::providers::batch_api::{
    BatchApi, BatchLine, BatchPage, BatchRequest, BatchState, LineEnd, NewBatch, Output, ProviderBatch, around, parse,
    post, put_item, quoted, raw, rfc3339,
};
use bytes::{Bytes, BytesMut};
use penstock_dialects::google::provider::{Service, resource};
use penstock_dialects::provider::RequestPath;
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::Failure;
use penstock_schemas::native_batch::{GROUP_BYTES, NativeBatchCard};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Where batches are, and what their names begin with.
const PATH: &str = "batches";

/// The most lines of a batch here: its answers come in one piece, which is read whole.
const LINES: u32 = 1000;

/// Gemini's Batch API.
#[derive(Debug)]
pub(crate) struct GeminiBatch;

/// A long-running operation.
#[derive(Deserialize)]
struct RawOperation {
    name: String,
    metadata: Option<Metadata>,
    error: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    display_name: Option<String>,
    state: Option<String>,
    create_time: Option<String>,
    batch_stats: Option<Stats>,
}

/// Numbers come as texts: they are `int64`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    request_count: Option<Number>,
    successful_request_count: Option<Number>,
    failed_request_count: Option<Number>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Number(u64),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    #[serde(default)]
    operations: Vec<RawOperation>,
    next_page_token: Option<String>,
}

/// `google.rpc.Status`.
#[derive(Deserialize)]
struct Status {
    code: Option<u32>,
    message: Option<String>,
}

/// The answers of an operation: in its metadata, or as its response.
#[derive(Deserialize)]
struct Answers {
    metadata: Option<AnswersMetadata>,
    response: Option<AnswersOutput>,
}

#[derive(Deserialize)]
struct AnswersMetadata {
    output: Option<AnswersOutput>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswersOutput {
    inlined_responses: Option<Inlined>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inlined {
    #[serde(default)]
    inlined_responses: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Line {
    metadata: Option<Key>,
    response: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Key {
    key: String,
}

impl Number {
    fn value(&self) -> u64 {
        match self {
            Self::Text(text) => text.parse().unwrap_or(0),
            Self::Number(number) => *number,
        }
    }
}

impl RawOperation {
    fn read(self) -> ProviderBatch {
        let count = |number: &Option<Number>| number.as_ref().map_or(0, Number::value);
        let stats = self.metadata.as_ref().and_then(|metadata| metadata.batch_stats.as_ref());
        let done = stats.map_or(0, |stats| count(&stats.successful_request_count) + count(&stats.failed_request_count));
        let lines = stats.map(|stats| count(&stats.request_count)).filter(|lines| *lines > 0);
        let of_metadata = |get: fn(&Metadata) -> Option<&String>| self.metadata.as_ref().and_then(get).cloned();
        let state = of_metadata(|metadata| metadata.state.as_ref()).unwrap_or_default();
        // `BATCH_STATE_SUCCEEDED`; the SDKs know `JOB_STATE_` too.
        let state = match state.rsplit_once("STATE_").map_or("", |(_, state)| state) {
            "FAILED" => {
                let why = self.error.and_then(|error| error.message);
                BatchState::Refused(why.unwrap_or_else(|| "the batch failed".to_owned()))
            }
            "SUCCEEDED" | "CANCELLED" | "EXPIRED" | "PARTIALLY_SUCCEEDED" => BatchState::Ended(vec![Output::Inside]),
            _ => BatchState::Running(done),
        };
        let name = self.metadata.as_ref().and_then(|metadata| metadata.display_name.clone());
        let created_at = self.metadata.as_ref().and_then(|metadata| rfc3339(metadata.create_time.as_deref()?));
        ProviderBatch { id: self.name, name, lines, created_at, state }
    }
}

impl BatchApi for GeminiBatch {
    /// It takes 20 MB in a request that makes a batch.
    fn limits(&self) -> NativeBatchCard {
        NativeBatchCard { lines: LINES, bytes: GROUP_BYTES, hours: 24 }
    }

    fn takes(&self, operation: Operation) -> bool {
        operation == Operation::Chat
    }

    fn add(&self, id: &str, _endpoint: &RequestPath, request: &[u8], input: &mut BytesMut) {
        let key = format!(r#","metadata":{{"key":{}}}}}"#, quoted(id));
        put_item(r#"{"request":"#, request, &key, input);
    }

    fn create(&self, new: &NewBatch<'_>) -> Result<BatchRequest, Failure> {
        let path = resource::method_of(new.model, Service::Gemini, ":batchGenerateContent")?;
        let name = quoted(new.name);
        let before = format!(r#"{{"batch":{{"displayName":{name},"inputConfig":{{"requests":{{"requests":["#);
        Ok(post(path, around(&before, new.input, "]}}}}")))
    }

    fn list(&self, page: Option<&str>) -> RequestPath {
        let first = RequestPath::fixed(PATH).with_query("pageSize", "100");
        page.map_or(first.clone(), |page| first.and_query("pageToken", page))
    }

    fn read_list(&self, _page: Option<&str>, body: &[u8]) -> Result<BatchPage, Failure> {
        let list: List = parse(body)?;
        let next = list.next_page_token.filter(|token| !token.is_empty());
        Ok(BatchPage { batches: list.operations.into_iter().map(RawOperation::read).collect(), next })
    }

    fn poll(&self, id: &str) -> Result<RequestPath, Failure> {
        RequestPath::fixed(PATH).step(id.strip_prefix("batches/").unwrap_or(id))
    }

    fn read(&self, body: &[u8]) -> Result<ProviderBatch, Failure> {
        Ok(parse::<RawOperation>(body)?.read())
    }

    fn cancel(&self, id: &str) -> Result<RequestPath, Failure> {
        Ok(self.poll(id)?.then(":cancel"))
    }

    fn inside(&self, body: &[u8]) -> Result<Vec<Bytes>, Failure> {
        let answers: Answers = parse(body)?;
        let output = answers.metadata.and_then(|metadata| metadata.output).or(answers.response);
        let lines = output.and_then(|output| output.inlined_responses).map(|inlined| inlined.inlined_responses);
        Ok(lines.unwrap_or_default().iter().map(|line| raw(line)).collect())
    }

    fn read_line(&self, line: &[u8]) -> Result<BatchLine, Failure> {
        let line: Line = parse(line)?;
        let id = line.metadata.map(|metadata| metadata.key).unwrap_or_default();
        let end = match (line.response, line.error) {
            (Some(response), _) => LineEnd::Answered(200, raw(&response)),
            (None, Some(error)) => {
                let status = serde_json::from_str::<Status>(error.get()).ok().and_then(|error| error.code);
                let body = around(r#"{"error":"#, error.get().as_bytes(), "}");
                LineEnd::Answered(http_status(status.unwrap_or(2)), body)
            }
            (None, None) => LineEnd::Unrun("no answer".to_owned()),
        };
        Ok(BatchLine { id, end })
    }
}

/// The status of HTTP that stands for a code of `google.rpc`; codes of HTTP stay what they are.
/// Source: <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>.
fn http_status(code: u32) -> u16 {
    match code {
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        400..=599 => u16::try_from(code).unwrap_or(500),
        _ => 500,
    }
}
