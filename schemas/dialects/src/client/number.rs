//! Numbers the events of a resumable stream, and leaves out those that the client has already. Reads no content.

use bytes::Bytes;
use penstock_schemas::name::RequestId;
use penstock_schemas::sse::{self, EVENT_BYTES};

/// The events of one stream on their way to the client.
pub struct Numbers {
    call: RequestId,
    events: sse::Parser,
    next: u64,
    /// The last event that the client has.
    seen: u64,
}

impl Numbers {
    /// The stream of this call, of which the client has `seen` events.
    pub fn new(call: RequestId, seen: u64) -> Self {
        Self { call, events: sse::Parser::new(EVENT_BYTES), next: 1, seen }
    }

    /// The events that these bytes complete, each with its `id`, save those that the client has.
    pub fn number(&mut self, bytes: &[u8]) -> Bytes {
        self.events.push(bytes);
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4);
        // An event too long for us has come through a worker with the same bound: there is none.
        while let Ok(Some(event)) = self.events.next_event() {
            if event.data.is_empty() {
                continue; // a comment
            }
            if self.next > self.seen {
                out.extend_from_slice(format!("id: {}.{}\n", self.call, self.next).as_bytes());
                out.extend_from_slice(&event.raw);
            }
            self.next += 1;
        }
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_numbered_from_one_and_seen_ones_are_left_out() {
        let stream = b"event: a\ndata: 1\n\n: hello\n\ndata: 2\n\ndata: 3\n\n";
        let id = RequestId::parse("01900000-0000-7000-8000-000000000007").unwrap();
        let run = |seen, cut: usize| {
            let mut numbers = Numbers::new(id, seen);
            let (one, two) = stream.split_at(cut);
            [numbers.number(one), numbers.number(two)].concat()
        };
        let all = format!("id: {id}.1\nevent: a\ndata: 1\n\nid: {id}.2\ndata: 2\n\nid: {id}.3\ndata: 3\n\n");
        for cut in 0..stream.len() {
            assert_eq!(run(0, cut), all.as_bytes(), "cut at {cut}");
        }
        assert_eq!(run(2, 0), format!("id: {id}.3\ndata: 3\n\n").as_bytes());
        assert_eq!(run(3, 0), b"");
    }
}
