//! Gives each line of a group its result, out of what the provider's batch holds; what was not run there, or may be answered
//! when it is asked again, is queued. May be begun again at any point: the first result of a line counts.

use super::super::lead::Halt;
use super::super::line::{Line, endpoint};
use super::super::lines::{Lines, Text};
use super::super::{input_from, result, run};
use super::{Ended, Lanework};
use crate::pipeline;
use crate::refusal::Refusal;
use crate::stage::line as request;
use bytes::Bytes;
use penstock_runtime::memory::Reserved;
use penstock_schemas::batch::Tally;
use penstock_schemas::frame::Payload;
use penstock_schemas::name::RequestId;
use penstock_schemas::native_batch::{NativeLine, NativeOutcome};
use penstock_schemas::native_lane::{LaneGroup, NativeLane};
use std::collections::HashMap;

/// The lines of a group that have no result yet, by the ids of their requests.
struct Open {
    lines: HashMap<RequestId, (u64, Bytes)>,
    _memory: Reserved,
}

impl Lanework {
    /// Takes in a group that is over; one that is unrun has no answers.
    pub(super) async fn collect(&self, lane: &NativeLane, group: &LaneGroup, is_unrun: bool) -> Result<Ended, Halt> {
        let opened = self.open(lane, group).await?;
        let mut ended =
            Ended { number: group.group.number, done: 0, queued: 0, is_unrun, is_orphaned: opened.is_none() };
        // Without the file, answers cannot be matched to lines. Their cost is still charged.
        let mut open = opened.unwrap_or_else(|| Open { lines: HashMap::new(), _memory: self.ingress.memory.none() });
        let answers = match is_unrun {
            true => None,
            false => self.objects().await?.read(&group.group.answers_object()).await?,
        };
        if let Some(mut answers) = answers {
            while let Some(record) = answers.next().await? {
                let told = NativeLine::decode(&record).map_err(|error| Halt::File(error.to_string()))?;
                told.head.settled.iter().for_each(|settled| self.ingress.keeper.settle(settled));
                let Some((number, text)) = open.lines.remove(&told.head.call) else { continue };
                if Box::pin(self.give_result(group, told, number, &text)).await? {
                    ended.done += 1;
                } else {
                    self.queue(lane, number, &text).await?;
                    ended.queued += 1;
                }
            }
        }
        for (number, text) in open.lines.into_values() {
            self.queue(lane, number, &text).await?;
            ended.queued += 1;
        }
        Ok(ended)
    }

    /// `None` when the file was removed.
    async fn open(&self, lane: &NativeLane, group: &LaneGroup) -> Result<Option<Open>, Halt> {
        let full = |_| Halt::File("the memory is in use ([ingress] memory)".to_owned());
        let (mut found, mut memory) = (HashMap::new(), self.ingress.memory.none());
        let Some(file) = input_from(&self.ingress, &self.batch, group.offset).await? else {
            return Ok(None);
        };
        let mut lines = Lines::behind(file, self.ingress.config.body_limit, (group.after, group.offset));
        while lines.place().0 < group.to {
            let next = lines.next().await.map_err(|error| Halt::File(error.to_string()))?;
            let Some((number, text)) = next else { break };
            let Text::Whole(text) = text else { continue };
            if self.is_in(lane, number, &text).await?.is_some() {
                memory.grow(text.len()).map_err(full)?;
                found.insert(group.group.request_id(number), (number, text));
            }
        }
        Ok(Some(Open { lines: found, _memory: memory }))
    }

    /// Gives a line its result. False when it is to be queued instead.
    async fn give_result(&self, group: &LaneGroup, told: NativeLine, number: u64, text: &Bytes) -> Result<bool, Halt> {
        let jobs = &self.ingress.batches.jobs;
        if jobs.result(&self.batch.id, number).await?.is_some() {
            return Ok(true);
        }
        let ended = match told.frame.payload {
            Payload::End(ended, bytes) => Ok((ended, bytes)),
            Payload::Failed(failed) => {
                let refusal = Refusal::from(failed.failure.clone());
                if told.head.outcome == NativeOutcome::Unrun || run::wait(&refusal, 1, 1).is_some() {
                    return Ok(false);
                }
                Err(failed)
            }
            _ => return Ok(false),
        };
        let (Ok(line), Some(endpoint)) = (Line::read(text, &self.batch.endpoint), endpoint(&self.batch.endpoint))
        else {
            return Ok(false);
        };
        let (ingress, id, dialect) = (&self.ingress, told.head.call, endpoint.dialect);
        let (at, ends) = (group.group.at, group.group.deadline);
        let call = request::Line { id, at, ends, endpoint, body: line.body, batch: &self.batch };
        let answered = async { pipeline::finish_line(ingress, request::read(call, ingress).await?, ended).await };
        let (tally, written) = match Box::pin(answered).await {
            Ok((body, summary)) => (run::answered(&summary), result::served(id, &line.custom_id, &body)),
            Err(Refusal::NotReady(why)) => return Err(Halt::File(why.to_owned())),
            Err(refusal) => (Tally::default(), result::refused((id, &line.custom_id), dialect, &refusal)),
        };
        jobs.put_result((&self.batch.id, number), &Tally { is_native: true, ..tally }, &written).await?;
        Ok(true)
    }
}
