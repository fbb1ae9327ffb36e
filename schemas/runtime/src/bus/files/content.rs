//! The contents of files: pieces of one size in a stream, each under a subject of its own, so that any part of a file can be
//! read, a piece that was sent twice is there once, and what was begun can be removed by its name alone. Not the client
//! library's object store: that waits for each piece before it sends the next, tells the name of an object only when all of it
//! is there, and is read by a consumer that the server pushes to. Knows nothing of whose content it is.

use super::super::{Bus, BusError, failed};
use crate::schedule::full_jitter;
use async_nats::jetstream::stream::Stream as PieceStream;
use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, FuturesUnordered, Stream, StreamExt};
use penstock_schemas::file::Segment;
use ring::digest::{Context, SHA256};
use std::ops::Range;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// The length of a piece, in bytes. Calls travel over the same connection, and wait while one is written to the socket.
const PIECE: usize = 256 * 1024;

/// Pieces of one content that are on their way at once.
const SENT_AT_ONCE: usize = 4;

/// Pieces of one content that are fetched ahead.
const READ_AHEAD: usize = 2;

/// What one writer, or one reader, of a content holds at most, in bytes.
pub const CONTENT_MEMORY: usize = (SENT_AT_ONCE + 2) * PIECE;

/// How long a piece is sent or asked for again: a nats-server that is started again is there after some seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The waits between, the first and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The contents. Cloning shares them.
#[derive(Clone)]
pub(super) struct Contents {
    bus: Bus,
    stream: PieceStream,
}

/// Where some bytes of a content are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    content: Uuid,
    /// Which piece.
    at: u64,
    /// The length of the piece.
    length: usize,
    /// What of it is wanted.
    from: usize,
    to: usize,
}

/// Writes one content.
pub(super) struct ContentWriter {
    contents: Contents,
    pub(super) content: Uuid,
    buffer: BytesMut,
    sent: u64,
    pub(super) bytes: u64,
    hash: Context,
    sending: FuturesUnordered<BoxFuture<'static, Result<(), BusError>>>,
}

impl Contents {
    pub(super) async fn open(bus: &Bus) -> Result<Self, BusError> {
        Ok(Self { bus: bus.clone(), stream: bus.pieces_stream().await? })
    }

    /// A writer of a content of this name.
    pub(super) fn write(&self, content: Uuid) -> ContentWriter {
        ContentWriter {
            contents: self.clone(),
            content,
            buffer: BytesMut::new(),
            sent: 0,
            bytes: 0,
            hash: Context::new(&SHA256),
            sending: FuturesUnordered::new(),
        }
    }

    /// Some bytes of a file that consists of these segments, as they come.
    pub(super) fn read(
        &self,
        segments: Vec<Segment>,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, BusError>> + Send + use<> {
        let contents = self.clone();
        let places = places(segments, range);
        stream::iter(places).map(move |place| fetch(contents.clone(), place)).buffered(READ_AHEAD)
    }

    /// Removes all pieces of a content; absent ones too.
    pub(super) async fn remove(&self, content: Uuid) -> Result<(), BusError> {
        let purged = self.stream.purge().filter(self.bus.subjects.pieces(content)).await;
        purged.map(drop).map_err(failed("remove the content of a file"))
    }

    async fn send_once(&self, subject: &str, piece: &Bytes) -> Result<(), BusError> {
        let sent = self.bus.jetstream.publish(subject.to_owned(), piece.clone()).await;
        let sent = sent.map_err(failed("store a piece of a file"))?;
        let stored = self.bus.noted(&self.bus.subjects.pieces_stream(), sent.await);
        stored.map(drop).map_err(failed("store a piece of a file"))
    }

    async fn fetch_once(&self, place: Place) -> Result<Bytes, BusError> {
        let subject = self.bus.subjects.piece(place.content, place.at);
        let found = self.stream.direct_get_last_for_subject(subject).await;
        let piece = found.map_err(failed("read a piece of a file"))?.payload;
        if piece.len() != place.length {
            return Err(failed("read a piece of a file")("it has another length than was written"));
        }
        Ok(piece.slice(place.from..place.to))
    }
}

/// Does something until it works, or [`PATIENCE`] is over.
async fn patiently<T, F>(work: impl Fn() -> F) -> Result<T, BusError>
where
    F: Future<Output = Result<T, BusError>>,
{
    let until = Instant::now() + PATIENCE;
    let mut again = 0;
    loop {
        again += 1;
        match work().await {
            Err(_) if Instant::now() < until => sleep(full_jitter(again, AGAIN.0, AGAIN.1)).await,
            done => return done,
        }
    }
}

async fn send(contents: Contents, subject: String, piece: Bytes) -> Result<(), BusError> {
    patiently(|| contents.send_once(&subject, &piece)).await
}

async fn fetch(contents: Contents, place: Place) -> Result<Bytes, BusError> {
    patiently(|| contents.fetch_once(place)).await
}

/// Where the bytes of a range are, in order.
fn places(segments: Vec<Segment>, range: Range<u64>) -> impl Iterator<Item = Place> + Send {
    let begins = segments.into_iter().scan(0, |begin, segment| {
        let own = *begin;
        *begin += segment.bytes;
        Some((own, segment))
    });
    begins.flat_map(move |(begin, segment)| {
        let size = segment.piece.max(1);
        let (from, to) = (range.start.max(begin) - begin, range.end.min(begin + segment.bytes).saturating_sub(begin));
        let pieces = if from < to { from / size..to.div_ceil(size) } else { 0..0 };
        let within = move |position: u64, piece: u64| {
            usize::try_from(position.saturating_sub(piece * size).min(size)).unwrap_or(usize::MAX)
        };
        pieces.map(move |at| Place {
            content: segment.content,
            at,
            length: within(segment.bytes, at),
            from: within(from, at),
            to: within(to, at),
        })
    })
}

impl ContentWriter {
    /// Takes more of the content; waits when too much is on its way.
    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), BusError> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.buffer.capacity() < PIECE {
                self.buffer.reserve(PIECE - self.buffer.len());
            }
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == PIECE {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Waits until all of it is stored: what it is called, and its SHA-256.
    pub(super) async fn finish(&mut self) -> Result<(Segment, [u8; 32]), BusError> {
        if !self.buffer.is_empty() {
            self.send().await?;
        }
        while let Some(sent) = self.sending.next().await {
            sent?;
        }
        let digest = self.hash.clone().finish();
        let digest = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
        Ok((Segment { content: self.content, bytes: self.bytes, piece: PIECE as u64 }, digest))
    }

    async fn send(&mut self) -> Result<(), BusError> {
        let piece = self.buffer.split().freeze();
        let subject = self.contents.bus.subjects.piece(self.content, self.sent);
        self.sent += 1;
        self.sending.push(send(self.contents.clone(), subject, piece).boxed());
        while self.sending.len() >= SENT_AT_ONCE {
            if let Some(sent) = self.sending.next().await {
                sent?;
            }
        }
        // It goes out now, whatever comes next.
        self.sending.next().now_or_never().flatten().transpose().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(content: u128, bytes: u64, piece: u64) -> Segment {
        Segment { content: Uuid::from_u128(content), bytes, piece }
    }

    /// The bytes of a range, each by its content, its piece and its place there.
    fn bytes(segments: &[Segment], range: Range<u64>) -> Vec<(u128, u64)> {
        let of = |place: Place| {
            let size = segments.iter().find(|segment| segment.content == place.content).unwrap().piece;
            (place.from..place.to).map(move |byte| (place.content.as_u128(), place.at * size + byte as u64))
        };
        places(segments.to_vec(), range).flat_map(of).collect()
    }

    #[test]
    fn every_range_of_a_file_is_found_whatever_its_segments() {
        let segments = [segment(1, 10, 4), segment(2, 0, 4), segment(3, 8, 4), segment(4, 1, 3)];
        let all: Vec<(u128, u64)> =
            segments.iter().flat_map(|segment| (0..segment.bytes).map(|at| (segment.content.as_u128(), at))).collect();
        assert_eq!(all.len(), 19);
        for from in 0..=20_usize {
            for to in 0..=25_usize {
                let wanted = if from < to { &all[from.min(19)..to.min(19)] } else { &[] };
                assert_eq!(bytes(&segments, from as u64..to as u64), wanted, "{from}..{to}");
            }
        }
    }

    #[test]
    fn a_pieces_length_is_known_before_it_is_read() {
        let lengths: Vec<usize> = places(vec![segment(1, 10, 4)], 3..9).map(|place| place.length).collect();
        assert_eq!(lengths, [4, 4, 2]);
    }
}
