//! Amazon's event stream out of bytes that come cut anywhere: binary messages with headers, a payload and two checksums.
//! The messages are read by Amazon's own crate; here is only where one ends. Knows nothing of what they say.
//! Source: <https://smithy.io/2.0/aws/amazon-eventstream.html>.

use super::CutError;
use aws_smithy_eventstream::frame::read_message_from;
use aws_smithy_types::event_stream::Message;
use bytes::{Bytes, BytesMut};
use penstock_schemas::sse::{Event, TooLong};
use serde_json::json;

/// The length of the message, that of its headers, and a checksum of the two, each of 4 bytes.
const PRELUDE: usize = 12;

/// The prelude and the checksum of the whole: a message without headers and payload.
const SHORTEST: usize = 16;

/// Cuts a stream into its messages.
#[derive(Debug)]
pub struct EventStreamParser {
    limit: usize,
    /// From the start of the current message on.
    buffer: BytesMut,
}

impl EventStreamParser {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, buffer: BytesMut::new() }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(super) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn next_event(&mut self) -> Result<Option<Event>, CutError> {
        let Some(prelude) = self.buffer.first_chunk::<PRELUDE>() else { return Ok(None) };
        let length = length_of(prelude)?;
        if length > self.limit {
            return Err(TooLong(self.limit).into());
        }
        if self.buffer.len() < length {
            return Ok(None);
        }
        let raw = self.buffer.split_to(length).freeze();
        let message = read_message_from(raw.clone()).map_err(|error| CutError::Damaged(error.to_string()))?;
        Ok(Some(event(raw, &message)))
    }

    pub(super) fn finish(&mut self) -> Result<Option<Event>, CutError> {
        match self.next_event()? {
            None if !self.buffer.is_empty() => Err(CutError::Damaged("it ends in the middle of a message".to_owned())),
            last => Ok(last),
        }
    }
}

/// How long the message is that begins so. The checksum is looked at before the length is believed: a damaged length would
/// have us wait for bytes that never come.
fn length_of(prelude: &[u8; PRELUDE]) -> Result<usize, CutError> {
    let [a, b, c, d, _, _, _, _, sum @ ..] = *prelude;
    let is_whole = crc32fast::hash(&prelude[..8]) == u32::from_be_bytes(sum);
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if is_whole && length >= SHORTEST {
        Ok(length)
    } else {
        Err(CutError::Damaged("these bytes are no event-stream message".to_owned()))
    }
}

/// What a message says, as an event: its type and its payload. An error has no payload: code and message are headers.
fn event(raw: Bytes, message: &Message) -> Event {
    let header = |name: &str| {
        let found = message.headers().iter().find(|header| header.name().as_str() == name)?;
        found.value().as_string().ok().map(|text| text.as_str().to_owned())
    };
    let (name, data) = match header(":message-type").as_deref() {
        Some("exception") => (header(":exception-type").as_deref().map(exception), message.payload().clone()),
        Some("error") => {
            let words = json!({ "message": header(":error-message") }).to_string();
            (header(":error-code").as_deref().map(exception), words.into())
        }
        _ => (header(":event-type"), message.payload().clone()),
    };
    Event { raw, event: name.map(Bytes::from), data }
}

fn exception(name: &str) -> String {
    format!("exception:{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_eventstream::frame::write_message_to;
    use aws_smithy_types::event_stream::{Header, HeaderValue};

    fn message(headers: &[(&'static str, &'static str)], payload: &'static str) -> Vec<u8> {
        let headers = headers.iter().map(|(name, text)| Header::new(*name, HeaderValue::String((*text).into())));
        let message = Message::new_from_parts(headers.collect(), Bytes::from(payload));
        let mut bytes = Vec::new();
        write_message_to(&message, &mut bytes).unwrap();
        bytes
    }

    fn stream() -> Vec<u8> {
        [
            message(&[(":message-type", "event"), (":event-type", "messageStart")], r#"{"role":"assistant"}"#),
            message(&[], ""),
            message(&[(":message-type", "exception"), (":exception-type", "throttlingException")], "{}"),
            message(&[(":message-type", "error"), (":error-code", "Gone"), (":error-message", "it's \"gone\"")], ""),
        ]
        .concat()
    }

    fn cut<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> Result<Vec<Event>, CutError> {
        let mut parser = EventStreamParser::new(limit);
        let mut events = Vec::new();
        for piece in pieces {
            parser.push(piece);
            while let Some(event) = parser.next_event()? {
                events.push(event);
            }
        }
        events.extend(parser.finish()?);
        Ok(events)
    }

    #[test]
    fn events_exceptions_and_errors_are_told_apart() {
        let events = cut([&stream()[..]], 1 << 20).unwrap();
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let said: Vec<(Option<String>, String)> =
            events.iter().map(|event| (event.event.as_ref().map(text), text(&event.data))).collect();
        let expected = [
            (Some("messageStart"), r#"{"role":"assistant"}"#),
            (None, ""),
            (Some("exception:throttlingException"), "{}"),
            (Some("exception:Gone"), r#"{"message":"it's \"gone\""}"#),
        ];
        assert_eq!(said, expected.map(|(name, data)| (name.map(str::to_owned), data.to_owned())));
        assert_eq!(events.iter().flat_map(|event| event.raw.to_vec()).collect::<Vec<u8>>(), stream());
    }

    #[test]
    fn any_split_gives_the_same_events() {
        let stream = stream();
        let whole = cut([&stream[..]], 1 << 20);
        for at in 0..=stream.len() {
            assert_eq!(cut([&stream[..at], &stream[at..]], 1 << 20), whole, "cut at {at}");
        }
        assert_eq!(cut(stream.chunks(1), 1 << 20), whole);
    }

    #[test]
    fn damage_at_any_byte_is_seen_and_never_panics() {
        let stream = stream();
        for at in 0..stream.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = stream.clone();
                damaged[at] ^= flip;
                cut([&damaged[..]], 1 << 20).unwrap_err();
            }
        }
        for end in 0..stream.len() {
            let _ = cut([&stream[..end]], 1 << 20);
        }
    }

    #[test]
    fn what_is_too_long_or_no_message_is_refused_at_once() {
        let long = message(&[], "0123456789");
        assert_eq!(cut([&long[..PRELUDE]], 20), Err(TooLong(20).into()));
        for bytes in [&b"data: {\"a\":1}\n\n"[..], b"\0\0\0\0\0\0\0\0\0\0\0\0", &[0xff; 40]] {
            assert!(matches!(cut([bytes], 1 << 20), Err(CutError::Damaged(_))), "{bytes:?}");
        }
    }
}
