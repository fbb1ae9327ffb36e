//! What came of a group: the provider's answers, line by line, into the ledger and into the object that the ingress reads.
//! Knows no provider; holds the lines of one group and one answer at a time.

use super::line::Line;
use super::{Native, Stopped, Stores};
use crate::exchange::ledger_failed;
use crate::limits::Pick;
use crate::providers::batch_api::{BatchState, LineEnd, Output};
use bytes::{Bytes, BytesMut};
use memchr::memchr;
use penstock_dialects::strike::{strike, strike_bytes};
use penstock_runtime::Secret;
use penstock_runtime::bus::{ObjectWriter, Recorded};
use penstock_runtime::memory::{Memory, Reserved};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::native_batch::{
    LINE_BYTES, NativeCounts, NativeGroup, NativeJob, NativeLine, NativeOutcome, NativeStage,
};
use reqwest::Response;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::time::timeout;
use tracing::warn;

/// Longest silence in the middle of a file of answers.
const IDLE: Duration = Duration::from_secs(60);

/// Ends of lines that may be on their way into the ledger.
const UNRECORDED: usize = 1024;

/// The lines of a group that nothing is known of yet.
struct Open {
    lines: HashMap<String, Line>,
    counts: NativeCounts,
    /// Whether the provider has written lines of which nobody knows what they answer.
    has_unreadable: bool,
    answers: ObjectWriter,
    /// What was noted of the lines and the ledger may not have yet.
    ends: VecDeque<Recorded>,
    _memory: Reserved,
}

/// Reads the answers of a job that is over.
pub(super) async fn collect(native: &Native, group: &NativeGroup, job: &NativeJob) -> Result<NativeStage, Stopped> {
    let asking = native.asking();
    let key = asking.key_of(job)?;
    let secret = asking.secret(&key).await?;
    let clean = |answer: Bytes| strike_bytes(answer, secret.as_ref().map(Secret::reveal));
    let (outputs, why) = match asking.poll(job).await?.state {
        BatchState::Ended(outputs) => (outputs, "it has no answer".to_owned()),
        BatchState::Refused(why) => (Vec::new(), strike(&why, secret.as_ref().map(Secret::reveal))),
        BatchState::Running(_) => {
            return Err(Failure::provider(FailureKind::Broken, "the provider's batch is not over after all").into());
        }
    };
    let mut open = open(native, group).await?;
    for output in outputs {
        match output {
            Output::File(path) => {
                let mut lines = AnswerLines::new(asking.open(&path, &key).await?, &native.context.memory);
                while let Some(line) = lines.next().await? {
                    open.take(native, group, &clean(line)).await?;
                }
            }
            Output::Inside => {
                let body = clean(inside(native, job, &key).await?);
                for line in native.api.inside(&body)? {
                    open.take(native, group, &line).await?;
                }
            }
        }
    }
    open.finish(native, group, &why).await
}

async fn inside(native: &Native, job: &NativeJob, key: &Pick) -> Result<Bytes, Failure> {
    native.asking().get(&native.api.poll(&job.id)?, key).await
}

async fn open(native: &Native, group: &NativeGroup) -> Result<Open, Stopped> {
    let Stores { objects, .. } = native.stores().await?;
    let gone = || Failure::gateway(FailureKind::Internal, "the group's lines are gone from the object store");
    let mut reader = objects.read(&group.lines_object()).await?.ok_or_else(gone)?;
    let full = |_| Failure::gateway(FailureKind::Busy, "the worker's memory is in use ([workers] memory)");
    let memory = native.context.memory.reserve(reader.bytes()).map_err(full)?;
    let mut lines = HashMap::new();
    while let Some(record) = reader.next().await? {
        let line = Line::read(&record)?;
        lines.insert(line.call().to_string(), line);
    }
    let answers = objects.write(&group.answers_object());
    let (counts, ends) = (NativeCounts::default(), VecDeque::new());
    Ok(Open { lines, counts, has_unreadable: false, answers, ends, _memory: memory })
}

impl Open {
    /// What the provider says of a line; of one that is none of ours, or was told of before, it is passed over.
    async fn take(&mut self, native: &Native, group: &NativeGroup, line: &[u8]) -> Result<(), Stopped> {
        let told = match native.api.read_line(line) {
            Ok(told) => told,
            Err(failure) => {
                warn!(
                    group = group.name(),
                    reason = failure.message,
                    "a line of a native batch's answers is passed over"
                );
                self.has_unreadable = true;
                return Ok(());
            }
        };
        let Some(line) = self.lines.remove(&told.id) else {
            warn!(group = group.name(), "a native batch holds an answer to a line that it does not have");
            return Ok(());
        };
        self.end(native, group, &line, told.end).await
    }

    async fn end(&mut self, native: &Native, group: &NativeGroup, line: &Line, end: LineEnd) -> Result<(), Stopped> {
        let (ended, recorded) = native.end(line, group, end).await?;
        self.ends.push_back(recorded);
        self.record_ends(UNRECORDED).await?;
        self.push(&ended).await
    }

    /// Waits until the ledger lacks no more than so many ends: the ingress settles by what it is told, and not twice.
    async fn record_ends(&mut self, most: usize) -> Result<(), Stopped> {
        while self.ends.len() > most
            && let Some(end) = self.ends.pop_front()
        {
            if !end.acknowledged().await {
                return Err(ledger_failed().into());
            }
        }
        Ok(())
    }

    async fn push(&mut self, line: &NativeLine) -> Result<(), Stopped> {
        *match line.head.outcome {
            NativeOutcome::Served => &mut self.counts.served,
            NativeOutcome::Refused => &mut self.counts.refused,
            NativeOutcome::Unrun => &mut self.counts.unrun,
        } += 1;
        let record = line.encode().map_err(|error| Failure::gateway(FailureKind::Internal, error.to_string()))?;
        Ok(self.answers.push(&record).await?)
    }

    /// Lines that the provider says nothing of were never run, unless that stands where it cannot be read; some never reached
    /// it.
    async fn finish(mut self, native: &Native, group: &NativeGroup, why: &str) -> Result<NativeStage, Stopped> {
        for (_, line) in std::mem::take(&mut self.lines) {
            match native.ready(&line, group) {
                Ok(_) if self.has_unreadable => self.end(native, group, &line, LineEnd::Unread).await?,
                Ok(_) => self.end(native, group, &line, LineEnd::Unrun(why.to_owned())).await?,
                Err(failure) => self.push(&line.unrun(failure)).await?,
            }
        }
        self.record_ends(0).await?;
        self.answers.finish().await?;
        Ok(NativeStage::Collected(self.counts))
    }
}

/// The lines of a file, as they come.
pub(super) struct AnswerLines {
    response: Response,
    buffer: BytesMut,
    memory: Reserved,
}

impl AnswerLines {
    pub(super) fn new(response: Response, memory: &Memory) -> Self {
        Self { response, buffer: BytesMut::new(), memory: memory.none() }
    }

    /// The next line that is not empty.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let mut searched = 0;
        loop {
            if let Some(at) = memchr(b'\n', &self.buffer[searched..]) {
                let line = self.buffer.split_to(searched + at + 1).freeze();
                searched = 0;
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(line));
                }
                continue;
            }
            searched = self.buffer.len();
            let chunk = timeout(IDLE, self.response.chunk()).await;
            let chunk = chunk.map_err(|_| broken("is silent in the middle of its answers"))?;
            let Some(chunk) = chunk.map_err(|_| broken("broke off in the middle of its answers"))? else {
                let rest = self.buffer.split().freeze();
                return Ok(Some(rest).filter(|rest| !rest.trim_ascii().is_empty()));
            };
            if self.buffer.len() + chunk.len() > LINE_BYTES {
                return Err(broken("wrote a line that is longer than any may be"));
            }
            let lacking = (self.buffer.len() + chunk.len()).saturating_sub(self.memory.bytes());
            let full = |_| Failure::gateway(FailureKind::Busy, "the worker's memory is in use ([workers] memory)");
            self.memory.grow(lacking).map_err(full)?;
            self.buffer.extend_from_slice(&chunk);
        }
    }
}

fn broken(what: &str) -> Failure {
    Failure::provider(FailureKind::Broken, format!("the provider's batch API {what}"))
}
