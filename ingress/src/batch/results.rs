//! The results of a batch that is over, read back out of its two files, for APIs that show them in another form than OpenAI's.

use super::lines::{Lines, Text};
use crate::state::Shared;
use futures_util::TryStreamExt;
use futures_util::stream::{self, Stream};
use penstock_schemas::batch::Batch;
use penstock_schemas::file::FileId;
use penstock_schemas::name::ProjectId;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

/// The longest result that is read back, in bytes: as long as an answer may be in a provider's own batch API.
const LONGEST: usize = 64 << 20;

/// What came of one line.
#[derive(Debug, Deserialize)]
pub(crate) struct LineResult {
    pub(crate) custom_id: Option<String>,
    pub(crate) response: Option<LineResponse>,
    pub(crate) error: Option<LineError>,
}

/// An answer, or an error in the words of the line's dialect.
#[derive(Debug, Deserialize)]
pub(crate) struct LineResponse {
    pub(crate) status_code: u16,
    pub(crate) body: Box<RawValue>,
}

/// Why a line was not sent.
#[derive(Debug, Deserialize)]
pub(crate) struct LineError {
    pub(crate) code: String,
    pub(crate) message: String,
}

type Reader = Lines<Box<dyn AsyncRead + Unpin + Send>>;

/// The results, the answers first.
pub(crate) fn read_results(
    ingress: &Shared,
    batch: &Batch,
) -> impl Stream<Item = io::Result<LineResult>> + Send + use<> {
    let files = [&batch.output_file, &batch.error_file];
    let files: Vec<FileId> = files.into_iter().flatten().filter_map(|id| FileId::parse(id)).collect();
    let begun = (ingress.clone(), batch.caller.project.clone(), files.into_iter(), None::<Reader>);
    stream::try_unfold(begun, |(ingress, project, mut files, mut lines)| async move {
        loop {
            let Some(open) = &mut lines else {
                let Some(file) = files.next() else { return Ok(None) };
                lines = open_file(&ingress, &project, file).await?;
                continue;
            };
            match open.next().await? {
                Some((_, Text::Whole(line))) => {
                    let result: LineResult = serde_json::from_slice(&line).map_err(io::Error::other)?;
                    return Ok(Some((result, (ingress, project, files, lines))));
                }
                Some((_, Text::TooLong)) => return Err(io::Error::other("a result is too long")),
                None => lines = None,
            }
        }
    })
}

/// A file of results; `None` when it was removed.
async fn open_file(ingress: &Shared, project: &ProjectId, file: FileId) -> io::Result<Option<Reader>> {
    let found = ingress.files.get(project, file).await.map_err(io::Error::other)?;
    Ok(found.map(|file| {
        let bytes = ingress.files.read(&file, 0..file.bytes).map_err(io::Error::other);
        let reader: Box<dyn AsyncRead + Unpin + Send> = Box::new(StreamReader::new(Box::pin(bytes)));
        Lines::new(reader, LONGEST)
    }))
}
