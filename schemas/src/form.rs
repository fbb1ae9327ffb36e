//! Forms (`multipart/form-data`) read in place: where each part's value stands in the bytes, so that one part can be
//! changed and every other byte stays as it came. Knows nothing of what the parts mean.
//! Sources: <https://www.rfc-editor.org/rfc/rfc7578>, <https://www.rfc-editor.org/rfc/rfc2046#section-5.1.1>.

mod parameters;
mod reader;

pub use reader::{FormPiece, FormReader};

use memchr::memmem::Finder;
use parameters::{decoded, named, parameter};
use std::ops::Range;

/// The most parts of one form. A file and its options are a dozen.
const MOST_PARTS: usize = 100;

/// The longest head of a part, in bytes: a name, a file's name and a media type.
const LONGEST_HEAD: usize = 8 * 1024;

/// The longest boundary, in bytes: RFC 2046, 5.1.1.
const LONGEST_BOUNDARY: usize = 70;

/// A form whose parts are known by where they stand.
#[derive(Debug)]
pub struct MultipartForm<'a> {
    body: &'a [u8],
    boundary: String,
    /// Where the first boundary begins; what stands before it is no part.
    start: usize,
    parts: Vec<Part>,
}

/// One part of a form.
#[derive(Debug)]
struct Part {
    name: String,
    is_file: bool,
    value: Range<usize>,
}

/// The head of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartHead {
    /// Its name.
    pub name: String,
    /// The name of the file, where it is one.
    pub filename: Option<String>,
    /// Its media type, where one is named.
    pub content_type: Option<String>,
}

/// Why bytes are not a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadForm {
    /// The media type does not say what parts the parts.
    #[error("its content type names no boundary")]
    NoBoundary,
    /// A boundary that no reader has to take.
    #[error("its boundary is longer than {LONGEST_BOUNDARY} bytes")]
    LongBoundary,
    /// There is no part at all.
    #[error("it holds no part that begins with the boundary of its content type")]
    Empty,
    /// The closing boundary never comes.
    #[error("it is cut short")]
    Short,
    /// A part without a name, or with a head that cannot be read.
    #[error("a part of it has no readable name")]
    NoName,
    /// A line begins with the boundary and goes on.
    #[error("a line of it begins with the boundary and goes on")]
    Boundary,
    /// A head that is longer than names and media types are.
    #[error("the head of a part of it is longer than {LONGEST_HEAD} bytes")]
    LongHead,
    /// More than anybody needs.
    #[error("it has more than {MOST_PARTS} parts")]
    TooMany,
}

impl<'a> MultipartForm<'a> {
    /// Reads the places of all parts.
    ///
    /// # Errors
    /// When `body` is no form with the boundary that `content_type` names.
    pub fn read(body: &'a [u8], content_type: &str) -> Result<Self, BadForm> {
        let boundary = parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty());
        let boundary = boundary.ok_or(BadForm::NoBoundary)?;
        if boundary.len() > LONGEST_BOUNDARY {
            return Err(BadForm::LongBoundary);
        }
        let line = format!("\r\n--{boundary}");
        let (finder, head_end) = (Finder::new(&line), Finder::new("\r\n\r\n"));
        // The first boundary may stand at the very beginning, without a line before it.
        let mut at = if body.starts_with(&line.as_bytes()[2..]) {
            line.len() - 2
        } else {
            finder.find(body).ok_or(BadForm::Empty)? + line.len()
        };
        let first = at + 2 - line.len();
        let mut parts = Vec::new();
        loop {
            let rest = body.get(at..).ok_or(BadForm::Short)?;
            if rest.starts_with(b"--") {
                break;
            }
            // A line that only begins as a boundary does: for another reader it may be none.
            let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            if !b"\r\n".starts_with(&rest[padding..rest.len().min(padding + 2)]) {
                return Err(BadForm::Boundary);
            }
            if parts.len() == MOST_PARTS {
                return Err(BadForm::TooMany);
            }
            // Searched from the boundary's own line end on: a part may have no headers at all.
            let near = &rest[..rest.len().min(LONGEST_HEAD)];
            let blank = head_end.find(near).ok_or(if near.len() < LONGEST_HEAD {
                BadForm::Short
            } else {
                BadForm::LongHead
            })?;
            if finder.find(&rest[..blank + 2]).is_some() {
                return Err(BadForm::NoName);
            }
            let start = at + blank + 4;
            // Of an empty value the line before the boundary is the blank line's own end.
            let end = start - 2 + finder.find(&body[start - 2..]).ok_or(BadForm::Short)?;
            let head = read_head(&rest[..blank]).ok_or(BadForm::NoName)?;
            parts.push(Part { name: head.name, is_file: head.filename.is_some(), value: start..end.max(start) });
            at = end + line.len();
        }
        if parts.is_empty() { Err(BadForm::Empty) } else { Ok(Self { body, boundary, start: first, parts }) }
    }

    /// Whether there is a part of this name that is a file.
    pub fn has_file(&self, name: &str) -> bool {
        self.parts.iter().any(|part| part.is_file && part.name == name)
    }

    /// How many files it holds, and their bytes together.
    pub fn files(&self) -> (u64, u64) {
        let files = self.parts.iter().filter(|part| part.is_file);
        files.fold((0, 0), |(count, bytes), part| (count + 1, bytes + part.value.len() as u64))
    }

    /// The value of the last part of this name that is no file.
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        let part = self.parts.iter().rev().find(|part| !part.is_file && part.name == name)?;
        self.body.get(part.value.clone())
    }

    /// The names of the parts that are no files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter(|part| !part.is_file).map(|part| part.name.as_str())
    }

    /// A name that several parts have, unless it says that they are a list (`include[]`).
    pub fn repeated(&self) -> Option<&str> {
        let is_repeated = |(at, part): (usize, &Part)| {
            !part.name.ends_with("[]") && self.parts[..at].iter().any(|earlier| earlier.name == part.name)
        };
        self.parts.iter().enumerate().find(|(at, part)| is_repeated((*at, part))).map(|(_, part)| part.name.as_str())
    }

    /// The same form with another value of this name, wherever it stands; at the front when there was none.
    pub fn with(&self, name: &str, value: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + value.len() + 128);
        let mut copied = 0;
        let mut is_there = false;
        for part in self.parts.iter().filter(|part| !part.is_file && part.name == name) {
            out.extend_from_slice(&self.body[copied..part.value.start]);
            out.extend_from_slice(value.as_bytes());
            copied = part.value.end;
            if !self.body[copied..].starts_with(b"\r\n") {
                out.extend_from_slice(b"\r\n"); // an empty value had only the blank line's own end
            }
            is_there = true;
        }
        if !is_there {
            let head = format!("--{}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n", self.boundary);
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
            copied = self.start; // what stands before would become a part of the value
        }
        out.extend_from_slice(&self.body[copied..]);
        out
    }

    /// The same form without the parts of this name that are no files.
    pub fn without(&self, name: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len());
        let (mut copied, mut start) = (0, self.start);
        for part in &self.parts {
            // Of an empty value the line before the boundary is the blank line's own end.
            let line = if self.body[part.value.end..].starts_with(b"\r\n") { 2 } else { 0 };
            let end = part.value.end + line;
            if !part.is_file && part.name == name {
                out.extend_from_slice(&self.body[copied..start]);
                copied = end;
            }
            start = end;
        }
        out.extend_from_slice(&self.body[copied..]);
        out
    }
}

/// Reads the head of a part; `None` when it has no name that every reader takes for the same.
fn read_head(head: &[u8]) -> Option<PartHead> {
    let head = String::from_utf8_lossy(head);
    let values = |wanted: &'static str| {
        head.split("\r\n").filter_map(move |line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case(wanted).then_some(value)
        })
    };
    let mut lines = values("content-disposition");
    let line = lines.next()?;
    // Another reader may take the other name of two.
    if lines.next().is_some() || parameter(line, "name*").is_some() || named(line, "name").nth(1).is_some() {
        return None;
    }
    let encoded = || parameter(line, "filename*").map(|value| decoded(&value));
    let content_type = values("content-type").next().map(|value| value.trim().to_owned());
    Some(PartHead {
        name: parameter(line, "name")?,
        filename: parameter(line, "filename").or_else(encoded),
        content_type,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; charset=utf-8; boundary=\"x y\"";
    const BODY: &str = "--x y\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a;\\\"b.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--x\r\n\r\n--x y\r\ncontent-disposition:form-data;name=model\r\n\r\nwhisper\r\n--x y\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--x y--\r\n";

    #[test]
    fn a_form_is_read_in_place_and_one_value_changed() {
        let form = MultipartForm::read(BODY.as_bytes(), TYPE).unwrap();
        assert!(form.has_file("file") && !form.has_file("model"));
        assert_eq!(
            (form.value("model"), form.value("empty"), form.value("file")),
            (Some(&b"whisper"[..]), Some(&b""[..]), None)
        );
        let changed = String::from_utf8(form.with("model", "whisper-1")).unwrap();
        assert_eq!(changed, BODY.replace("whisper", "whisper-1"));
        let added = form.with("stream", "true");
        assert_eq!(MultipartForm::read(&added, TYPE).unwrap().value("stream"), Some(&b"true"[..]));
        assert!(added.ends_with(BODY.as_bytes()));
    }

    #[test]
    fn a_part_is_left_out_wherever_it_stands_and_every_other_byte_stays() {
        let part =
            |name: &str, value: &str| format!("--x\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n");
        for value in ["b64_json", ""] {
            let (odd, a, b) = (part("odd", value), part("a", "1"), part("b", ""));
            for parts in [[&odd, &a, &b], [&a, &odd, &b], [&a, &b, &odd]] {
                let body = parts.map(String::as_str).concat() + "--x--\r\n";
                let form = MultipartForm::read(body.as_bytes(), "a/b; boundary=x").unwrap();
                let left = String::from_utf8(form.without("odd")).unwrap();
                assert_eq!(left, format!("{a}{b}--x--\r\n"), "{body}");
                assert_eq!(form.without("c"), body.as_bytes());
            }
        }
    }

    #[test]
    fn what_stands_before_the_first_part_never_gets_into_a_value() {
        let part = "--x\r\nContent-Disposition: form-data; name=stream\r\n\r\n\r\n--x--\r\n";
        for before in ["", "\r\n", "--\"; fileel\r\n\r\nwhisper\r\n"] {
            let body = format!("{before}{part}");
            let form = MultipartForm::read(body.as_bytes(), "a/b; boundary=x").unwrap();
            let changed = form.with("model", "m");
            let again = MultipartForm::read(&changed, "a/b; boundary=x").unwrap();
            assert_eq!((again.value("model"), again.value("stream")), (Some(&b"m"[..]), Some(&b""[..])), "{before:?}");
        }
    }

    #[test]
    fn a_value_may_take_the_place_of_none_at_all() {
        let body = "--x\r\nContent-Disposition: form-data; name=model\r\n\r\n--x--\r\n";
        let form = MultipartForm::read(body.as_bytes(), "a/b; boundary=x").unwrap();
        assert_eq!(form.value("model"), Some(&b""[..]));
        let changed = form.with("model", "m");
        assert_eq!(MultipartForm::read(&changed, "a/b; boundary=x").unwrap().value("model"), Some(&b"m"[..]));
    }

    #[test]
    fn a_line_that_is_a_boundary_for_some_readers_only_is_refused() {
        let read = |body: &str| MultipartForm::read(body.as_bytes(), "a/b; boundary=x").map(|_| ()).unwrap_err();
        let head = "Content-Disposition: form-data; name=a";
        assert_eq!(read(&format!("--x\r\n{head}\r\n\r\nb\r\n--xy\r\n{head}\r\n\r\nc\r\n--x--")), BadForm::Boundary);
        assert_eq!(read(&format!("--x\r\n{head}\r\n--x\r\nOther: c\r\n\r\nb\r\n--x--")), BadForm::NoName);
        assert!(
            MultipartForm::read(format!("--x \t\r\n{head}\r\n\r\nb\r\n--x--").as_bytes(), "a/b; boundary=x").is_ok()
        );
    }

    #[test]
    fn what_is_no_form_is_told() {
        let read = |body: &str, content_type: &str| {
            MultipartForm::read(body.as_bytes(), content_type).map(|_| ()).unwrap_err()
        };
        assert_eq!(read(BODY, "multipart/form-data"), BadForm::NoBoundary);
        assert_eq!(read(BODY, "multipart/form-data; boundary="), BadForm::NoBoundary);
        assert_eq!(read("", "multipart/form-data; boundary=x"), BadForm::Empty);
        assert_eq!(read("--x--", "multipart/form-data; boundary=x"), BadForm::Empty);
        assert_eq!(read("--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--", "a/b; boundary=x"), BadForm::NoName);
        assert_eq!(read("--x\r\n\r\na\r\n--x--", "a/b; boundary=x"), BadForm::NoName);
        for more in ["\r\nContent-Disposition: form-data; name=model", "; name*=UTF-8''model", "; NAME=\"model\""] {
            let two = format!("--x\r\nContent-Disposition: form-data; name=other{more}\r\n\r\na\r\n--x--");
            assert_eq!(read(&two, "a/b; boundary=x"), BadForm::NoName);
        }
        let part = "--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n";
        assert_eq!(read(&part.repeat(MOST_PARTS + 1), "a/b; boundary=x"), BadForm::TooMany);
    }

    #[test]
    fn a_form_that_is_made_to_cost_work_is_refused_with_the_limit() {
        let part = "--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n";
        let head = |more: &str| format!("--x\r\nContent-Disposition: form-data; name=a{more}\r\n\r\nb\r\n--x--");
        let nested =
            "--x\r\nContent-Disposition: form-data; name=a\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n";
        for (bomb, body, boundary, expected) in [
            ("parts", part.repeat(100_000), "x".to_owned(), BadForm::TooMany),
            ("one part too many", part.repeat(MOST_PARTS + 1) + "--x--", "x".to_owned(), BadForm::TooMany),
            ("a form in a form in a form", nested.repeat(100_000), "x".to_owned(), BadForm::TooMany),
            ("a long name", head(&"a".repeat(1 << 20)), "x".to_owned(), BadForm::LongHead),
            ("many headers", head(&"\r\nx: y".repeat(1 << 20)), "x".to_owned(), BadForm::LongHead),
            (
                "a head without an end",
                head("").replace("\r\n\r\n", "\r\n") + &"a".repeat(1 << 20),
                "x".to_owned(),
                BadForm::LongHead,
            ),
            (
                "no end",
                part.to_owned() + &part[..part.len() - 2] + &"\r\n--".repeat(1 << 20),
                "x".to_owned(),
                BadForm::Short,
            ),
            ("a long boundary", part.to_owned(), "x".repeat(71), BadForm::LongBoundary),
            ("a very long boundary", part.to_owned(), "x".repeat(60_000), BadForm::LongBoundary),
        ] {
            let kind = format!("multipart/form-data; boundary={boundary}");
            assert_eq!(MultipartForm::read(body.as_bytes(), &kind).unwrap_err(), expected, "{bomb}");
        }
        for (limit, body) in
            [("parts", part.repeat(MOST_PARTS) + "--x--"), ("head", head(&"a".repeat(LONGEST_HEAD - 60)))]
        {
            assert!(MultipartForm::read(body.as_bytes(), "a/b; boundary=x").is_ok(), "{limit}");
        }
        let longest = "x".repeat(LONGEST_BOUNDARY);
        let body = (part.to_owned() + "--x--").replace("--x", &format!("--{longest}"));
        assert!(MultipartForm::read(body.as_bytes(), &format!("a/b; boundary={longest}")).is_ok());
    }

    #[test]
    fn no_bytes_make_it_panic_and_every_cut_is_noticed() {
        for end in 0..BODY.len() - 4 {
            assert!(MultipartForm::read(&BODY.as_bytes()[..end], TYPE).is_err(), "cut at {end}");
        }
        for at in 0..BODY.len() {
            for byte in [0, b'\r', b'\n', b'-', b'"', b';', 0xff] {
                let mut body = BODY.as_bytes().to_vec();
                body[at] = byte;
                // What can be read can be read again with another model, and says that one.
                if let Ok(form) = MultipartForm::read(&body, TYPE) {
                    let changed = form.with("model", "m");
                    assert_eq!(MultipartForm::read(&changed, TYPE).unwrap().value("model"), Some(&b"m"[..]));
                }
            }
        }
    }
}
