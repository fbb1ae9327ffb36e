//! A group on its way to its provider: once, whatever dies on the way. Knows the order: the ledger, the lines, the batch.

use super::ask::Unanswered;
use super::line::{Line, Ready};
use super::{Native, Stopped, Stores};
use crate::call::{End, all_recorded};
use crate::exchange::{Attempt, LEDGER, Report, ledger_failed};
use crate::limits::Pick;
use crate::providers::batch_api::{BatchState, NewBatch, Output, ProviderBatch};
use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use penstock_dialects::provider::RequestPath;
use penstock_runtime::clock;
use penstock_runtime::memory::Reserved;
use penstock_schemas::UnixMicros;
use penstock_schemas::event::{AttemptStarted, UsageEvent};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::native_batch::{GROUP_BYTES, GROUP_LINES, NativeGroup, NativeJob, NativeStage};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;
use tracing::info;

/// How often a group's bytes may be held at once: as they came, in the provider's words, all of them together, and on their
/// way there.
const COPIES: usize = 4;

/// How far the provider's clock may be behind ours.
const SKEW: Duration = Duration::from_secs(600);

/// Pages of a provider's list that are looked through for a group.
const PAGES: usize = 50;

/// Lines whose ingress is asked at once whether they may still be paid.
const ASKED: usize = 64;

/// A group as its provider can get it.
struct Prepared {
    endpoint: RequestPath,
    lines: Vec<(Line, Ready)>,
    calls: BTreeSet<String>,
    _memory: Reserved,
}

/// Takes a group to its provider: what it is then. `None`: it is not known whether the provider has it.
pub(super) async fn submit(
    native: &Native,
    group: &NativeGroup,
    in_doubt: bool,
) -> Result<Option<NativeStage>, Stopped> {
    let Some(prepared) = prepare(native, group).await? else {
        let why = "no line of the group can go through the provider's batch API";
        let failure = Failure::gateway(FailureKind::Unsupported, why);
        return Ok(Some(NativeStage::Failed(Box::new(failure))));
    };
    if in_doubt {
        match look_up(native, group, &prepared).await? {
            Found::Here(job) => return Ok(Some(NativeStage::Submitted(job))),
            Found::Perhaps => return Ok(None),
            Found::Nowhere => {
                info!(group = group.name(), "the provider does not have the native batch: it is submitted");
            }
        }
    }
    let (input, starts) = affordable(native, &prepared).await;
    if starts.is_empty() {
        let why = "what was set aside for the lines of the group is not set aside any more";
        return Ok(Some(NativeStage::Failed(Box::new(Failure::gateway(FailureKind::Budget, why)))));
    }
    note_starts(native, &starts).await?;
    let (asking, key) = (native.asking(), native.context.provider.limits.any(clock::now()));
    let name = group.name();
    let file = asking.upload(&name, &input, &key).await?;
    let new = NewBatch {
        name: &name,
        model: &group.target.model,
        endpoint: &prepared.endpoint,
        input: &input,
        file: file.as_deref(),
    };
    match asking.create(&new, &key).await {
        Ok(ProviderBatch { id, .. }) => Ok(Some(NativeStage::Submitted(job(id, &key)))),
        Err(Unanswered::Refused(failure)) if is_for_good(&failure) => {
            note_refused(native, group, starts, &failure).await?;
            Ok(Some(NativeStage::Failed(Box::new(failure))))
        }
        Err(unanswered) => Err(unanswered.into_failure().into()),
    }
}

fn job(id: String, key: &Pick) -> NativeJob {
    NativeJob { id, key: key.key().map(|key| key.digest.clone()).unwrap_or_default() }
}

/// Whether the provider would refuse the same again.
fn is_for_good(failure: &Failure) -> bool {
    matches!(
        failure.kind,
        FailureKind::BadRequest
            | FailureKind::NotFound
            | FailureKind::TooLarge
            | FailureKind::Unprocessable
            | FailureKind::Unsupported
            | FailureKind::ProviderAuth
            | FailureKind::ContentRefused
    )
}

/// The lines in the provider's words. `None` when there are none.
async fn prepare(native: &Native, group: &NativeGroup) -> Result<Option<Prepared>, Stopped> {
    let Stores { objects, .. } = native.stores().await?;
    let Some(mut reader) = objects.read(&group.lines_object()).await? else { return Ok(None) };
    let bytes = reader.bytes();
    if bytes as u64 > GROUP_BYTES.saturating_mul(2) {
        return Err(Failure::gateway(FailureKind::TooLarge, "the group is larger than a group may be").into());
    }
    let full = |_| Failure::gateway(FailureKind::Busy, "the worker's memory is in use ([workers] memory)");
    let memory = native.context.memory.reserve(bytes.saturating_mul(COPIES)).map_err(full)?;
    let (mut endpoint, mut lines, mut calls) = (None, Vec::new(), BTreeSet::new());
    while let Some(record) = reader.next().await? {
        let line = Line::read(&record)?;
        // What cannot be a line is told of when the answers are collected.
        let Ok(ready) = native.ready(&line, group) else { continue };
        let endpoint = endpoint.get_or_insert_with(|| ready.endpoint.clone());
        if *endpoint != ready.endpoint || lines.len() >= GROUP_LINES as usize || !calls.insert(line.call().to_string())
        {
            continue;
        }
        lines.push((line, ready));
    }
    Ok(endpoint.map(|endpoint| Prepared { endpoint, lines, calls, _memory: memory }))
}

/// The lines whose money is still set aside, in the provider's words. The others are told of as lines that were never run.
async fn affordable(native: &Native, prepared: &Prepared) -> (Bytes, Vec<AttemptStarted>) {
    let (mut input, mut starts) = (BytesMut::new(), Vec::new());
    for lines in prepared.lines.chunks(ASKED) {
        let asked = join_all(lines.iter().map(|(line, ready)| native.afford(line, &ready.start))).await;
        for ((line, ready), _) in lines.iter().zip(asked).filter(|(_, may)| may.is_ok()) {
            native.api.add(&line.call().to_string(), &prepared.endpoint, &ready.request, &mut input);
            starts.push(ready.start.clone());
        }
    }
    (input.freeze(), starts)
}

/// Nothing goes to the provider before the ledger has it.
async fn note_starts(native: &Native, starts: &[AttemptStarted]) -> Result<(), Stopped> {
    for starts in starts.chunks(512) {
        let mut pending = Vec::with_capacity(starts.len());
        for start in starts {
            pending.push(native.context.journal.begin(UsageEvent::started(start)).await);
        }
        for start in pending {
            let taken = timeout(LEDGER, start.acknowledged()).await;
            if taken != Ok(true) {
                return Err(ledger_failed().into());
            }
        }
    }
    Ok(())
}

/// The attempts of a group that the provider did not take are over.
async fn note_refused(
    native: &Native,
    group: &NativeGroup,
    starts: Vec<AttemptStarted>,
    failure: &Failure,
) -> Result<(), Stopped> {
    let (total, mut ends) = (clock::now().since(group.at), Vec::with_capacity(starts.len()));
    for start in starts {
        let ended = End::of(&Attempt::Refused(failure.clone()), total, FailureKind::Cancelled);
        let report = Report { status: failure.provider_status, ..Report::default() };
        ends.push(native.context.note(start, ended, report).await.recorded);
    }
    if !all_recorded(ends).await {
        return Err(ledger_failed().into());
    }
    Ok(())
}

/// Whether a provider has a group already.
enum Found {
    Here(NativeJob),
    Nowhere,
    /// It has one that may be it, and does not say yet.
    Perhaps,
}

/// Looks for a group in the provider's own list, by every key that it may have been submitted with.
async fn look_up(native: &Native, group: &NativeGroup, prepared: &Prepared) -> Result<Found, Stopped> {
    let since = UnixMicros(group.at.0.saturating_sub(u64::try_from(SKEW.as_micros()).unwrap_or(u64::MAX)));
    let asking = native.asking();
    let mut found = Found::Nowhere;
    for key in asking.keys() {
        let mut page: Option<String> = None;
        for _ in 0..PAGES {
            let list = asking.list(page.as_deref(), &key).await?;
            let is_over = list.batches.iter().any(|batch| batch.created_at.is_some_and(|at| at < since));
            for batch in list.batches {
                match is_it(native, group, prepared, (&batch, since), &key).await? {
                    Found::Here(job) => return Ok(Found::Here(job)),
                    Found::Perhaps => found = Found::Perhaps,
                    Found::Nowhere => {}
                }
            }
            page = list.next.filter(|_| !is_over);
            if page.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

/// Whether a batch of the provider's is this group: by our name for it; where the provider keeps none, by the lines in it.
async fn is_it(
    native: &Native,
    group: &NativeGroup,
    prepared: &Prepared,
    (batch, since): (&ProviderBatch, UnixMicros),
    key: &Pick,
) -> Result<Found, Stopped> {
    let here = || Found::Here(job(batch.id.clone(), key));
    if let Some(name) = &batch.name {
        return Ok(if *name == group.name() { here() } else { Found::Nowhere });
    }
    let is_of_time = batch.created_at.is_none_or(|at| at >= since);
    // Lines whose money was not set aside any more were left out.
    let is_of_size = batch.lines.is_none_or(|lines| lines <= prepared.lines.len() as u64);
    if native.api.keeps_names() || !is_of_time || !is_of_size {
        return Ok(Found::Nowhere);
    }
    let BatchState::Ended(outputs) = &batch.state else { return Ok(Found::Perhaps) };
    for output in outputs {
        let Output::File(path) = output else { continue };
        let mut lines =
            super::collect::AnswerLines::new(native.asking().open(path, key).await?, &native.context.memory);
        if let Some(line) = lines.next().await? {
            let id = native.api.read_line(&line)?.id;
            return Ok(if prepared.calls.contains(&id) { here() } else { Found::Nowhere });
        }
    }
    Ok(Found::Nowhere)
}
