//! What crosses the bus: what can be read is written and read again as the same.

use crate::Input;
use penstock_schemas::audit::AuditEvent;
use penstock_schemas::directory::Directory;
use penstock_schemas::envelope::Envelope;
use penstock_schemas::event::{decode_batch, encode_batch};
use penstock_schemas::frame::{Control, Frame};
use penstock_schemas::key::VirtualKey;
use penstock_schemas::ledger_line;
use penstock_schemas::model::ProviderCard;
use penstock_schemas::spend::{SpendQuery, SpendReply};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Any message.
pub fn read(mut input: Input<'_>) {
    let kind = input.number() % 10;
    let bytes = input.bytes();
    match kind {
        0 => {
            let Ok((envelope, body)) = Envelope::decode(&bytes) else { return };
            let _ = (envelope.native(&body), envelope.agnostic(&body), envelope.call_id());
            let again = envelope.encode(&body).expect("an envelope can be written");
            assert_eq!(Envelope::decode(&again).expect("and read again"), (envelope, body));
        }
        1 => {
            let Ok(frame) = Frame::decode(&bytes) else { return };
            let again = frame.encode().expect("a frame can be written");
            assert_eq!(Frame::decode(&again).expect("and read again"), frame);
        }
        2 => {
            let lines: Vec<_> = ledger_line::read(&bytes).collect();
            for event in lines.into_iter().flatten() {
                let line = ledger_line::write(&event);
                assert_eq!(ledger_line::read(&line).filter(Result::is_ok).count(), 1, "a line is read as one event");
            }
            let Ok(events) = decode_batch(&bytes) else { return };
            let again = encode_batch(&events).expect("events can be written");
            assert_eq!(decode_batch(&again).expect("and read again"), events);
        }
        3 => same::<Control>(&bytes),
        4 => same::<VirtualKey>(&bytes),
        5 => same::<Directory>(&bytes),
        6 => same::<ProviderCard>(&bytes),
        7 => same::<SpendReply>(&bytes),
        8 => same::<SpendQuery>(&bytes),
        _ => same::<AuditEvent>(&bytes),
    }
}

fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(bytes) else { return };
    let again = serde_json::to_vec(&value).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<T>(&again).expect("and read again"), value);
}
