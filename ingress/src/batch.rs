//! Runs batches: files of requests that are answered in the background. A line is a request that this process makes to itself:
//! it goes through the same pipeline as a client's, so that there is one way to call and one way to pay.
//!
//! `leading` takes a batch from its file to its results, in three phases: `validate`, `feed`, `finish`; one process at a time
//! leads a batch. `run` answers lines out of the queue; every process does. Knows no provider, and nothing of HTTP.

mod feed;
mod finish;
pub(crate) mod inline;
mod lead;
mod leading;
mod line;
mod lines;
mod native;
mod result;
pub(crate) mod results;
mod run;
mod slots;
mod validate;

use crate::state::Shared;
use futures_util::TryStreamExt;
use penstock_runtime::Life;
use penstock_runtime::bus::BusError;
use penstock_schemas::batch::Batch;
use penstock_schemas::file::FileId;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

pub(crate) use line::{endpoint, endpoints};

/// Begins to lead batches and to answer their lines.
pub(crate) fn start(ingress: &Shared, life: &Life) {
    let (leading, running) = (ingress.clone(), ingress.clone());
    life.service("leading batches", async move { leading::all(leading).await });
    life.service("running batches", async move { run::all(running).await });
}

/// The input file of a batch, from its beginning; `None` when it is gone.
async fn input(ingress: &Shared, batch: &Batch) -> Result<Option<impl AsyncRead + Unpin + Send + use<>>, BusError> {
    input_from(ingress, batch, 0).await
}

/// The same from this byte on.
async fn input_from(
    ingress: &Shared,
    batch: &Batch,
    offset: u64,
) -> Result<Option<impl AsyncRead + Unpin + Send + use<>>, BusError> {
    let Some(id) = FileId::parse(&batch.input_file) else { return Ok(None) };
    let Some(file) = ingress.files.get(&batch.caller.project, id).await? else { return Ok(None) };
    let bytes = ingress.files.read(&file, offset.min(file.bytes)..file.bytes).map_err(std::io::Error::other);
    Ok(Some(StreamReader::new(Box::pin(bytes))))
}
