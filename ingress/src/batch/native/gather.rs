//! Makes a group of the next lines of a lane: each is admitted and paid for as any request, and written into the group's
//! object as the call that it is. What cannot go that way is queued. Sends nothing to a provider.

use super::super::lead::Halt;
use super::super::line::{Line, endpoint};
use super::super::lines::{Lines, Text};
use super::super::{input_from, run};
use super::Lanework;
use crate::limits::Hold;
use crate::pipeline;
use crate::stage::line as request;
use bytes::Bytes;
use penstock_runtime::bus::ObjectWriter;
use penstock_runtime::clock;
use penstock_schemas::native_batch::{GROUP_BYTES, GROUP_LINES, NativeBatchCard, NativeGroup, check_line};
use penstock_schemas::native_lane::{LaneGroup, NativeLane};
use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

/// How long a group is gathered, where its lines come slowly, as under a limit of rates.
const LONGEST: Duration = Duration::from_secs(60);

/// What was gathered.
pub(in crate::batch) struct Gathered {
    /// The last line that was read, and where the next one begins.
    pub(super) place: (u64, u64),
    /// Whether it was the last one of the file.
    pub(super) is_read: bool,
    /// The group, and what is set aside for its lines.
    pub(super) group: Option<(LaneGroup, Vec<Hold>)>,
    /// Lines that were queued.
    pub(super) queued: u64,
    /// Why not more was gathered, when it is to be tried again later.
    pub(super) waiting: Option<String>,
}

/// What becomes of one line.
enum Taken {
    /// It goes into the group as this record.
    Record(Bytes, Option<Hold>),
    /// It is queued.
    Queued,
    /// Neither now.
    Waits(String),
}

/// A group that is being written.
struct Writing {
    group: NativeGroup,
    /// The most lines and bytes that it may have.
    most: (u32, u64),
    writer: Option<ObjectWriter>,
    bytes: u64,
    held: Vec<Hold>,
}

impl Lanework {
    /// Gathers the next group.
    pub(super) async fn gather(&self, lane: &NativeLane) -> Result<Gathered, Halt> {
        let Some(card) = self.ingress.models.native_batch(&lane.target.provider) else {
            return Ok(stays(lane, "no worker serves the provider".to_owned()));
        };
        let mut writing = Writing::new(self.new_group(lane), &card);
        let mut gathered = stays(lane, String::new());
        gathered.waiting = None;
        let until = Instant::now() + LONGEST;
        let place = (lane.read, lane.offset);
        let Some(file) = input_from(&self.ingress, &self.batch, place.1).await? else {
            return Err(Halt::File(format!("the file {} was removed", self.batch.input_file)));
        };
        let mut lines = Lines::behind(file, self.ingress.config.body_limit, place);
        while Instant::now() < until && writing.group.lines < writing.most.0 {
            let next = lines.next().await.map_err(|error| Halt::File(error.to_string()))?;
            let Some((number, text)) = next else {
                gathered.is_read = true;
                break;
            };
            let Text::Whole(text) = text else { continue };
            if let Some(line) = self.is_in(lane, number, &text).await? {
                match Box::pin(self.take(&writing.group, line, number)).await? {
                    Taken::Record(record, hold) => {
                        if !writing.has_room(&record) && writing.group.lines > 0 {
                            break;
                        }
                        if !writing.has_room(&record) {
                            self.queue(lane, number, &text).await?;
                            gathered.queued += 1;
                        } else if let Err(halt) = self.write(&mut writing, &record, hold).await {
                            warn!(batch = %self.batch.id, error = %halt, "a native batch cannot be stored now");
                            writing.writer = None;
                            return Ok(stays(lane, "the store of native batches does not take the lines".to_owned()));
                        }
                    }
                    Taken::Queued => {
                        self.queue(lane, number, &text).await?;
                        gathered.queued += 1;
                    }
                    Taken::Waits(why) => {
                        gathered.waiting = Some(why);
                        break;
                    }
                }
            }
            gathered.place = lines.place();
        }
        self.finish(lane, writing, gathered).await
    }

    async fn finish(&self, lane: &NativeLane, writing: Writing, mut gathered: Gathered) -> Result<Gathered, Halt> {
        let Some(writer) = writing.writer else { return Ok(gathered) };
        if let Err(error) = writer.finish().await {
            warn!(batch = %self.batch.id, %error, "a native batch cannot be stored now");
            return Ok(stays(lane, "the store of native batches does not take the lines".to_owned()));
        }
        let (after, to, offset) = (lane.read, gathered.place.0, lane.offset);
        gathered.group = Some((LaneGroup { group: writing.group, after, to, offset }, writing.held));
        Ok(gathered)
    }

    fn new_group(&self, lane: &NativeLane) -> NativeGroup {
        NativeGroup {
            batch: self.batch.id.clone(),
            number: u32::try_from(clock::request_id().0.as_u128() & u128::from(u32::MAX)).unwrap_or_default(),
            target: lane.target.clone(),
            lines: 0,
            at: clock::now(),
            deadline: self.batch.expires_at,
        }
    }

    /// A line as its record in the group, when it can be one and there is money for it.
    async fn take(&self, group: &NativeGroup, line: Line, number: u64) -> Result<Taken, Halt> {
        let Some(endpoint) = endpoint(&self.batch.endpoint) else { return Ok(Taken::Queued) };
        let (ingress, batch, id) = (&self.ingress, &*self.batch, group.request_id(number));
        let call = request::Line { id, at: group.at, ends: group.deadline, endpoint, body: line.body, batch };
        let prepared = async { pipeline::prepare_line(ingress, request::read(call, ingress).await?).await };
        match Box::pin(prepared).await {
            Ok(Some(spelt)) if check_line(&spelt.envelope, group).is_ok() => {
                let record = spelt.envelope.encode(&spelt.body).map_err(|error| Halt::File(error.to_string()))?;
                Ok(Taken::Record(record, spelt.hold))
            }
            Ok(_) => Ok(Taken::Queued),
            Err(refusal) => Ok(match run::wait(&refusal, 1, 1) {
                Some(_) => Taken::Waits(refusal.to_string()),
                // It is refused where it is run.
                None => Taken::Queued,
            }),
        }
    }

    async fn write(&self, writing: &mut Writing, record: &Bytes, hold: Option<Hold>) -> Result<(), Halt> {
        if writing.writer.is_none() {
            writing.writer = Some(self.objects().await?.write(&writing.group.lines_object()));
        }
        if let Some(writer) = &mut writing.writer {
            writer.push(record).await?;
        }
        writing.group.lines += 1;
        writing.bytes += record.len() as u64;
        // From the moment that the group is noted, a worker may begin with it.
        writing.held.extend(hold.map(Hold::sent));
        Ok(())
    }

    /// Queues all lines of a lane that are in no group.
    pub(super) async fn queue_rest(&self, lane: &NativeLane) -> Result<Gathered, Halt> {
        let place = (lane.read, lane.offset);
        let mut gathered = Gathered { place, is_read: true, group: None, queued: 0, waiting: None };
        let Some(file) = input_from(&self.ingress, &self.batch, place.1).await? else { return Ok(gathered) };
        let mut lines = Lines::behind(file, self.ingress.config.body_limit, place);
        while let Some((number, text)) = lines.next().await.map_err(|error| Halt::File(error.to_string()))? {
            let Text::Whole(text) = text else { continue };
            if self.is_in(lane, number, &text).await?.is_some() {
                self.queue(lane, number, &text).await?;
                gathered.queued += 1;
            }
        }
        gathered.place = lines.place();
        Ok(gathered)
    }
}

/// That nothing was gathered, and why.
fn stays(lane: &NativeLane, why: String) -> Gathered {
    let place = (lane.read, lane.offset);
    Gathered { place, is_read: false, group: None, queued: 0, waiting: Some(why) }
}

impl Writing {
    fn new(group: NativeGroup, card: &NativeBatchCard) -> Self {
        let most = (card.lines.min(GROUP_LINES), card.bytes.min(GROUP_BYTES));
        Self { group, most, writer: None, bytes: 0, held: Vec::new() }
    }

    fn has_room(&self, record: &Bytes) -> bool {
        self.bytes + record.len() as u64 <= self.most.1
    }
}
