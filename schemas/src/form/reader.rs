//! Forms that are read while they arrive, in pieces cut anywhere: for values that are too long to be held. Takes the same
//! forms as [`MultipartForm`](super::MultipartForm), with the same limits. Knows nothing of what the parts mean.

use super::parameters::parameter;
use super::{BadForm, LONGEST_BOUNDARY, LONGEST_HEAD, MOST_PARTS, PartHead, read_head};
use bytes::{Bytes, BytesMut};
use memchr::memmem::{Finder, find};

/// What comes next in a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormPiece {
    /// A part begins.
    Part(PartHead),
    /// The next bytes of the value of the part that began last.
    Value(Bytes),
    /// The form is over; what follows is none of it.
    End,
}

/// Reads a form. It holds what was pushed and not taken yet, the head of a part and a boundary at most besides.
#[derive(Debug)]
pub struct FormReader {
    /// `\r\n--` and the boundary.
    delimiter: Finder<'static>,
    buffer: BytesMut,
    state: State,
    parts: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was taken yet: the first boundary may stand here without a line before it.
    Begin,
    /// In front of the first boundary.
    Before,
    /// Right behind a boundary.
    Boundary,
    /// At the end of a head, in front of its last line end: the value may be empty.
    Blank,
    /// In the value of a part.
    Value,
    /// Behind the last boundary.
    Over,
}

impl FormReader {
    /// A reader of forms of this media type.
    ///
    /// # Errors
    /// When it names no boundary that can be one.
    pub fn new(content_type: &str) -> Result<Self, BadForm> {
        let boundary = parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty());
        let boundary = boundary.ok_or(BadForm::NoBoundary)?;
        if boundary.len() > LONGEST_BOUNDARY {
            return Err(BadForm::LongBoundary);
        }
        let delimiter = Finder::new(format!("\r\n--{boundary}").as_bytes()).into_owned();
        Ok(Self { delimiter, buffer: BytesMut::new(), state: State::Begin, parts: 0 })
    }

    /// Takes the next bytes of the form. All that can be read of the ones before is to be read first.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.state != State::Over {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// What comes next; `None` when more must be pushed first.
    ///
    /// # Errors
    /// When it is no form.
    pub fn next_piece(&mut self) -> Result<Option<FormPiece>, BadForm> {
        loop {
            match self.state {
                State::Begin => {
                    let line = &self.delimiter.needle()[2..];
                    if self.buffer.len() < line.len() && line.starts_with(&self.buffer) {
                        return Ok(None);
                    }
                    let is_there = self.buffer.starts_with(line);
                    let length = line.len();
                    if is_there {
                        let _ = self.buffer.split_to(length);
                    }
                    self.state = if is_there { State::Boundary } else { State::Before };
                }
                State::Before => match self.take_to_boundary() {
                    (left_out, false) if left_out.is_empty() => return Ok(None),
                    _ => {}
                },
                State::Boundary => return self.head(),
                State::Blank
                    if self.buffer.len() < self.delimiter.needle().len()
                        && self.delimiter.needle().starts_with(&self.buffer) =>
                {
                    return Ok(None);
                }
                State::Blank => {
                    if !self.buffer.starts_with(self.delimiter.needle()) {
                        let _ = self.buffer.split_to(2);
                    }
                    self.state = State::Value;
                }
                State::Value => match self.take_to_boundary() {
                    (value, _) if !value.is_empty() => return Ok(Some(FormPiece::Value(value))),
                    (_, false) => return Ok(None),
                    (_, true) => {}
                },
                State::Over => return Ok(None),
            }
        }
    }

    /// Checks that nothing is missing, now that all is pushed and read.
    ///
    /// # Errors
    /// When the closing boundary never came, or the first.
    pub fn finish(&self) -> Result<(), BadForm> {
        match self.state {
            State::Over => Ok(()),
            State::Begin | State::Before => Err(BadForm::Empty),
            State::Boundary | State::Blank | State::Value => Err(BadForm::Short),
        }
    }

    /// What stands in front of the next boundary, as far as it is there, and whether the boundary was reached. It is passed
    /// then, unless something stands in front of it: that goes first.
    fn take_to_boundary(&mut self) -> (Bytes, bool) {
        let length = self.delimiter.needle().len();
        match self.delimiter.find(&self.buffer) {
            Some(0) => {
                let _ = self.buffer.split_to(length);
                self.state = State::Boundary;
                (Bytes::new(), true)
            }
            Some(at) => (self.buffer.split_to(at).freeze(), false),
            // A boundary may have begun in the last bytes.
            None => (self.buffer.split_to(self.buffer.len().saturating_sub(length - 1)).freeze(), false),
        }
    }

    /// What follows a boundary: the head of a part, or the end.
    fn head(&mut self) -> Result<Option<FormPiece>, BadForm> {
        if self.buffer.len() < 2 {
            return Ok(None);
        }
        if self.buffer.starts_with(b"--") {
            self.state = State::Over;
            self.buffer = BytesMut::new();
            return if self.parts == 0 { Err(BadForm::Empty) } else { Ok(Some(FormPiece::End)) };
        }
        let near = &self.buffer[..self.buffer.len().min(LONGEST_HEAD)];
        // A line that only begins as a boundary does: for another reader it may be none.
        let padding = near.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let end = &near[padding..near.len().min(padding + 2)];
        if !b"\r\n".starts_with(end) {
            return Err(BadForm::Boundary);
        }
        if self.parts == MOST_PARTS {
            return Err(BadForm::TooMany);
        }
        // Searched from the boundary's own line end on: a part may have no headers at all.
        let Some(blank) = find(near, b"\r\n\r\n") else {
            return if near.len() < LONGEST_HEAD { Ok(None) } else { Err(BadForm::LongHead) };
        };
        self.parts += 1;
        if self.delimiter.find(&self.buffer[..blank + 2]).is_some() {
            return Err(BadForm::NoName);
        }
        let head = read_head(&self.buffer[..blank]).ok_or(BadForm::NoName)?;
        // Of an empty value the line before the boundary is the blank line's own end.
        let _ = self.buffer.split_to(blank + 2);
        self.state = State::Blank;
        Ok(Some(FormPiece::Part(head)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::MultipartForm;
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=b0";
    const BODY: &str = "before\r\n--b0 \r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b0\r\nContent-Disposition: form-data; name=empty\r\n\r\n\r\n--b0\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a;b.jsonl\"\r\nContent-Type: text/plain\r\n\r\n{}\r\n--b\r\n\r\n--b0x\r\n--b0--\r\nbehind";

    type Parts = Vec<(PartHead, Vec<u8>)>;

    /// All parts of a form that comes in pieces of this length.
    fn read(body: &[u8], content_type: &str, length: usize) -> Result<Parts, BadForm> {
        let mut reader = FormReader::new(content_type)?;
        let mut parts = Parts::new();
        for piece in body.chunks(length) {
            reader.push(piece);
            while let Some(piece) = reader.next_piece()? {
                match piece {
                    FormPiece::Part(head) => parts.push((head, Vec::new())),
                    FormPiece::Value(bytes) => parts.last_mut().expect("a part comes first").1.extend(bytes),
                    FormPiece::End => {}
                }
            }
            assert!(reader.buffer.len() <= length + LONGEST_HEAD + LONGEST_BOUNDARY, "it holds too much");
        }
        reader.finish().map(|()| parts)
    }

    #[test]
    fn a_form_is_the_same_in_pieces_of_any_length() {
        let body = BODY.replace("--b0x\r\n", "");
        let whole = read(body.as_bytes(), TYPE, body.len()).unwrap();
        let names: Vec<_> = whole.iter().map(|(head, value)| (head.name.as_str(), value.as_slice())).collect();
        assert_eq!(names, [("purpose", &b"batch"[..]), ("empty", b""), ("file", b"{}\r\n--b\r\n")]);
        assert_eq!(whole[2].0.filename.as_deref(), Some("a;b.jsonl"));
        assert_eq!((whole[2].0.content_type.as_deref(), &whole[0].0.filename), (Some("text/plain"), &None));
        for length in 1..body.len() {
            assert_eq!(read(body.as_bytes(), TYPE, length).as_ref(), Ok(&whole), "in pieces of {length}");
        }
    }

    #[test]
    fn what_one_reader_takes_the_other_takes_and_for_the_same_reason_refuses() {
        let mut bodies: Vec<Vec<u8>> = (0..BODY.len()).map(|end| BODY.as_bytes()[..end].to_vec()).collect();
        for at in 0..BODY.len() {
            for byte in [0, b'\r', b'\n', b'-', b'"', b';', b' ', 0xff] {
                let mut body = BODY.replace("--b0x\r\n", "").into_bytes();
                let last = body.len() - 1;
                body[at.min(last)] = byte;
                bodies.push(body);
            }
        }
        bodies.push(BODY.as_bytes().to_vec());
        bodies.push(b"--b0--".to_vec());
        let part = "--b0\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n";
        bodies.push((part.repeat(MOST_PARTS) + "--b0--").into_bytes());
        bodies.push((part.repeat(MOST_PARTS + 1) + "--b0--").into_bytes());
        bodies.push(part.replace("=a", &format!("={}", "a".repeat(1 << 14))).into_bytes());
        for body in bodies {
            let other = MultipartForm::read(&body, TYPE).map(|form| form.parts.len());
            for length in [1, 7, body.len().max(1)] {
                let ours = read(&body, TYPE, length).map(|parts| parts.len());
                let shown = String::from_utf8_lossy(&body[..body.len().min(400)]);
                assert_eq!(ours.is_ok(), other.is_ok(), "{ours:?} {other:?} {shown}");
                assert!(ours.is_err() || ours == other, "{ours:?} {other:?} {shown}");
            }
        }
    }

    #[test]
    fn a_media_type_without_a_boundary_is_refused_before_anything_is_read() {
        let wrong = |content_type: &str| FormReader::new(content_type).unwrap_err();
        assert_eq!(wrong("multipart/form-data"), BadForm::NoBoundary);
        assert_eq!(wrong("multipart/form-data; boundary="), BadForm::NoBoundary);
        assert_eq!(wrong(&format!("a/b; boundary={}", "x".repeat(71))), BadForm::LongBoundary);
    }

    #[test]
    fn a_name_may_come_encoded() {
        let name = |disposition: &str| {
            read_head(format!("Content-Disposition: form-data; name=file; {disposition}").as_bytes()).unwrap().filename
        };
        assert_eq!(name("filename*=UTF-8''a%20%e2%82%ac.txt").as_deref(), Some("a €.txt"));
        assert_eq!(name("filename=\"plain\"; filename*=UTF-8''other").as_deref(), Some("plain"));
        assert_eq!(name("filename*=%zz").as_deref(), Some("%zz"));
    }
}
