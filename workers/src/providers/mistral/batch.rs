//! Mistral's batch jobs: all lines in the request that makes the job, and files of answers and errors in OpenAI's form.
//! Sources: <https://docs.mistral.ai/capabilities/batch>, <https://docs.mistral.ai/api/endpoint/batch>,
//! <https://github.com/mistralai/client-python/blob/main/src/mistralai/client/models/batchjob.py>.

use crate::providers::batch_api::{
    BatchApi, BatchLine, BatchPage, BatchRequest, BatchState, NewBatch, Output, ProviderBatch, around, parse, post,
    put_item, quoted, read_openai_line, seconds,
};
use bytes::BytesMut;
use penstock_dialects::provider::RequestPath;
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::Failure;
use penstock_schemas::native_batch::{GROUP_BYTES, GROUP_LINES, NativeBatchCard};
use serde::Deserialize;
use serde_json::json;

/// Where jobs are.
const PATH: &str = "batch/jobs";

/// Under which key of a job's metadata our name for it stands.
const NAME: &str = "penstock_group";

/// Jobs on one page of a list.
const PAGE: usize = 100;

/// Mistral's batch jobs.
#[derive(Debug)]
pub(crate) struct MistralBatch;

#[derive(Deserialize)]
struct Job {
    id: String,
    status: String,
    created_at: Option<u64>,
    #[serde(default)]
    total_requests: u64,
    #[serde(default)]
    completed_requests: u64,
    output_file: Option<String>,
    error_file: Option<String>,
    #[serde(default)]
    errors: Vec<Error>,
    metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Deserialize)]
struct Error {
    message: String,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    data: Option<Vec<Job>>,
}

impl Job {
    fn read(self) -> Result<ProviderBatch, Failure> {
        let files = [self.output_file, self.error_file].into_iter().flatten();
        let outputs: Vec<Output> = files
            .map(|id| Ok(Output::File(RequestPath::fixed("files").step(&id)?.then("/content"))))
            .collect::<Result<_, Failure>>()?;
        let state = match self.status.as_str() {
            "FAILED" if outputs.is_empty() => {
                let why = self.errors.into_iter().next().map(|error| error.message);
                BatchState::Refused(why.unwrap_or_else(|| "the job failed".to_owned()))
            }
            "SUCCESS" | "FAILED" | "TIMEOUT_EXCEEDED" | "CANCELLED" => BatchState::Ended(outputs),
            _ => BatchState::Running(self.completed_requests),
        };
        Ok(ProviderBatch {
            id: self.id,
            name: self.metadata.and_then(|metadata| Some(metadata.get(NAME)?.as_str()?.to_owned())),
            lines: Some(self.total_requests).filter(|total| *total > 0),
            created_at: self.created_at.map(seconds),
            state,
        })
    }
}

impl BatchApi for MistralBatch {
    /// It takes 10,000 requests in one that makes a job, and more from files.
    fn limits(&self) -> NativeBatchCard {
        NativeBatchCard { lines: GROUP_LINES, bytes: GROUP_BYTES, hours: 24 }
    }

    fn takes(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Chat | Operation::Embeddings)
    }

    fn add(&self, id: &str, _endpoint: &RequestPath, request: &[u8], input: &mut BytesMut) {
        put_item(&format!(r#"{{"custom_id":{},"body":"#, quoted(id)), request, "}", input);
    }

    fn create(&self, new: &NewBatch<'_>) -> Result<BatchRequest, Failure> {
        let metadata = json!({ NAME: new.name });
        let (model, endpoint) = (quoted(new.model.as_str()), quoted(&format!("/v1/{}", new.endpoint)));
        let before =
            format!(r#"{{"model":{model},"endpoint":{endpoint},"metadata":{metadata},"timeout_hours":24,"requests":["#);
        Ok(post(RequestPath::fixed(PATH), around(&before, new.input, "]}")))
    }

    fn list(&self, page: Option<&str>) -> RequestPath {
        let first = RequestPath::fixed(PATH).with_query("page_size", "100");
        page.map_or(first.clone(), |page| first.and_query("page", page))
    }

    /// Pages are numbered from 0; the last one is not full.
    fn read_list(&self, page: Option<&str>, body: &[u8]) -> Result<BatchPage, Failure> {
        let jobs = parse::<List>(body)?.data.unwrap_or_default();
        let number: usize = page.and_then(|page| page.parse().ok()).unwrap_or(0);
        let next = (jobs.len() >= PAGE).then(|| (number + 1).to_string());
        Ok(BatchPage { batches: jobs.into_iter().map(Job::read).collect::<Result<_, _>>()?, next })
    }

    fn poll(&self, id: &str) -> Result<RequestPath, Failure> {
        RequestPath::fixed(PATH).step(id)
    }

    fn read(&self, body: &[u8]) -> Result<ProviderBatch, Failure> {
        parse::<Job>(body)?.read()
    }

    fn cancel(&self, id: &str) -> Result<RequestPath, Failure> {
        Ok(self.poll(id)?.then("/cancel"))
    }

    fn read_line(&self, line: &[u8]) -> Result<BatchLine, Failure> {
        read_openai_line(line)
    }
}
