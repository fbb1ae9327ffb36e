//! What goes back: headers, rows as they come, and errors in ClickHouse's text. Knows no statements.

use crate::encoding;
use crate::engine::Engine;
use crate::exception::Exception;
use crate::ffi::Work;
use crate::format;
use crate::run::Piece;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{Either, Full};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Sleep, sleep};
use tokio_util::task::TaskTracker;

/// Time for an error text in the middle of a result to leave before its connection is cut.
const LINGER: Duration = Duration::from_millis(200);
/// With `wait_end_of_query`, what is held back so that an error can still have its status; a longer result begins to flow.
const HELD_BACK: usize = 16 << 20;

/// The result as far as it is known when the answer begins, or the rest of it as it comes.
pub(crate) type AnswerBody = Either<Full<Bytes>, Rows>;

/// A result cut off by an error: its connection is closed without the last chunk, so that it cannot pass for complete.
#[derive(Debug, thiserror::Error)]
#[error("the result was cut off by an error")]
pub(crate) struct CutOff;

/// A statement that runs for a client. Dropped before its end, the statement is killed, if it only reads.
pub(crate) struct Running {
    pub(crate) engine: Arc<Engine>,
    pub(crate) tracker: TaskTracker,
    pub(crate) comment: String,
    pub(crate) only_reads: Arc<AtomicBool>,
    pub(crate) ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended || !self.only_reads.load(Ordering::Relaxed) {
            return;
        }
        let (engine, comment) = (Arc::clone(&self.engine), std::mem::take(&mut self.comment));
        self.tracker.spawn_blocking(move || {
            if let Err(error) = engine.kill(Some(&comment)) {
                tracing::debug!(%error, comment, "a statement whose client went away was not killed");
            }
        });
    }
}

/// How the client wants its answer.
pub(crate) struct Wishes {
    pub(crate) query_id: String,
    /// `compress=1`: the rows in native blocks.
    pub(crate) native_blocks: bool,
    pub(crate) wait_end_of_query: bool,
}

/// Waits for the first pieces and begins the answer.
pub(crate) async fn answer(
    mut pieces: Receiver<Piece>,
    first: Option<Piece>,
    mut running: Running,
    wishes: Wishes,
) -> Response<AnswerBody> {
    let (format, work) = match first {
        Some(Piece::Begin { format, work }) => (format, work),
        other => {
            running.ended = true;
            return failed(&exception_of(other), &running.engine, &wishes.query_id);
        }
    };
    let mut held = Vec::new();
    let mut size = 0;
    let mut ended = false;
    while wishes.wait_end_of_query && size < HELD_BACK && !ended {
        match pieces.recv().await {
            Some(Piece::Rows(rows)) => {
                size += rows.len();
                held.push(rows);
            }
            Some(Piece::Done) => ended = true,
            other => {
                running.ended = true;
                return failed(&exception_of(other), &running.engine, &wishes.query_id);
            }
        }
    }
    let tag = format!("{:016x}", RandomState::new().build_hasher().finish());
    let mut headers = common_headers(&running.engine, &wishes.query_id);
    insert(&mut headers, "X-ClickHouse-Format", &format);
    insert(&mut headers, "X-ClickHouse-Summary", &summary(work));
    insert(&mut headers, "X-ClickHouse-Exception-Tag", &tag);
    insert(&mut headers, CONTENT_TYPE.as_str(), format::content_type(&format));
    running.ended = ended;
    let held = held.into_iter();
    let rows = Rows { held, pieces, running, native_blocks: wishes.native_blocks, tag, cut_off: None };
    let mut response = Response::new(Either::Right(rows));
    *response.headers_mut() = headers;
    response
}

/// An answer that is an error from the start.
pub(crate) fn failed(exception: &Exception, engine: &Engine, query_id: &str) -> Response<AnswerBody> {
    let mut headers = common_headers(engine, query_id);
    insert(&mut headers, "X-ClickHouse-Exception-Code", &exception.code.to_string());
    insert(&mut headers, CONTENT_TYPE.as_str(), "text/plain; charset=UTF-8");
    let mut response = plain(exception.status(), exception.with_version(&engine.version));
    *response.headers_mut() = headers;
    response
}

/// An answer that is no result: `Ok.`, or a path that does not exist.
pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(Either::Left(Full::new(text.into())));
    *response.status_mut() = status;
    insert(response.headers_mut(), CONTENT_TYPE.as_str(), "text/html; charset=UTF-8");
    response
}

/// The rest of a result.
pub(crate) struct Rows {
    held: std::vec::IntoIter<Bytes>,
    pieces: Receiver<Piece>,
    running: Running,
    native_blocks: bool,
    tag: String,
    cut_off: Option<Pin<Box<Sleep>>>,
}

impl Body for Rows {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let rows = &mut *self;
        if let Some(linger) = &mut rows.cut_off {
            return linger.as_mut().poll(context).map(|()| Some(Err(CutOff)));
        }
        if let Some(held) = rows.held.next() {
            return Poll::Ready(Some(Ok(rows.frame(&held))));
        }
        if rows.running.ended {
            return Poll::Ready(None);
        }
        let piece = std::task::ready!(rows.pieces.poll_recv(context));
        Poll::Ready(match piece {
            Some(Piece::Rows(bytes)) => Some(Ok(rows.frame(&bytes))),
            Some(Piece::Done) => {
                rows.running.ended = true;
                None
            }
            other => {
                rows.running.ended = true;
                rows.cut_off = Some(Box::pin(sleep(LINGER)));
                let text = exception_of(other).with_version(&rows.running.engine.version);
                Some(Ok(Frame::data(in_the_middle(&text, &rows.tag).into())))
            }
        })
    }
}

impl Rows {
    fn frame(&self, rows: &Bytes) -> Frame<Bytes> {
        Frame::data(if self.native_blocks { encoding::as_blocks(rows) } else { rows.clone() })
    }
}

/// An error after rows were sent, as servers since 25.11 write it; clients look for the tag of the header at the end.
fn in_the_middle(text: &str, tag: &str) -> String {
    format!("\r\n__exception__\r\n{tag}\r\n{text}{} {tag}\r\n__exception__\r\n", text.len())
}

/// A thread that ended without a word has panicked.
fn exception_of(piece: Option<Piece>) -> Exception {
    match piece {
        Some(Piece::Failed(exception)) => exception,
        _ => Exception::from_engine("the statement ended without an answer"),
    }
}

fn common_headers(engine: &Engine, query_id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    insert(&mut headers, "X-ClickHouse-Query-Id", query_id);
    insert(&mut headers, "X-ClickHouse-Timezone", &engine.timezone);
    insert(&mut headers, "X-ClickHouse-Server-Display-Name", "penstock");
    headers
}

/// Leaves out what cannot stand in a header (a client's query id may be anything).
fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

fn summary(work: Work) -> String {
    let Work { read_rows, read_bytes, written_rows, written_bytes, result_rows, result_bytes } = work;
    format!(
        "{{\"read_rows\":\"{read_rows}\",\"read_bytes\":\"{read_bytes}\",\"written_rows\":\"{written_rows}\",\
         \"written_bytes\":\"{written_bytes}\",\"total_rows_to_read\":\"0\",\"result_rows\":\"{result_rows}\",\
         \"result_bytes\":\"{result_bytes}\"}}"
    )
}
