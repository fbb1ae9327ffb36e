//! One request on one connection, in a blocking thread: settings, the statement, its data in or its rows out.
//! Knows no sockets: the body comes, and the result goes, through bounded channels.

use crate::encoding;
use crate::engine::{Engine, Lease, quote};
use crate::exception::{Exception, Kind};
use crate::ffi::{Analysis, Connection, Effect, Statement, Work};
use crate::format::{self, Header, Pieces};
use crate::request::{Ask, Pairs, flag, form};
use crate::statement::{self, OutputFormat};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc::{Receiver, Sender};

/// The longest statement, and the longest VALUES, which are checked as a whole.
const STATEMENT: u64 = 1 << 20;
const FORM: u64 = 32 << 20;
const PIECE: usize = 256 << 10;
const DEFAULT_FORMAT: &str = "TabSeparated";

/// What a request's thread tells, in this order: `Begin`, any number of `Rows`, `Done`; or `Failed`, at any time, last.
pub(crate) enum Piece {
    Begin { format: String, work: Work },
    Rows(Bytes),
    Done,
    Failed(Exception),
}

/// A piece of the body; `None` is its end. A channel that closes before is a client that went away.
pub(crate) type BodyPiece = Option<Bytes>;

/// One request, ready to run.
pub(crate) struct Run {
    pub(crate) engine: Arc<Engine>,
    pub(crate) head: Parts,
    pub(crate) parameters: Pairs,
    pub(crate) body: Receiver<BodyPiece>,
    pub(crate) body_limit: u64,
    pub(crate) out: Sender<Piece>,
    /// By which the statement is found among the running ones.
    pub(crate) comment: String,
    /// Set once the statement is known to only read, so that it may be killed when its client goes.
    pub(crate) only_reads: Arc<AtomicBool>,
}

impl Run {
    /// Runs to the end and tells it, if there is still someone to tell. By then a session is free for its next statement.
    pub(crate) fn run(mut self) {
        let last = match self.try_run() {
            Ok(()) => Piece::Done,
            Err(exception) => Piece::Failed(exception),
        };
        let _ = self.out.blocking_send(last);
    }

    fn try_run(&mut self) -> Result<(), Exception> {
        let wire = Wire { pieces: &mut self.body, piece: Bytes::new(), ended: false };
        let encoding = text(&self.head.headers, header::CONTENT_ENCODING);
        let native = flag(&self.parameters, "decompress");
        let plain = encoding::decoded(Bounded { body: wire, left: self.body_limit }, encoding, native)?;
        let mut body = Bounded { body: plain, left: self.body_limit };
        let mut parameters = std::mem::take(&mut self.parameters);
        if let Some(kind) =
            text(&self.head.headers, header::CONTENT_TYPE).filter(|kind| kind.starts_with("multipart/form-data"))
        {
            parameters.extend(form(kind, &read_up_to(&mut body, FORM)?)?);
        }
        let ask = Ask::read(&self.head.method, &self.head.headers, parameters)?;
        let session = ask.session.as_deref().map(|name| (name, ask.session_timeout));
        let mut lease = self.engine.lease(session)?;
        prepare(lease.connection(), &ask, &self.comment)?;
        let statement = Task { ask: &ask, out: &self.out, only_reads: &self.only_reads };
        let outcome = statement.run(lease.connection(), &mut body);
        keep(lease, &ask);
        outcome
    }
}

/// The database and settings of this request. One SET: an unknown name fails as on a server, and nothing has run yet.
fn prepare(connection: &mut Connection, ask: &Ask, comment: &str) -> Result<(), Exception> {
    if let Some(database) = &ask.database {
        command(connection, &format!("USE `{}`", database.replace('\\', "\\\\").replace('`', "\\`")))?;
    }
    let theirs = |(name, value): &(String, String)| match name.as_str() {
        "log_comment" => format!("log_comment = {}", quote(&format!("{value} {comment}"))),
        _ => format!("{name} = {}", quote(value)),
    };
    let mut settings: Vec<String> = ask.settings.iter().map(theirs).collect();
    if !ask.settings.iter().any(|(name, _)| name == "log_comment") {
        settings.push(format!("log_comment = {}", quote(comment)));
    }
    command(connection, &format!("SET {}", settings.join(", ")))
}

/// A session keeps its temporary tables and what SET has set, but not the settings of one request.
fn keep(mut lease: Lease<'_>, ask: &Ask) {
    let defaults: Vec<String> = ask.settings.iter().map(|(name, _)| format!("{name} = DEFAULT")).collect();
    if !lease.is_session() {
        return;
    }
    if defaults.is_empty() || command(lease.connection(), &format!("SET {}", defaults.join(", "))).is_ok() {
        lease.keep();
    }
}

fn command(connection: &mut Connection, text: &str) -> Result<(), Exception> {
    connection.query(Statement { text: text.as_bytes(), format: DEFAULT_FORMAT, parameters: &[] }).map(|_| ())
}

struct Task<'a> {
    ask: &'a Ask,
    out: &'a Sender<Piece>,
    only_reads: &'a AtomicBool,
}

impl Task<'_> {
    fn run(&self, connection: &mut Connection, body: &mut impl Read) -> Result<(), Exception> {
        let mut text = self.ask.query.clone().into_bytes();
        if !text.is_empty() {
            text.push(b'\n');
        }
        let room = STATEMENT.saturating_sub(text.len() as u64);
        let read = body.take(room).read_to_end(&mut text).map_err(body_failed)?;
        let whole = (read as u64) < room;
        let too_large =
            |what| Err(Exception::new(Kind::QueryIsTooLarge, format_args!("{what} is longer than {STATEMENT} bytes")));
        match statement::parse(&text, &self.ask.parameters)? {
            statement::Statement::Insert { format, .. } if !whole && statement::is_values(&format) => {
                too_large("VALUES, which is checked as a whole (other formats are not),")
            }
            statement::Statement::Insert { head, format, data } => {
                self.insert(connection, &text[head], &format, (&text[data..]).chain(body))
            }
            statement::Statement::Other if !whole => too_large("The statement"),
            statement::Statement::Other => self.other(connection, &text),
        }
    }

    fn insert(
        &self,
        connection: &mut Connection,
        head: &[u8],
        format: &str,
        mut data: impl Read,
    ) -> Result<(), Exception> {
        let text = [head, b" FORMAT ", format.as_bytes()].concat();
        self.permit(connection, &text)?;
        let mut insert = connection.insert(self.statement(head, format))?;
        let mut piece = vec![0; PIECE];
        loop {
            let length = fill(&mut data, &mut piece).map_err(body_failed)?;
            if length == 0 {
                break;
            }
            insert.append(&piece[..length])?;
        }
        let work = insert.finish()?;
        self.send(Piece::Begin { format: DEFAULT_FORMAT.to_owned(), work });
        Ok(())
    }

    fn other(&self, connection: &mut Connection, text: &[u8]) -> Result<(), Exception> {
        let analysis = self.permit(connection, text)?;
        let default = self.ask.format.as_deref().unwrap_or(DEFAULT_FORMAT);
        let (format, pieces) = match statement::output_format(text) {
            OutputFormat::Default => (default.to_owned(), self.pieces(default, text)),
            OutputFormat::Named(name) => (name.clone(), self.pieces(&name, text)),
            OutputFormat::Unclear => (default.to_owned(), Pieces::Whole),
        };
        // The format is given beside the text too: then it is this one, however the engine reads the text's end.
        let statement = self.statement(text, &format);
        if analysis.effect == Effect::Reads {
            self.only_reads.store(true, Ordering::Relaxed);
            if pieces != Pieces::Whole {
                match self.stream(connection, statement, pieces) {
                    Err(exception) if exception.to_string().contains("Streaming query is not supported") => {}
                    other => return other,
                }
            }
        }
        let outcome = connection.query(statement)?;
        self.send(Piece::Begin { format: format.clone(), work: outcome.work });
        if !outcome.bytes.is_empty() {
            self.send(Piece::Rows(outcome.bytes));
        }
        Ok(())
    }

    fn pieces(&self, format: &str, text: &[u8]) -> Pieces {
        let name = format::JSON_ARRAY;
        format::pieces(format, || {
            let asked = self.ask.settings.iter().any(|(setting, _)| setting == name);
            asked || self.ask.session.is_some() || memchr::memmem::find(text, name.as_bytes()).is_some()
        })
    }

    /// Stops, and by that cancels, when nobody listens any more.
    fn stream(&self, connection: &mut Connection, statement: Statement<'_>, pieces: Pieces) -> Result<(), Exception> {
        let mut rows = connection.stream(statement)?;
        let mut next = rows.next()?;
        let work = next.as_ref().map(|outcome| outcome.work).unwrap_or_default();
        if !self.send(Piece::Begin { format: statement.format.to_owned(), work }) {
            return Ok(());
        }
        let mut header = Header::of(pieces);
        while let Some(outcome) = next {
            let unlike = || Exception::new(Kind::UnknownException, "a chunk of the result begins unlike the first");
            let bytes = header.strip(outcome.bytes).ok_or_else(unlike)?;
            if !bytes.is_empty() && !self.send(Piece::Rows(bytes)) {
                return Ok(());
            }
            next = rows.next()?;
        }
        Ok(())
    }

    /// Asks the engine's parser. A text that does not parse is given to it as a stream, which says why and runs nothing.
    fn permit(&self, connection: &mut Connection, text: &[u8]) -> Result<Analysis, Exception> {
        let analysis = connection.classify(text);
        if analysis.statements == 0 {
            let unknown = Exception::new(Kind::SyntaxError, "Syntax error: this is not a statement");
            return Err(connection.stream(self.statement(text, DEFAULT_FORMAT)).err().unwrap_or(unknown));
        }
        statement::permit(text, analysis, self.ask.only_reading)?;
        Ok(analysis)
    }

    fn statement<'s>(&'s self, text: &'s [u8], format: &'s str) -> Statement<'s> {
        Statement { text, format, parameters: &self.ask.parameters }
    }

    /// False if nobody listens any more.
    fn send(&self, piece: Piece) -> bool {
        self.out.blocking_send(piece).is_ok()
    }
}

/// The body as it comes from the connection's task.
struct Wire<'a> {
    pieces: &'a mut Receiver<BodyPiece>,
    piece: Bytes,
    ended: bool,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.ended = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// Fails, where `Read::take` would end: a body that is too large must not pass for a shorter one.
struct Bounded<R> {
    body: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.body.read(buffer)?;
        self.left = self.left.checked_sub(length as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(length)
    }
}

fn read_up_to(body: &mut impl Read, limit: u64) -> Result<Vec<u8>, Exception> {
    let mut bytes = Vec::new();
    Bounded { body, left: limit }.read_to_end(&mut bytes).map_err(body_failed)?;
    Ok(bytes)
}

/// Reads until `piece` is full or the body ends, so that the engine gets few and large pieces.
fn fill(data: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut range = Range { start: 0, end: piece.len() };
    while !range.is_empty() {
        match data.read(&mut piece[range.clone()])? {
            0 => break,
            length => range.start += length,
        }
    }
    Ok(range.start)
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn body_failed(error: io::Error) -> Exception {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Exception::new(Kind::QueryIsTooLarge, "The request's body is too large"),
        io::ErrorKind::ConnectionAborted => Exception::new(Kind::Aborted, "The client went away before its body ended"),
        io::ErrorKind::UnexpectedEof => Exception::new(Kind::CannotDecompress, "The compressed body is cut off"),
        _ => Exception::new(Kind::CannotDecompress, format_args!("The compressed body cannot be read: {error}")),
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    // A value that is no text is no known encoding either: it is passed on, to be refused.
    headers.get(name).map(|value| value.to_str().unwrap_or("(not ASCII)"))
}
