//! How a provider's own batch API is spoken to: its requests are spelt here and its answers read, as [`super::Adapter`] does
//! it for single calls, whose requests and answers are the lines. Has no sockets, clocks or retries, and knows nothing of
//! money or of who asks.

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use penstock_dialects::provider::{FormatSettings, RequestPath, json_headers};
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::{Delivery, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::ModelId;
use penstock_schemas::native_batch::NativeBatchCard;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::fmt::Debug;

/// The batch APIs that are spoken here: what a row of the catalogue or a provider's section names as `batch_api`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchDialect {
    /// OpenAI's `/files` and `/batches`.
    Openai,
    /// Anthropic's `/v1/messages/batches`.
    Anthropic,
    /// Google's `:batchGenerateContent`.
    Google,
    /// Mistral's `/batch/jobs`.
    Mistral,
}

/// One way to speak to a provider's batch API.
pub trait BatchApi: Debug + Send + Sync {
    /// What one batch may hold.
    fn limits(&self) -> NativeBatchCard;

    /// Whether a batch has our name for it in the provider's list.
    fn keeps_names(&self) -> bool {
        true
    }

    /// Whether requests of this operation can be lines.
    fn takes(&self, operation: Operation) -> bool;

    /// The headers of every request, save the key's.
    fn headers(&self, _settings: &FormatSettings) -> HeaderMap {
        json_headers(Delivery::Whole)
    }

    /// Adds a line to the input: one request, as the adapter has spelt it for this endpoint.
    fn add(&self, id: &str, endpoint: &RequestPath, request: &[u8], input: &mut BytesMut);

    /// The upload of the input, where it is to be stored before the batch is made. `None`: it goes with that.
    fn upload(&self, _name: &str, _input: &Bytes) -> Option<BatchRequest> {
        None
    }

    /// The request that makes a batch.
    ///
    /// # Errors
    /// When a path cannot hold what a name holds.
    fn create(&self, new: &NewBatch<'_>) -> Result<BatchRequest, Failure>;

    /// Where the batches are listed, the newest first; `page` is where the last list said that it goes on.
    fn list(&self, page: Option<&str>) -> RequestPath;

    /// Reads a list, or rather a page of it.
    ///
    /// # Errors
    /// When it cannot be understood.
    fn read_list(&self, page: Option<&str>, body: &[u8]) -> Result<BatchPage, Failure>;

    /// Where one batch is asked for.
    ///
    /// # Errors
    /// When a path cannot hold its id.
    fn poll(&self, id: &str) -> Result<RequestPath, Failure>;

    /// Reads how a batch is: the answer to the request that made it, to a cancel, or to a poll.
    ///
    /// # Errors
    /// When it cannot be understood.
    fn read(&self, body: &[u8]) -> Result<ProviderBatch, Failure>;

    /// Where a batch is cancelled, by a POST.
    ///
    /// # Errors
    /// When a path cannot hold its id.
    fn cancel(&self, id: &str) -> Result<RequestPath, Failure>;

    /// The answers that stand in a batch itself: see [`Output::Inside`].
    ///
    /// # Errors
    /// When it cannot be understood.
    fn inside(&self, _body: &[u8]) -> Result<Vec<Bytes>, Failure> {
        Ok(Vec::new())
    }

    /// Reads one line of the answers.
    ///
    /// # Errors
    /// When it cannot be understood.
    fn read_line(&self, line: &[u8]) -> Result<BatchLine, Failure>;
}

/// A batch that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewBatch<'a> {
    /// Our name for it, by which it is found again.
    pub name: &'a str,
    /// The model of all lines.
    pub model: &'a ModelId,
    /// Where single requests of this kind go.
    pub endpoint: &'a RequestPath,
    /// The lines.
    pub input: &'a Bytes,
    /// The input as it was stored: what the answer to the upload has as its id.
    pub file: Option<&'a str>,
}

/// A POST, below the provider's base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRequest {
    /// Where to.
    pub path: RequestPath,
    /// The media type, where it is not JSON.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// How a batch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderBatch {
    /// The provider's name for it.
    pub id: String,
    /// Our name for it, where the provider keeps one.
    pub name: Option<String>,
    /// How many lines it has, where the provider says.
    pub lines: Option<u64>,
    /// When it was made, where the provider says.
    pub created_at: Option<UnixMicros>,
    /// How far it is.
    pub state: BatchState,
}

/// How far a batch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchState {
    /// Under way; so many lines are answered, as far as the provider says.
    Running(u64),
    /// Over; the answers that there are stand there.
    Ended(Vec<Output>),
    /// Not taken, and why: no line was run.
    Refused(String),
}

/// Where answers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// In a file, one on each line.
    File(RequestPath),
    /// In the batch itself.
    Inside,
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchPage {
    /// What is on it.
    pub batches: Vec<ProviderBatch>,
    /// Where the list goes on.
    pub next: Option<String>,
}

/// What came of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchLine {
    /// Ours.
    pub id: String,
    /// What the provider says.
    pub end: LineEnd,
}

/// How a line ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// As a single call would: with this status and body.
    Answered(u16, Bytes),
    /// It was never run: why, in the provider's word.
    Unrun(String),
    /// It may have been run, and its answer cannot be read.
    Unread,
}

/// Reads JSON of a provider's.
///
/// # Errors
/// When it is none of this type.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    // Some servers put a byte order mark in front of a file.
    serde_json::from_slice(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)).map_err(|error| {
        Failure::provider(
            FailureKind::Broken,
            format!("the provider's batch API answered what cannot be read: {error}"),
        )
    })
}

/// Adds JSON to a line: what breaks a line in it is no part of a text.
pub(crate) fn put_on_one_line(json: &[u8], line: &mut BytesMut) {
    line.extend(json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
}

/// Adds JSON to a list whose items are joined by commas.
pub(crate) fn put_item(prefix: &str, json: &[u8], suffix: &str, list: &mut BytesMut) {
    if !list.is_empty() {
        list.put_u8(b',');
    }
    list.put_slice(prefix.as_bytes());
    list.put_slice(json);
    list.put_slice(suffix.as_bytes());
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text has a JSON form")
}

/// JSON with a list of items at its end: `{…,"requests":[` and so on.
pub(crate) fn around(before: &str, list: &[u8], after: &str) -> Bytes {
    [before.as_bytes(), list, after.as_bytes()].concat().into()
}

/// The bytes of a part of an answer.
pub(crate) fn raw(part: &RawValue) -> Bytes {
    Bytes::copy_from_slice(part.get().as_bytes())
}

/// Seconds since 1970, as a time.
pub(crate) fn seconds(seconds: u64) -> UnixMicros {
    UnixMicros(seconds.saturating_mul(1_000_000))
}

/// A time as RFC 3339 writes it.
pub(crate) fn rfc3339(text: &str) -> Option<UnixMicros> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_microsecond()).ok().map(UnixMicros)
}

/// A POST with JSON.
pub(crate) fn post(path: RequestPath, body: impl Into<Bytes>) -> BatchRequest {
    BatchRequest { path, content_type: None, body: body.into() }
}

/// The lines of OpenAI's form, which Mistral's has too: what is answered, or why not.
/// Source: <https://platform.openai.com/docs/api-reference/batch/request-output>.
pub(crate) fn read_openai_line(line: &[u8]) -> Result<BatchLine, Failure> {
    #[derive(Deserialize)]
    struct Line {
        custom_id: String,
        response: Option<Response>,
        error: Option<Box<RawValue>>,
    }
    #[derive(Deserialize)]
    struct Response {
        status_code: u16,
        body: Box<RawValue>,
    }
    #[derive(Deserialize)]
    struct Error {
        code: Option<String>,
        message: Option<String>,
    }
    let line: Line = parse(line)?;
    let end = match (line.response, line.error) {
        (Some(response), _) => LineEnd::Answered(response.status_code, raw(&response.body)),
        (None, Some(error)) => LineEnd::Unrun(match serde_json::from_str::<Error>(error.get()) {
            Ok(Error { code, message }) => message.or(code).unwrap_or_default(),
            Err(_) => error.get().to_owned(),
        }),
        (None, None) => LineEnd::Unrun(String::new()),
    };
    Ok(BatchLine { id: line.custom_id, end })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::batch_of;
    use serde_json::{Value, json};

    const ALL: [(BatchDialect, &str); 4] = [
        (BatchDialect::Openai, "chat/completions"),
        (BatchDialect::Anthropic, "v1/messages"),
        (BatchDialect::Google, "models/m:generateContent"),
        (BatchDialect::Mistral, "chat/completions"),
    ];

    /// What each sends for two lines, the first of which has line breaks in it: the upload, and the batch.
    fn sent(dialect: BatchDialect, endpoint: &'static str) -> (Option<String>, String, Value) {
        let (api, endpoint) = (batch_of(dialect), RequestPath::fixed(endpoint));
        let mut input = BytesMut::new();
        api.add("1", &endpoint, b"{\n \"a\":\r\n1}", &mut input);
        api.add("2", &endpoint, b"{}", &mut input);
        let (input, model) = (input.freeze(), ModelId::parse("m").unwrap());
        let upload = api.upload("batch_1-0", &input).map(|upload| {
            assert_eq!(upload.path.as_str(), "files");
            String::from_utf8(upload.body.to_vec()).unwrap()
        });
        let new =
            NewBatch { name: "batch_1-0", model: &model, endpoint: &endpoint, input: &input, file: Some("file-1") };
        let create = api.create(&new).unwrap();
        (upload, create.path.to_string(), serde_json::from_slice(&create.body).unwrap())
    }

    #[test]
    fn each_api_gets_its_lines_and_our_name_for_them() {
        let (upload, path, body) = sent(BatchDialect::Openai, ALL[0].1);
        let upload = upload.unwrap();
        let line = |id: &str, body: &str| {
            format!(r#"{{"custom_id":"{id}","method":"POST","url":"/v1/chat/completions","body":{body}}}"#)
        };
        let lines = format!("\r\n\r\n{}\n{}\n\r\n--", line("1", "{  \"a\":  1}"), line("2", "{}"));
        assert!(upload.contains("name=\"purpose\"\r\n\r\nbatch\r\n") && upload.contains(&lines), "{upload}");
        assert_eq!(path, "batches");
        assert_eq!(
            body,
            json!({ "input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h",
                "metadata": { "penstock_group": "batch_1-0" } })
        );
        let (upload, path, body) = sent(BatchDialect::Anthropic, ALL[1].1);
        let requests = json!([{ "custom_id": "1", "params": { "a": 1 } }, { "custom_id": "2", "params": {} }]);
        assert_eq!((upload, path.as_str(), body), (None, "v1/messages/batches", json!({ "requests": requests })));
        let (upload, path, body) = sent(BatchDialect::Google, ALL[2].1);
        let requests = json!([{ "request": { "a": 1 }, "metadata": { "key": "1" } },
            { "request": {}, "metadata": { "key": "2" } }]);
        let batch = json!({ "displayName": "batch_1-0", "inputConfig": { "requests": { "requests": requests } } });
        assert_eq!((upload, path.as_str(), body), (None, "models/m:batchGenerateContent", json!({ "batch": batch })));
        let (upload, path, body) = sent(BatchDialect::Mistral, ALL[3].1);
        let requests = json!([{ "custom_id": "1", "body": { "a": 1 } }, { "custom_id": "2", "body": {} }]);
        assert_eq!((upload, path.as_str()), (None, "batch/jobs"));
        assert_eq!(
            body,
            json!({ "model": "m", "endpoint": "/v1/chat/completions", "metadata": { "penstock_group": "batch_1-0" },
                "timeout_hours": 24, "requests": requests })
        );
    }

    #[test]
    fn every_state_that_a_provider_knows_is_under_way_over_or_refused() {
        let file = |id: &str| Output::File(RequestPath::fixed("files").step(id).unwrap().then("/content"));
        let files = json!({ "output_file_id": "o", "error_file_id": "e", "output_file": "o", "error_file": "e" });
        let state = |dialect: BatchDialect, states: &str, body: Value| {
            let mut body = body;
            body.as_object_mut().unwrap().extend(files.as_object().unwrap().clone());
            let read = |state: &str| batch_of(dialect).read(body.to_string().replace('?', state).as_bytes()).unwrap();
            states.split(' ').map(|state| read(state).state).collect::<Vec<_>>()
        };
        let openai = json!({ "id": "b", "status": "?", "request_counts": { "completed": 3, "failed": 1, "total": 9 } });
        for found in state(BatchDialect::Openai, "validating in_progress finalizing cancelling", openai.clone()) {
            assert_eq!(found, BatchState::Running(4));
        }
        for found in state(BatchDialect::Openai, "completed expired cancelled", openai.clone()) {
            assert_eq!(found, BatchState::Ended(vec![file("o"), file("e")]));
        }
        let refused = BatchState::Refused("the batch failed".to_owned());
        assert_eq!(state(BatchDialect::Openai, "failed", openai)[0], refused);
        let mistral = json!({ "id": "b", "status": "?", "completed_requests": 4 });
        for found in state(BatchDialect::Mistral, "QUEUED RUNNING CANCELLATION_REQUESTED", mistral.clone()) {
            assert_eq!(found, BatchState::Running(4));
        }
        for found in state(BatchDialect::Mistral, "SUCCESS FAILED TIMEOUT_EXCEEDED CANCELLED", mistral) {
            assert_eq!(found, BatchState::Ended(vec![file("o"), file("e")]));
        }
        let counts = json!({ "canceled": 0, "errored": 1, "expired": 1, "processing": 5, "succeeded": 2 });
        let anthropic = json!({ "id": "b", "processing_status": "?", "request_counts": counts });
        let results = Output::File(RequestPath::fixed("v1/messages/batches").step("b").unwrap().then("/results"));
        let found = state(BatchDialect::Anthropic, "in_progress canceling ended", anthropic);
        let under_way = BatchState::Running(4);
        assert_eq!(found, [under_way.clone(), under_way, BatchState::Ended(vec![results])]);
        let google = json!({ "name": "batches/b", "metadata": { "state": "BATCH_STATE_?" } });
        let found = state(BatchDialect::Google, "PENDING RUNNING SUCCEEDED CANCELLED EXPIRED FAILED", google);
        let over = BatchState::Ended(vec![Output::Inside]);
        let under_way = BatchState::Running(0);
        assert_eq!(found, [under_way.clone(), under_way, over.clone(), over.clone(), over, refused]);
    }

    #[test]
    fn what_is_no_answer_is_an_error_and_never_a_panic() {
        for (dialect, _) in ALL {
            let api = batch_of(dialect);
            for bad in ["", "null", "[]", "{}", "{\"id\":1}", "{\"custom_id\":\"a\"}", "{\"data\":[{}]}"] {
                assert!(api.read(bad.as_bytes()).is_err(), "{dialect:?} {bad}");
                let _ =
                    (api.read_list(None, bad.as_bytes()), api.read_line(bad.as_bytes()), api.inside(bad.as_bytes()));
            }
            for id in ["", "..", "a/../b", "a?b", "ü"] {
                assert!(api.poll(id).is_err() || !api.poll(id).unwrap().as_str().contains("/../"), "{dialect:?} {id}");
            }
        }
    }
}
