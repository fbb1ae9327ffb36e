//! Server-sent events out of bytes that come cut anywhere. Knows nothing of what the events say, nor of text: it works on
//! bytes, so a character may be cut in half. Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
//!
//! One deviation: a line ends with LF or CRLF. The standard's lone CR is not a line's end here, because whether an LF
//! follows it would be known only with the next bytes, and an event would wait for the next one to come.

use bytes::{Buf, Bytes, BytesMut};
use std::ops::Range;

/// The longest event of a stream that any process reads, in bytes: an image may be in it.
pub const EVENT_BYTES: usize = 16 * 1024 * 1024;

/// Room for a few dozen events of the usual size, so that a stream seldom allocates.
const ROOM: usize = 8 * 1024;

/// What may stand in front of a text in UTF-8, and is no part of it.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One event, or a block of comments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its bytes as they came, with the blank line: all events' bytes together are the stream. A byte order mark in front
    /// of the first is left out: clients that do not know it would not see that event.
    pub raw: Bytes,
    /// The `event:` field.
    pub event: Option<Bytes>,
    /// The `data:` fields, joined by LF. Empty in a block of comments.
    pub data: Bytes,
}

/// An event is longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {0} bytes")]
pub struct TooLong(pub usize);

/// Cuts a stream into its events.
#[derive(Debug)]
pub struct Parser {
    limit: usize,
    /// From the start of the current event on.
    buffer: BytesMut,
    /// Where the current line starts.
    line: usize,
    /// Up to where the current line was searched for its end.
    searched: usize,
    /// Whether a byte order mark may still come.
    at_start: bool,
    event: Option<Range<usize>>,
    data: Fields,
}

/// The `data:` fields of the current event, as places in the buffer while there is only one.
#[derive(Debug, Default)]
enum Fields {
    #[default]
    None,
    One(Range<usize>),
    Many(Vec<u8>),
}

impl Parser {
    /// A parser for one stream, none of whose events may be longer than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: BytesMut::with_capacity(ROOM),
            line: 0,
            searched: 0,
            at_start: true,
            event: None,
            data: Fields::None,
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The bytes that wait for the end of their event.
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The next event that is complete.
    ///
    /// # Errors
    /// When an event is longer than the limit, complete or not. The stream cannot be read on.
    pub fn next_event(&mut self) -> Result<Option<Event>, TooLong> {
        self.pass_mark();
        while let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
            let end = self.searched + at;
            if end >= self.limit {
                return Err(TooLong(self.limit));
            }
            let is_blank = self.end_line(end);
            self.line = end + 1;
            self.searched = end + 1;
            if is_blank {
                return Ok(Some(self.cut()));
            }
        }
        self.searched = self.buffer.len();
        if self.buffer.len() > self.limit { Err(TooLong(self.limit)) } else { Ok(None) }
    }

    /// The event that the end of the stream leaves without its blank line, which is put behind it: providers forget it.
    ///
    /// # Errors
    /// When it is longer than the limit.
    pub fn finish(&mut self) -> Result<Option<Event>, TooLong> {
        if let Some(event) = self.next_event()? {
            return Ok(Some(event));
        }
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let end = self.buffer.len();
        if end > self.line && !self.end_line(end) {
            self.buffer.extend_from_slice(b"\n");
        }
        self.buffer.extend_from_slice(b"\n");
        self.line = self.buffer.len();
        Ok(Some(self.cut()))
    }

    /// Leaves a byte order mark out, which may come cut.
    fn pass_mark(&mut self) {
        if self.at_start && self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.buffer.advance(BYTE_ORDER_MARK.len());
            (self.searched, self.at_start) = (0, false);
        }
        self.at_start &= BYTE_ORDER_MARK.starts_with(&self.buffer);
    }

    /// Notes what the line that ends at `end` says; whether it is blank.
    fn end_line(&mut self, end: usize) -> bool {
        let line = &self.buffer[self.line..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let value = |name: &[u8]| {
            let rest = line.strip_prefix(name)?;
            let value = if rest.is_empty() { rest } else { rest.strip_prefix(b":")? };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            let end = self.line + line.len();
            Some(end - value.len()..end)
        };
        if let Some(value) = value(b"data") {
            self.data = match std::mem::take(&mut self.data) {
                Fields::None => Fields::One(value),
                Fields::One(first) => Fields::Many([&self.buffer[first], b"\n", &self.buffer[value]].concat()),
                Fields::Many(mut joined) => {
                    joined.push(b'\n');
                    joined.extend_from_slice(&self.buffer[value]);
                    Fields::Many(joined)
                }
            };
        } else if let Some(value) = value(b"event") {
            self.event = Some(value);
        }
        line.is_empty()
    }

    /// The event whose blank line ends where the next line starts.
    fn cut(&mut self) -> Event {
        let raw = self.buffer.split_to(self.line).freeze();
        (self.line, self.searched) = (0, 0);
        let data = match std::mem::take(&mut self.data) {
            Fields::None => Bytes::new(),
            Fields::One(value) => raw.slice(value),
            Fields::Many(joined) => joined.into(),
        };
        Event { event: self.event.take().map(|value| raw.slice(value)), data, raw }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(parser: &mut Parser) -> Vec<Event> {
        std::iter::from_fn(|| parser.next_event().unwrap()).collect()
    }

    fn events(stream: &[u8]) -> Vec<Event> {
        let mut parser = Parser::new(1 << 20);
        parser.push(stream);
        let mut events = all(&mut parser);
        events.extend(parser.finish().unwrap());
        events
    }

    #[test]
    fn fields_are_read_as_the_standard_says() {
        for (stream, event, data) in [
            ("data: a\n\n", None, "a"),
            ("data:a\n\n", None, "a"),
            ("data:  a \r\n\r\n", None, " a "),
            ("data: a\r\n\n", None, "a"),
            ("data: a\ndata\ndata: b\ndata:\n\n", None, "a\n\nb\n"),
            (": hello\nid: 7\nretry: 10\nevent: ping\ndata: {}\n\n", Some("ping"), "{}"),
            ("event: a\nevent:b\ndata: {}\n\n", Some("b"), "{}"),
            (": only a comment\n\n", None, ""),
            ("dataset: x\neventual: y\n\n", None, ""),
            ("data: a: b\n\n", None, "a: b"),
            ("data: a\rb\n\n", None, "a\rb"),
        ] {
            let found = events(stream.as_bytes());
            assert_eq!(found.len(), 1, "{stream:?}");
            assert_eq!(found[0].event.as_deref(), event.map(str::as_bytes), "{stream:?}");
            assert_eq!(found[0].data, data, "{stream:?}");
            assert_eq!(found[0].raw, stream, "{stream:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_stream_wherever_it_is_cut() {
        let stream = "\u{FEFF}data: a\n\n\u{FEFF}data: b\n\n".as_bytes();
        for cut in 0..8 {
            let mut parser = Parser::new(1 << 20);
            let mut found = Vec::new();
            for piece in [&stream[..cut], &stream[cut..]] {
                parser.push(piece);
                found.extend(all(&mut parser));
            }
            let raw: Vec<&[u8]> = found.iter().map(|event| &event.raw[..]).collect();
            assert_eq!(raw, [b"data: a\n\n", "\u{FEFF}data: b\n\n".as_bytes()], "cut at {cut}");
            assert_eq!(found[0].data, "a", "cut at {cut}");
        }
    }

    #[test]
    fn an_event_without_its_blank_line_is_completed_at_the_end() {
        for (stream, raw) in [
            ("data: a", "data: a\n\n"),
            ("data: a\n", "data: a\n\n"),
            ("data: a\r\n", "data: a\r\n\n"),
            ("data: a\r\n\r", "data: a\r\n\r\n"),
        ] {
            let found = events(stream.as_bytes());
            assert_eq!(found.len(), 1, "{stream:?}");
            assert_eq!((&found[0].data[..], &found[0].raw[..]), (&b"a"[..], raw.as_bytes()), "{stream:?}");
        }
        assert_eq!(events(b""), []);
    }

    #[test]
    fn a_blank_line_too_many_is_kept_as_it_came() {
        let found = events(b"\n\ndata: a\n\n\n");
        let raw: Vec<u8> = found.iter().flat_map(|event| event.raw.to_vec()).collect();
        assert_eq!(raw, b"\n\ndata: a\n\n\n");
        assert_eq!(found.iter().filter(|event| !event.data.is_empty()).count(), 1);
    }

    #[test]
    fn an_event_over_the_limit_fails_wherever_it_is_cut() {
        let stream = b"data: 12\n\ndata: 123\n\n";
        for cut in 0..stream.len() {
            let mut parser = Parser::new(10);
            parser.push(&stream[..cut]);
            let mut first = parser.next_event();
            parser.push(&stream[cut..]);
            if first == Ok(None) {
                first = parser.next_event();
            }
            assert_eq!(first.unwrap().unwrap().data, "12");
            assert_eq!(parser.next_event(), Err(TooLong(10)), "cut at {cut}");
            assert_eq!(parser.next_event(), Err(TooLong(10)), "cut at {cut}");
        }
    }
}
