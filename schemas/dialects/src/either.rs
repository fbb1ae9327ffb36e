//! Servers that stream in another dialect than they were asked in, as routers do that write one alone: the first event tells
//! whose reader the stream gets. Knows no dialect.

use crate::provider::{Observed, Step, StreamReader, Wanted};
use bytes::Bytes;
use penstock_schemas::failure::Failure;
use penstock_schemas::sse;

/// The reader of another dialect that an event, or an answer in one piece, is for; `None` where it is of the own one.
pub(crate) type FindReader = fn(&sse::Event, Wanted) -> Option<Box<dyn StreamReader>>;

/// Reads a stream in its own dialect, or in the one that its first event is of.
#[derive(Debug)]
pub(crate) struct EitherReader<R> {
    own: R,
    other: Option<Box<dyn StreamReader>>,
    wanted: Wanted,
    /// Until the first event came.
    find: Option<FindReader>,
}

impl<R: StreamReader> EitherReader<R> {
    pub(crate) fn new(own: R, wanted: Wanted, find: FindReader) -> Self {
        Self { own, other: None, wanted, find: Some(find) }
    }

    fn reader(&self) -> &dyn StreamReader {
        self.other.as_deref().unwrap_or(&self.own)
    }
}

impl<R: StreamReader> StreamReader for EitherReader<R> {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        let tells = || match event.data.is_empty() {
            true => event.raw.trim_ascii_start().starts_with(b"{"),
            false => event.event.as_deref() != Some(b"ping"),
        };
        if let Some(find) = self.find.take_if(|_| tells()) {
            self.other = find(event, self.wanted);
        }
        match &mut self.other {
            Some(other) => other.read(event),
            None => self.own.read(event),
        }
    }

    fn is_done(&self) -> bool {
        self.reader().is_done()
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        match &mut self.other {
            Some(other) => other.finish(),
            None => self.own.finish(),
        }
    }

    fn observed(&self) -> &Observed {
        self.reader().observed()
    }
}
