//! A batch whose requests came with it: they are kept as the file of lines that any batch has.

use super::endpoint;
use super::lines::{Lines, Text};
use crate::batches::output_id;
use crate::files::refused;
use crate::refusal::Refusal;
use crate::state::Shared;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use penstock_runtime::bus::{BusError, FileQuota, FileWriter, NewFile};
use penstock_schemas::file::{FileDescription, FileId, FilePurpose};
use penstock_schemas::key::VirtualKey;
use penstock_schemas::name::{BatchId, ProjectId};
use serde::Serialize;
use serde_json::value::RawValue;
use std::io;
use tokio_util::io::StreamReader;

/// Which of the files of a batch its lines are: the others are its output and its errors.
const INPUT: u128 = 3;

/// One request.
#[derive(Serialize)]
pub(crate) struct InlineLine<'a> {
    /// Its name.
    pub(crate) custom_id: &'a str,
    method: &'static str,
    url: &'a str,
    body: &'a RawValue,
}

impl<'a> InlineLine<'a> {
    /// A request for a path.
    pub(crate) fn new(custom_id: &'a str, url: &'a str, body: &'a RawValue) -> Self {
        debug_assert!(endpoint(url).is_some(), "{url}");
        Self { custom_id, method: "POST", url, body }
    }
}

/// The file of a batch's lines, while it is written.
pub(crate) struct LineKeeper {
    file: FileWriter,
    batch: BatchId,
}

impl LineKeeper {
    /// Begins the file, in the name of who asks for the batch.
    pub(crate) async fn begin(ingress: &Shared, key: &VirtualKey, batch: &BatchId) -> Result<Self, Refusal> {
        let new = NewFile {
            id: Some(output_id(batch, INPUT)),
            project: key.project.clone(),
            key_id: key.id.clone(),
            announced: 0,
            quota: FileQuota::Holds,
        };
        let file = ingress.files.create(new).await.map_err(refused)?;
        Ok(Self { file, batch: batch.clone() })
    }

    /// Adds a line.
    pub(crate) async fn add(&mut self, line: &InlineLine<'_>) -> Result<(), Refusal> {
        let mut line = serde_json::to_vec(line).expect("a line has a JSON form");
        // A raw request may be spread over lines; outside of texts, where none can stand, a space is as good.
        line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        line.push(b'\n');
        self.file.write(&line).await.map_err(refused)
    }

    /// Adds a line in the place of one that names no request: it is refused when the lines are read.
    pub(crate) async fn add_bad(&mut self) -> Result<(), Refusal> {
        self.file.write(b"{}\n").await.map_err(refused)
    }

    /// Ends the file: its name.
    pub(crate) async fn finish(self) -> Result<String, Refusal> {
        let description = FileDescription {
            filename: format!("{}_input.jsonl", self.batch),
            purpose: FilePurpose::Batch,
            content_type: Some("application/jsonl".to_owned()),
            expires_after: None,
        };
        Ok(Box::pin(self.file.finish(description)).await.map_err(refused)?.id.to_string())
    }
}

/// The lines of a file that the project keeps; `None` when there is none. One that is too long is empty.
pub(crate) async fn read_file(
    ingress: &Shared,
    project: &ProjectId,
    file: FileId,
) -> Result<Option<BoxStream<'static, io::Result<Bytes>>>, BusError> {
    let Some(file) = ingress.files.get(project, file).await? else { return Ok(None) };
    let bytes = ingress.files.read(&file, 0..file.bytes).map_err(io::Error::other);
    let lines = Lines::new(StreamReader::new(Box::pin(bytes)), ingress.config.body_limit);
    let lines = stream::try_unfold(lines, |mut lines| async move {
        Ok(lines.next().await?.map(|(_, text)| match text {
            Text::Whole(line) => (line, lines),
            Text::TooLong => (Bytes::new(), lines),
        }))
    });
    Ok(Some(lines.boxed()))
}
