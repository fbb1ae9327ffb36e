//! OpenAI's Batch API: a file of lines, a batch over it, and files of answers and errors.
//! Sources: <https://platform.openai.com/docs/guides/batch>, <https://platform.openai.com/docs/api-reference/batch>,
//! <https://github.com/openai/openai-python/blob/main/src/openai/types/batch.py>.

use crate::providers::batch_api::{
    BatchApi, BatchLine, BatchPage, BatchRequest, BatchState, NewBatch, Output, ProviderBatch, around, parse, post,
    put_on_one_line, quoted, read_openai_line, seconds,
};
use bytes::{BufMut, Bytes, BytesMut};
use penstock_dialects::provider::RequestPath;
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::Failure;
use penstock_schemas::native_batch::{GROUP_BYTES, GROUP_LINES, NativeBatchCard};
use serde::Deserialize;
use serde_json::json;

/// Where batches are.
const PATH: &str = "batches";

/// Under which key of a batch's metadata our name for it stands.
const NAME: &str = "penstock_group";

/// Separates the parts of an upload. A line is JSON and holds no line break, so it cannot stand in one.
const BOUNDARY: &str = "penstock-group-of-lines";

/// OpenAI's Batch API.
#[derive(Debug)]
pub(crate) struct OpenaiBatch;

#[derive(Deserialize)]
struct RawBatch {
    id: String,
    status: String,
    created_at: Option<u64>,
    output_file_id: Option<String>,
    error_file_id: Option<String>,
    errors: Option<Errors>,
    request_counts: Option<Counts>,
    metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Deserialize)]
struct Errors {
    data: Option<Vec<Error>>,
}

#[derive(Deserialize)]
struct Error {
    message: Option<String>,
}

#[derive(Deserialize)]
struct Counts {
    completed: u64,
    failed: u64,
    total: u64,
}

#[derive(Deserialize)]
struct List {
    data: Vec<RawBatch>,
    #[serde(default)]
    has_more: bool,
    last_id: Option<String>,
}

impl RawBatch {
    fn read(self) -> Result<ProviderBatch, Failure> {
        let done = self.request_counts.as_ref().map_or(0, |counts| counts.completed + counts.failed);
        let files = [self.output_file_id, self.error_file_id].into_iter().flatten();
        let outputs = || -> Result<Vec<Output>, Failure> {
            files.map(|id| Ok(Output::File(RequestPath::fixed("files").step(&id)?.then("/content")))).collect()
        };
        let state = match self.status.as_str() {
            "failed" => {
                let errors = self.errors.and_then(|errors| errors.data).unwrap_or_default();
                let why = errors.into_iter().find_map(|error| error.message);
                BatchState::Refused(why.unwrap_or_else(|| "the batch failed".to_owned()))
            }
            "completed" | "expired" | "cancelled" => BatchState::Ended(outputs()?),
            _ => BatchState::Running(done),
        };
        Ok(ProviderBatch {
            id: self.id,
            name: self.metadata.and_then(|metadata| Some(metadata.get(NAME)?.as_str()?.to_owned())),
            lines: self.request_counts.map(|counts| counts.total).filter(|total| *total > 0),
            created_at: self.created_at.map(seconds),
            state,
        })
    }
}

impl BatchApi for OpenaiBatch {
    /// It takes 50,000 requests and 200 MB; what is less is ours.
    fn limits(&self) -> NativeBatchCard {
        NativeBatchCard { lines: GROUP_LINES, bytes: GROUP_BYTES, hours: 24 }
    }

    fn takes(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Chat | Operation::Completions | Operation::Embeddings | Operation::Moderations)
    }

    fn add(&self, id: &str, endpoint: &RequestPath, request: &[u8], input: &mut BytesMut) {
        let (id, url) = (quoted(id), quoted(&url(endpoint)));
        input.put_slice(format!(r#"{{"custom_id":{id},"method":"POST","url":{url},"body":"#).as_bytes());
        put_on_one_line(request, input);
        input.put_slice(b"}\n");
    }

    /// Source: <https://platform.openai.com/docs/api-reference/files/create>.
    fn upload(&self, name: &str, input: &Bytes) -> Option<BatchRequest> {
        let field = "Content-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch";
        let file = format!(
            "Content-Disposition: form-data; name=\"file\"; filename=\"{name}.jsonl\"\r\nContent-Type: application/jsonl\r\n\r\n"
        );
        let (before, after) =
            (format!("--{BOUNDARY}\r\n{field}\r\n--{BOUNDARY}\r\n{file}"), format!("\r\n--{BOUNDARY}--\r\n"));
        Some(BatchRequest {
            path: RequestPath::fixed("files"),
            content_type: Some(format!("multipart/form-data; boundary={BOUNDARY}")),
            body: around(&before, input, &after),
        })
    }

    fn create(&self, new: &NewBatch<'_>) -> Result<BatchRequest, Failure> {
        let body = json!({
            "input_file_id": new.file,
            "endpoint": url(new.endpoint),
            "completion_window": "24h",
            "metadata": { NAME: new.name },
        });
        Ok(post(RequestPath::fixed(PATH), body.to_string()))
    }

    fn list(&self, page: Option<&str>) -> RequestPath {
        let first = RequestPath::fixed(PATH).with_query("limit", "100");
        page.map_or(first.clone(), |page| first.and_query("after", page))
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
        read_openai_line(line)
    }
}

/// An endpoint as lines name it: from the root of the API.
fn url(endpoint: &RequestPath) -> String {
    format!("/v1/{endpoint}")
}
