//! No bytes of anybody make an adapter panic, and where a stream is cut does not matter. The bytes are the golden files' with
//! deterministic damage.

use crate::support::{ask, files, golden, wanted};
use bytes::Bytes;
use penstock_schemas::envelope::{Delivery, Dialect, Unsupported};
use penstock_schemas::name::ModelId;
use penstock_schemas::sse::Parser;
use penstock_workers::providers::{self, Adapter, Ask, Form, Step};
use serde_json::json;
use std::fs;

/// Damaged copies of each file.
const COPIES: u64 = 24;

/// A generator of numbers that needs no crate: xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % bound.max(1)
    }

    /// A copy with a few bytes changed, doubled, or taken out, or cut short.
    fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut copy = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let (from, length) = (self.below(copy.len()), 1 + self.below(12));
            let to = (from + length).min(copy.len());
            match self.below(5) {
                0 => drop(copy.drain(from..to)),
                1 => copy.truncate(from),
                2 => {
                    let piece = copy[from..to].to_vec();
                    copy.splice(from..from, piece);
                }
                _ => {
                    const ODD: &[&[u8]] =
                        &[b"null", b"{}", b"[]", b"-1", b"\"\"", b"1e400", b"\xff", b"\"", b"{", b"}"];
                    let odd = ODD[self.below(ODD.len())];
                    copy.splice(from..to, odd.iter().copied());
                }
            }
        }
        copy
    }
}

fn dialects() -> Vec<(String, &'static dyn Adapter)> {
    let folders = fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let adapter = |name: &String| providers::of(serde_json::from_value::<Dialect>(json!(name)).unwrap());
    folders.filter_map(|name| Some((name.clone(), adapter(&name)?))).collect()
}

/// Calls `with` for damaged copies of every file of a folder.
fn each_damaged(dialect: &str, folder: &str, ending: &str, mut with: impl FnMut(Bytes)) {
    for (at, path) in files(dialect, folder, ending).into_iter().enumerate() {
        let whole = fs::read(&path).unwrap();
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ (at as u64 + 1));
        for _ in 0..COPIES {
            with(chance.damage(&whole).into());
        }
    }
}

#[test]
fn no_request_and_no_reply_makes_an_adapter_panic() {
    let model = ModelId::parse("some-model").unwrap();
    for (name, adapter) in dialects() {
        for form in [Form::Own, Form::Agnostic] {
            let whole = wanted(form, Delivery::Whole);
            each_damaged(&name, "requests", ".json", |body| {
                for unsupported in [Unsupported::Refuse, Unsupported::Drop] {
                    let _ = adapter.spell(&Ask { unsupported, ..ask(&body, &model, whole) });
                }
            });
            each_damaged(&name, "replies", ".json", |body| drop(adapter.read_whole(whole, &body)));
        }
    }
}

/// What a client would get of a stream that comes in pieces of these lengths.
fn read(adapter: &dyn Adapter, stream: &[u8], form: Form, length: impl FnMut() -> usize) -> (Vec<u8>, String) {
    let (mut reader, mut parser) = (adapter.stream(wanted(form, Delivery::StreamWithUsage)), Parser::new(1 << 20));
    let (mut out, mut rest, mut length) = (Vec::new(), stream, length);
    loop {
        let (piece, after) = rest.split_at(length().clamp(1, rest.len().max(1)).min(rest.len()));
        parser.push(piece);
        rest = after;
        let is_last = rest.is_empty();
        let next = |parser: &mut Parser| if is_last { parser.finish() } else { parser.next_event() };
        while let Ok(Some(event)) = next(&mut parser) {
            match reader.read(&event) {
                Ok(Step::Hold(bytes) | Step::Content(bytes)) => out.extend_from_slice(&bytes),
                Ok(Step::Hide) => {}
                Err(failure) => return (out, failure.message),
            }
        }
        if is_last {
            break;
        }
    }
    let end = reader.finish();
    out.extend_from_slice(end.as_ref().map_or(b"", |last| last));
    (out, end.err().map(|failure| failure.message).unwrap_or_default())
}

#[test]
fn no_stream_makes_an_adapter_panic_and_its_cuts_do_not_matter() {
    for (name, adapter) in dialects() {
        for form in [Form::Own, Form::Agnostic] {
            let mut chance = Chance(7);
            let mut check = |stream: &[u8]| {
                let whole = read(adapter, stream, form, || usize::MAX);
                assert_eq!(read(adapter, stream, form, || 1), whole, "{name}: {}", String::from_utf8_lossy(stream));
                assert_eq!(read(adapter, stream, form, || 1 + chance.below(40)), whole, "{name}");
            };
            for path in files(&name, "streams", ".sse") {
                check(&fs::read(&path).unwrap());
            }
            each_damaged(&name, "streams", ".sse", |stream| check(&stream));
        }
    }
}
