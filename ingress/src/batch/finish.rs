//! Writes the results of a batch into its output and error files, in the order of its lines, and clears up behind it. What
//! has no result by now was cancelled or came too late. May be begun again at any point: the files count once they stand in
//! the batch.

use super::lead::{Halt, Lead};
use super::line::Line;
use super::lines::{Lines, Text};
use super::{native, result};
use crate::batches::output_id;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use penstock_runtime::bus::{BusError, FileError, FileQuota, FileWriter, NewFile};
use penstock_runtime::clock;
use penstock_schemas::batch::{Batch, BatchError, BatchStatus, Tally};
use penstock_schemas::envelope::Dialect;
use penstock_schemas::file::{FileDescription, FileId, FilePurpose};
use std::time::Duration;
use tokio::time::sleep;

/// Results that are fetched at once.
const AT_ONCE: usize = 64;

/// How long what was under way gets to notice that its batch is over.
const LAST: Duration = Duration::from_secs(1);

/// One of the two files: made with its first line.
struct Output {
    id: FileId,
    name: &'static str,
    file: Option<FileWriter>,
}

/// Writes the files, and comes to the end.
pub(super) async fn finish(lead: &mut Lead) -> Result<(), Halt> {
    let outcome = lead.batch.outcome.unwrap_or(BatchStatus::Completed);
    let jobs = lead.ingress.batches.jobs.clone();
    if outcome != BatchStatus::Completed {
        native::give_up(lead).await?;
        jobs.close(&lead.batch.id, &lead.batch.providers).await?;
        sleep(LAST).await;
    }
    if lead.batch.output_file.is_none() && lead.batch.error_file.is_none() {
        Box::pin(write(lead, outcome)).await?;
    }
    native::clear(lead).await?;
    lead.turn(outcome).await?;
    jobs.forget_results(&lead.batch.id).await?;
    Ok(jobs.close(&lead.batch.id, &lead.batch.providers).await?)
}

async fn write(lead: &mut Lead, outcome: BatchStatus) -> Result<(), Halt> {
    let (jobs, id) = (lead.ingress.batches.jobs.clone(), lead.batch.id.clone());
    let [mut output, mut errors] =
        [(1, "output"), (2, "errors")].map(|(at, name)| Output { id: output_id(&id, at), name, file: None });
    // What an earlier leader has written, and not noted, is written anew.
    for file in [output.id, errors.id] {
        lead.ingress.files.delete(&lead.batch.caller.project, file).await?;
    }
    // The names of lines without a result stand in the input file alone.
    let mut input = match super::input(&lead.ingress, &lead.batch).await? {
        Some(file) if outcome != BatchStatus::Completed => Some(Lines::new(file, lead.ingress.config.body_limit)),
        _ => None,
    };
    let fetch = |line: u64| {
        let (jobs, id) = (jobs.clone(), id.clone());
        async move { Ok::<_, BusError>((line, jobs.result(&id, line).await?)) }
    };
    let mut results = stream::iter((1..=lead.batch.counts.total).map(fetch)).buffered(AT_ONCE);
    lead.batch.uncount();
    lead.batch.given_up = 0;
    while let Some(found) = results.next().await {
        let (line, found) = found?;
        if found.is_none() && outcome == BatchStatus::Failed && lead.batch.api == Dialect::Openai {
            continue; // nothing was run, and the batch says why
        }
        lead.batch.given_up += u64::from(found.is_none());
        let name = match &mut input {
            Some(input) => next_name(input, &lead.batch.endpoint).await?,
            None => None,
        };
        let (tally, written) = found.unwrap_or_else(|| {
            let missing = missing(&lead.batch, outcome, line);
            (Tally::default(), result::unsent(clock::request_id(), name.as_deref(), &missing))
        });
        lead.batch.count(&tally);
        let file = if tally.is_answered { &mut output } else { &mut errors };
        file.add(lead, &written).await?;
        lead.beat().await?;
    }
    lead.batch.output_file = Box::pin(output.finish(lead)).await?;
    lead.batch.error_file = Box::pin(errors.finish(lead)).await?;
    lead.save().await
}

async fn next_name<R>(input: &mut Lines<R>, path: &str) -> Result<Option<String>, Halt>
where
    R: tokio::io::AsyncRead + Unpin,
{
    let next = input.next().await.map_err(|error| Halt::File(error.to_string()))?;
    let Some((_, Text::Whole(line))) = next else { return Ok(None) };
    Ok(match Line::read(&line, path) {
        Ok(line) => Some(line.custom_id),
        Err(bad) => bad.custom_id,
    })
}

/// Why a line has no result.
fn missing(batch: &Batch, outcome: BatchStatus, line: u64) -> BatchError {
    let of_all = batch.errors.first().filter(|error| error.line.is_none());
    let (code, message) = match outcome {
        BatchStatus::Failed => {
            of_all.map_or(("batch_failed", "the batch failed"), |error| (&error.code, &error.message))
        }
        BatchStatus::Expired => ("batch_expired", "the window of the batch passed before this line was answered"),
        _ => ("batch_cancelled", "the batch was cancelled before this line was answered"),
    };
    BatchError { code: code.to_owned(), message: message.to_owned(), line: Some(line), param: None }
}

impl Output {
    async fn add(&mut self, lead: &Lead, line: &Bytes) -> Result<(), Halt> {
        if self.file.is_none() {
            let caller = &lead.batch.caller;
            let new = NewFile {
                id: Some(self.id),
                project: caller.project.clone(),
                key_id: caller.key_id.clone(),
                announced: 0,
                quota: FileQuota::Exempt,
            };
            self.file = Some(lead.ingress.files.create(new).await.map_err(|error| failed(&error))?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write(line).await.map_err(|error| failed(&error))?;
        file.write(b"\n").await.map_err(|error| failed(&error))
    }

    async fn finish(self, lead: &Lead) -> Result<Option<String>, Halt> {
        let Some(file) = self.file else { return Ok(None) };
        let description = FileDescription {
            filename: format!("{}_{}.jsonl", lead.batch.id, self.name),
            purpose: FilePurpose::BatchOutput,
            content_type: Some("application/jsonl".to_owned()),
            expires_after: lead.batch.output_expires_after,
        };
        let file = file.finish(description).await.map_err(|error| failed(&error))?;
        Ok(Some(file.id.to_string()))
    }
}

fn failed(error: &FileError) -> Halt {
    Halt::File(error.to_string())
}
