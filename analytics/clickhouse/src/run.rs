//! One request on one connection, in a blocking thread: settings, the statement, its data in or its rows out.
//! Knows no sockets: the body comes, and the result goes, through bounded channels.

use crate::body::{self, BodyPiece, Bounded, Wire, fill, read_up_to};
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
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::timeout;

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

/// Where the pieces go. A client that does not read must not keep a statement's place for ever.
pub(crate) struct Out {
    pub(crate) pieces: Sender<Piece>,
    pub(crate) patience: Duration,
}

impl Out {
    /// Waits until the client has taken what came before.
    fn send(&self, piece: Piece) -> Result<(), Exception> {
        let sending = timeout(self.patience, self.pieces.send(piece));
        match Handle::current().block_on(sending) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Exception::new(Kind::Aborted, "The client went away")),
            Err(_) => Err(Exception::new(Kind::Aborted, "The client stopped reading")),
        }
    }
}

/// One request, ready to run.
pub(crate) struct Run {
    pub(crate) engine: Arc<Engine>,
    pub(crate) head: Parts,
    pub(crate) parameters: Pairs,
    pub(crate) body: Receiver<BodyPiece>,
    pub(crate) body_limit: u64,
    pub(crate) out: Out,
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
        let _ = self.out.send(last);
    }

    fn try_run(&mut self) -> Result<(), Exception> {
        let wire = Wire::of(&mut self.body);
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
    out: &'a Out,
    only_reads: &'a AtomicBool,
}

impl Task<'_> {
    fn run(&self, connection: &mut Connection, body: &mut impl Read) -> Result<(), Exception> {
        let mut text = self.ask.query.clone().into_bytes();
        if !text.is_empty() {
            text.push(b'\n');
        }
        let room = STATEMENT.saturating_sub(text.len() as u64);
        let read = body.take(room).read_to_end(&mut text).map_err(body::failed)?;
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
            let length = fill(&mut data, &mut piece).map_err(body::failed)?;
            if length == 0 {
                break;
            }
            insert.append(&piece[..length])?;
        }
        let work = insert.finish()?;
        self.out.send(Piece::Begin { format: DEFAULT_FORMAT.to_owned(), work })
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
        self.out.send(Piece::Begin { format: format.clone(), work: outcome.work })?;
        if outcome.bytes.is_empty() { Ok(()) } else { self.out.send(Piece::Rows(outcome.bytes)) }
    }

    fn pieces(&self, format: &str, text: &[u8]) -> Pieces {
        let name = format::JSON_ARRAY;
        format::pieces(format, || {
            let asked = self.ask.settings.iter().any(|(setting, _)| setting == name);
            asked || self.ask.session.is_some() || memchr::memmem::find(text, name.as_bytes()).is_some()
        })
    }

    /// Stops, and by that cancels, when nobody reads any more.
    fn stream(&self, connection: &mut Connection, statement: Statement<'_>, pieces: Pieces) -> Result<(), Exception> {
        let mut rows = connection.stream(statement)?;
        let mut next = rows.next()?;
        let work = next.as_ref().map(|outcome| outcome.work).unwrap_or_default();
        self.out.send(Piece::Begin { format: statement.format.to_owned(), work })?;
        let mut header = Header::of(pieces);
        while let Some(outcome) = next {
            let unlike = || Exception::new(Kind::UnknownException, "a chunk of the result begins unlike the first");
            let bytes = header.strip(outcome.bytes).ok_or_else(unlike)?;
            if !bytes.is_empty() {
                self.out.send(Piece::Rows(bytes))?;
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
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    // A value that is no text is no known encoding either: it is passed on, to be refused.
    headers.get(name).map(|value| value.to_str().unwrap_or("(not ASCII)"))
}
