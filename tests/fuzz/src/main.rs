//! One program that feeds mutated bytes to everything that reads a caller's, a provider's or another process's. Which reader
//! stands in `PENSTOCK_FUZZ_TARGET`; the bytes come from libFuzzer. Built and started by `tests/fuzz/run`.
//!
//! The first bytes of an input are choices (a dialect, an operation, a place to cut), the rest is what is read.

#![no_main]

mod bus;
mod client;
mod names;
mod provider;
mod request;
mod session;

use libfuzzer_sys::{Corpus, fuzz_target};
use std::sync::LazyLock;
use std::time::Duration;

/// The longest that one input may take, in time of the processor: other programs do not count.
const LONGEST: Duration = Duration::from_secs(1);

/// What is written is never larger than this multiple of what was read, and this many bytes.
const GROWTH: usize = 64;
const SLACK: usize = 64 * 1024;

type Target = fn(Input<'_>);

const TARGETS: [(&str, Target); 11] = [
    ("request", request::read),
    ("form", request::form),
    ("spell", provider::spell),
    ("answer", provider::answer),
    ("stream", provider::stream),
    ("refuse", provider::refuse),
    ("client", client::write),
    ("session", session::read),
    ("bus", bus::read),
    ("names", names::read),
    ("config", names::config),
];

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("PENSTOCK_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    found.unwrap_or_else(|| panic!("PENSTOCK_FUZZ_TARGET is `{wanted}`, which is none of {:?}", TARGETS.map(|t| t.0))).1
});

fuzz_target!(|data: &[u8]| -> Corpus {
    let target = *TARGET; // made before the time is taken
    let before = processor_time();
    target(Input { rest: data, whole: data.len() });
    let taken = processor_time().saturating_sub(before);
    assert!(taken < LONGEST, "{} bytes take {taken:?}", data.len());
    Corpus::Keep
});

fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

/// Bytes that are read from the front.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    rest: &'a [u8],
    whole: usize,
}

impl<'a> Input<'a> {
    /// One of these; the first when there are no more bytes.
    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.number() % of.len()]
    }

    /// The next byte as a number.
    pub(crate) fn number(&mut self) -> usize {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                usize::from(*first)
            }
            None => 0,
        }
    }

    /// All that is left.
    pub(crate) fn bytes(self) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(self.rest)
    }

    /// All that is left, where it is text.
    pub(crate) fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.rest).ok()
    }

    /// Checks the size of what was made of it.
    pub(crate) fn bounds(&self, written: usize) {
        let most = self.whole * GROWTH + SLACK;
        assert!(written <= most, "{} bytes became {written}", self.whole);
    }
}

/// Whether bytes are JSON by its grammar; half a surrogate pair is none of its concern.
pub(crate) fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&serde_json::value::RawValue>(bytes).is_ok()
}

/// The bytes in two pieces, cut at a place that a number chooses.
pub(crate) fn cut(bytes: &[u8], at: usize) -> [&[u8]; 2] {
    let at = bytes.len() * at / 256;
    [&bytes[..at], &bytes[at..]]
}
