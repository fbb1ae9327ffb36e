//! Every dialect against what no provider and no caller should send: golden files with bytes changed and cut off. Nothing
//! panics, and a refusal is a refusal.

use crate::support::{ask, events, files, golden, wanted};
use bytes::Bytes;
use penstock_schemas::envelope::{Delivery, Dialect};
use penstock_schemas::name::ModelId;
use penstock_workers::providers::{self, Adapter, Form};
use serde_json::json;
use std::fs;

/// Changes to each file, spread over it; the same ones every time.
const CHANGES: usize = 24;

fn dialects() -> Vec<(String, &'static dyn Adapter)> {
    let folders = fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    folders
        .map(|name| (name.clone(), providers::of(serde_json::from_value::<Dialect>(json!(name)).unwrap()).unwrap()))
        .collect()
}

/// The file as it is, cut off, and with single bytes changed.
fn odd_ones(bytes: &[u8]) -> Vec<Vec<u8>> {
    let step = (bytes.len() / CHANGES).max(1);
    let mut all = vec![bytes.to_vec(), Vec::new(), vec![b'{'; 20_000], vec![b'['; 20_000]];
    for at in (0..bytes.len()).step_by(step) {
        all.push(bytes[..at].to_vec());
        for byte in [b'"', b'{', b'}', b'0', b'n', 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] = byte;
            all.push(changed);
        }
    }
    all
}

#[test]
fn no_request_and_no_reply_is_too_odd() {
    let model = ModelId::parse("some-model").unwrap();
    for (name, adapter) in dialects() {
        for (folder, form) in
            [("requests", Form::Agnostic), ("requests", Form::Own), ("replies", Form::Agnostic), ("replies", Form::Own)]
        {
            for path in files(&name, folder, ".json") {
                for odd in odd_ones(&fs::read(&path).unwrap()) {
                    let odd = Bytes::from(odd);
                    // Either is right, as long as it comes back.
                    if folder == "requests" {
                        let _ = adapter.spell(&ask(&odd, &model, wanted(form, Delivery::Stream)));
                    } else {
                        let _ = adapter.read_whole(wanted(form, Delivery::Whole), &odd);
                    }
                }
            }
        }
    }
}

#[test]
fn no_stream_is_too_odd() {
    for (name, adapter) in dialects() {
        for path in files(&name, "streams", ".sse") {
            for odd in odd_ones(&fs::read(&path).unwrap()) {
                for form in [Form::Agnostic, Form::Own] {
                    let mut reader = adapter.stream(wanted(form, Delivery::StreamWithUsage));
                    let is_read = events([&odd[..]]).iter().all(|event| reader.read(event).is_ok());
                    // A reader that has failed is not asked again.
                    if is_read {
                        let _ = reader.finish();
                    }
                }
            }
        }
    }
}
