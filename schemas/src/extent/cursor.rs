//! One pass over a JSON text: every object's names are seen once, and a name that stands twice in one object is an error
//! with its place. Knows JSON, and nothing of what a request means.

use super::BadRequest;
use memchr::memchr2;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write;

/// The deepest nesting of lists and objects: the limit of the parser that reads requests everywhere else.
pub const DEEPEST: usize = 127;

/// Messages, their parts and calls of one request, together: what a turn holds is compared with each other in places.
pub(super) const MOST_PARTS: usize = 20_000;

/// Calls of tools of one request.
pub(super) const MOST_CALLS: usize = 5_000;

/// Fields of a request itself.
pub(super) const MOST_FIELDS: usize = 2_048;

/// Names of one object that are compared one by one; with more, they are hashed.
const FEW_NAMES: usize = 24;

/// What a value is, by how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    List,
    Object,
}

/// Which names of one object are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Equal ones.
    Exact,
    /// Those that differ in case and underscores only: protobuf's JSON takes `maxOutputTokens` and `max_output_tokens`.
    Folded,
}

/// A step of a place such as `messages[0].content`.
enum Part<'a> {
    Name(Cow<'a, str>),
    Item(usize),
}

/// A position in a JSON text.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    place: Vec<Part<'a>>,
    /// The names of the objects around this position, the innermost last.
    names: Vec<Cow<'a, str>>,
    pieces: usize,
    calls: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, place: Vec::new(), names: Vec::new(), pieces: 0, calls: 0 }
    }

    /// Counts a call of a tool.
    pub(super) fn count_call(&mut self) -> Result<(), BadRequest> {
        self.calls += 1;
        if self.calls <= MOST_CALLS {
            return Ok(());
        }
        Err(self.wrong(format!("a request has at most {MOST_CALLS} calls of tools")))
    }

    /// Counts a message, or a part of one.
    pub(super) fn count_piece(&mut self) -> Result<(), BadRequest> {
        self.pieces += 1;
        if self.pieces <= MOST_PARTS {
            return Ok(());
        }
        Err(self.wrong(format!("a request has at most {MOST_PARTS} messages, parts and calls, together")))
    }

    fn byte(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// What the value here is.
    pub(super) fn kind(&mut self) -> Result<Kind, BadRequest> {
        Ok(match self.byte().ok_or(BadRequest::NotJson)? {
            b'"' => Kind::Text,
            b'[' => Kind::List,
            b'{' => Kind::Object,
            b't' | b'f' => Kind::Bool,
            b'n' => Kind::Null,
            b'-' | b'0'..=b'9' => Kind::Number,
            _ => return Err(BadRequest::NotJson),
        })
    }

    /// Whether nothing but space follows.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.byte().is_none()
    }

    /// The text here, with its quotes. The cursor goes behind it.
    fn quoted(&mut self) -> Result<(&'a str, bool), BadRequest> {
        if self.byte() != Some(b'"') {
            return Err(BadRequest::NotJson);
        }
        let (start, bytes) = (self.at, self.text.as_bytes());
        let (mut at, mut has_escapes) = (start + 1, false);
        loop {
            at += memchr2(b'"', b'\\', bytes.get(at..).ok_or(BadRequest::NotJson)?).ok_or(BadRequest::NotJson)?;
            if bytes[at] == b'"' {
                break;
            }
            has_escapes = true;
            at += 2;
        }
        self.at = at + 1;
        Ok((&self.text[start..=at], has_escapes))
    }

    /// The value of the text here.
    pub(super) fn text(&mut self) -> Result<Cow<'a, str>, BadRequest> {
        let (quoted, has_escapes) = self.quoted()?;
        let plain = &quoted[1..quoted.len() - 1];
        if !has_escapes {
            return Ok(Cow::Borrowed(plain));
        }
        // Half a character, `"\ud800"`, is no text: such a name stands for itself.
        Ok(serde_json::from_str(quoted).map_or(Cow::Borrowed(plain), Cow::Owned))
    }

    /// A number or a word, as it is written.
    pub(super) fn scalar(&mut self) -> Result<&'a str, BadRequest> {
        self.byte();
        let rest = &self.text[self.at..];
        let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
        let end = rest.as_bytes().iter().position(ends).unwrap_or(rest.len());
        self.at += end;
        if end == 0 { Err(BadRequest::NotJson) } else { Ok(&rest[..end]) }
    }

    /// Whether the number or word here is this one, which stays unread.
    pub(super) fn is_next(&mut self, scalar: &str) -> bool {
        self.byte();
        let ends = |rest: &str| rest.bytes().next().is_none_or(|byte| b",]} \t\n\r".contains(&byte));
        self.text[self.at..].strip_prefix(scalar).is_some_and(ends)
    }

    /// The bytes that `pass` goes over.
    pub(super) fn length_of(
        &mut self,
        pass: impl FnOnce(&mut Self) -> Result<(), BadRequest>,
    ) -> Result<u64, BadRequest> {
        let before = self.at;
        pass(self)?;
        Ok((self.at - before) as u64)
    }

    /// Passes over the object here; `each` passes over the value of each name.
    pub(super) fn object(
        &mut self,
        same: Names,
        mut each: impl FnMut(&mut Self, &str) -> Result<(), BadRequest>,
    ) -> Result<(), BadRequest> {
        self.open(b'{')?;
        let first = self.names.len();
        let mut many: Option<HashSet<Cow<'a, str>>> = None;
        let mut is_first = true;
        while self.goes_on(b'}', &mut is_first)? {
            let name = self.text()?;
            if self.byte() != Some(b':') {
                return Err(BadRequest::NotJson);
            }
            self.at += 1;
            let compared = match (same, &name) {
                (Names::Exact, _) => name.clone(),
                (Names::Folded, Cow::Borrowed(name)) => folded(name),
                (Names::Folded, Cow::Owned(name)) => Cow::Owned(folded(name).into_owned()),
            };
            let is_new = match &mut many {
                Some(many) => many.insert(compared),
                None if self.names[first..].contains(&compared) => false,
                None => {
                    self.names.push(compared);
                    if self.names.len() - first > FEW_NAMES {
                        many = Some(self.names.drain(first..).collect());
                    }
                    true
                }
            };
            self.place.push(Part::Name(name.clone()));
            if !is_new {
                return Err(self.wrong("it stands there twice, and providers differ in which they read"));
            }
            each(self, &name)?;
            self.place.pop();
        }
        self.names.truncate(first);
        Ok(())
    }

    /// Passes over the list here; `each` passes over each item.
    pub(super) fn list(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), BadRequest>,
    ) -> Result<usize, BadRequest> {
        self.open(b'[')?;
        let (mut count, mut is_first) = (0, true);
        while self.goes_on(b']', &mut is_first)? {
            self.place.push(Part::Item(count));
            each(self)?;
            self.place.pop();
            count += 1;
        }
        Ok(count)
    }

    fn open(&mut self, bracket: u8) -> Result<(), BadRequest> {
        if self.byte() != Some(bracket) {
            return Err(BadRequest::NotJson);
        }
        self.at += 1;
        // Each list and object around this one has put one part into the place, but the outermost.
        if self.place.len() >= DEEPEST { Err(BadRequest::TooDeep) } else { Ok(()) }
    }

    /// Whether another item follows; goes over the comma or the closing bracket.
    fn goes_on(&mut self, closing: u8, is_first: &mut bool) -> Result<bool, BadRequest> {
        let was_first = std::mem::replace(is_first, false);
        match self.byte() {
            Some(byte) if byte == closing => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !was_first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if was_first => Ok(true),
            _ => Err(BadRequest::NotJson),
        }
    }

    /// Passes over any value.
    pub(super) fn skip(&mut self) -> Result<(), BadRequest> {
        match self.kind()? {
            Kind::Text => self.quoted().map(drop),
            Kind::Object => self.object(Names::Exact, |cursor, _| cursor.skip()),
            Kind::List if self.numbers() => Ok(()),
            Kind::List => self.list(Self::skip).map(drop),
            Kind::Null | Kind::Bool | Kind::Number => self.scalar().map(drop),
        }
    }

    /// Passes over any value in which no list is longer than this.
    pub(super) fn skip_short(&mut self, most: usize) -> Result<(), BadRequest> {
        match self.kind()? {
            Kind::Object => self.object(Names::Exact, |cursor, _| cursor.skip_short(most)),
            Kind::List => self.list(|cursor| cursor.skip_short(most)).and_then(|count| self.at_most(count, most)),
            _ => self.skip(),
        }
    }

    /// Refuses a list here that is longer.
    pub(super) fn at_most(&self, count: usize, most: usize) -> Result<(), BadRequest> {
        if count <= most { Ok(()) } else { Err(self.wrong(format!("a list here has at most {most} items"))) }
    }

    /// Passes over a list of nothing but numbers at once, such as a text in tokens. False, and nothing is passed over, when
    /// it is another list.
    fn numbers(&mut self) -> bool {
        let rest = &self.text.as_bytes()[self.at + 1..];
        let is_of_numbers = |byte: &u8| {
            matches!(byte, b'0'..=b'9' | b',' | b'-' | b'+' | b'.' | b'e' | b'E' | b' ' | b'\n' | b'\r' | b'\t')
        };
        let end = rest.iter().position(|byte| !is_of_numbers(byte)).unwrap_or(rest.len());
        let is_it = rest.get(end) == Some(&b']') && self.place.len() < DEEPEST;
        if is_it {
            self.at += end + 2;
        }
        is_it
    }

    /// That the value here is not what it should be.
    pub(super) fn wrong(&self, why: impl Into<String>) -> BadRequest {
        BadRequest::Wrong { place: self.place(), why: why.into() }
    }

    fn place(&self) -> String {
        let mut place = String::new();
        for part in &self.place {
            let dot = if place.is_empty() { "" } else { "." };
            // Writing to a String cannot fail.
            let _ = match part {
                Part::Name(name) => write!(place, "{dot}{}", name.chars().take(64).collect::<String>()),
                Part::Item(at) => write!(place, "[{at}]"),
            };
        }
        place
    }
}

/// A name without what servers differ in: case, and the underscores between its words. Go's servers fold two letters
/// beyond ASCII too. Source: <https://pkg.go.dev/encoding/json#Unmarshal>, `strings.EqualFold`.
pub(super) fn folded(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return Cow::Borrowed(name);
    }
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    });
    Cow::Owned(letters.collect())
}
