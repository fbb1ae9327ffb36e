//! What one connection does: takes the next request that is due, sends it, reads the reply, counts. Knows neither the
//! schedule nor what is made of the counts.

use crate::options::{NUMBER, Options};
use crate::tally::Tally;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// How long a connection waits before it tries to connect again.
const RECONNECT: Duration = Duration::from_millis(20);

type Sender = SendRequest<Full<Bytes>>;

/// All that the connections share.
pub(crate) struct Load {
    pub(crate) options: Options,
    address: String,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    /// Where in the body the number of a request stands, and the next one.
    number_at: Option<usize>,
    number: Cell<u64>,
    /// The first request is due now.
    pub(crate) start: Instant,
    /// Requests due from here on count.
    pub(crate) measure_from: Instant,
    /// The last request is due before.
    pub(crate) end: Instant,
    /// Open loop: requests that are due, by their scheduled time.
    pub(crate) due: RefCell<VecDeque<Instant>>,
    pub(crate) is_due: Notify,
    pub(crate) is_over: Cell<bool>,
    pub(crate) max_backlog: Cell<usize>,
    sent: Cell<u64>,
    pub(crate) tally: RefCell<Tally>,
}

/// How one request went.
pub(crate) enum Reply {
    Whole(Received),
    /// We dropped the connection on purpose.
    Cancelled,
}

/// What came back.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) first_chunk: Option<Duration>,
    pub(crate) total: Duration,
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) events: u64,
}

impl Load {
    pub(crate) fn new(options: Options) -> anyhow::Result<Self> {
        let start = Instant::now() + Duration::from_millis(5);
        let measure_from = start + Duration::from_secs_f64(options.warmup);
        let body = options.body()?;
        Ok(Self {
            number_at: memchr::memmem::rfind(&body, NUMBER.as_bytes()).filter(|_| options.numbered.is_some()),
            number: Cell::new(options.numbered.unwrap_or_default()),
            address: options.address()?,
            path: options.url.path_and_query().map_or_else(|| "/".into(), ToString::to_string),
            headers: options.headers()?,
            body,
            start,
            measure_from,
            end: measure_from + Duration::from_secs_f64(options.duration),
            due: RefCell::default(),
            is_due: Notify::new(),
            is_over: Cell::new(false),
            max_backlog: Cell::new(0),
            sent: Cell::new(0),
            tally: RefCell::new(Tally::default()),
            options,
        })
    }

    /// When the next request of this connection is due; `None` when there is none any more.
    async fn next(&self) -> Option<Instant> {
        if self.options.requests.is_some_and(|most| self.sent.get() >= most) {
            return None;
        }
        if self.options.rate.is_none() {
            return Some(Instant::now()).filter(|now| *now < self.end);
        }
        loop {
            if let Some(due) = self.due.borrow_mut().pop_front() {
                return Some(due);
            }
            if self.is_over.get() {
                return None;
            }
            self.is_due.notified().await;
        }
    }

    fn body(&self) -> Bytes {
        let Some(at) = self.number_at else { return self.body.clone() };
        let number = self.number.replace(self.number.get() + 1);
        let mut body = self.body.to_vec();
        body[at..at + NUMBER.len()].copy_from_slice(format!(" {number:012}").as_bytes());
        body.into()
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.path.parse().expect("it was part of a URI");
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// One connection, until nothing is due any more.
pub(crate) async fn connection(load: Rc<Load>) {
    let mut sender: Option<Sender> = None;
    while let Some(due) = load.next().await {
        let counts = due >= load.measure_from;
        if counts {
            load.sent.set(load.sent.get() + 1);
        }
        let outcome = match ready(&load, &mut sender).await {
            Ok(sender) => exchange_in_time(&load, sender, counts).await,
            Err(error) => {
                tokio::time::sleep(RECONNECT).await;
                Err(error)
            }
        };
        let finished = Instant::now();
        if outcome.as_ref().map_or_else(|error| !error.starts_with("http "), |reply| matches!(reply, Reply::Cancelled))
        {
            sender = None;
        }
        let is_late = load.options.rate.is_none() && finished > load.end;
        if counts && !is_late {
            load.tally.borrow_mut().count(outcome, finished - due);
        }
    }
}

async fn ready<'a>(load: &Load, sender: &'a mut Option<Sender>) -> Result<&'a mut Sender, String> {
    if let Some(open) = sender
        && open.ready().await.is_err()
    {
        *sender = None;
    }
    if sender.is_none() {
        *sender = Some(connect(&load.address).await.map_err(|error| format!("connect: {error}"))?);
    }
    Ok(sender.as_mut().expect("connected just now"))
}

async fn connect(address: &str) -> anyhow::Result<Sender> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

async fn exchange_in_time(load: &Load, sender: &mut Sender, counts: bool) -> Result<Reply, String> {
    let longest = Duration::from_secs_f64(load.options.timeout);
    tokio::time::timeout(longest, exchange(load, sender, counts)).await.unwrap_or_else(|_| Err("time-out".into()))
}

async fn exchange(load: &Load, sender: &mut Sender, counts: bool) -> Result<Reply, String> {
    let options = &load.options;
    let began = Instant::now();
    let response = sender.send_request(load.request()).await.map_err(|error| format!("send: {error}"))?;
    let status = response.status();
    let keep = options.verify || !status.is_success();
    let (mut received, mut text, mut end, mut last) = (Received::default(), Vec::new(), Tail::default(), None);
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("body: {error}"))?;
        let Some(data) = frame.data_ref() else { continue };
        received.bytes += data.len() as u64;
        received.frames += 1;
        if options.stream {
            let now = Instant::now();
            received.first_chunk.get_or_insert(now - began);
            if let (Some(last), true) = (last.replace(now), counts) {
                load.tally.borrow_mut().gap(now - last);
            }
            received.events += memchr::memmem::find_iter(data, b"data: ").count() as u64;
            end.push(data);
            if options.cancel_after.is_some_and(|after| received.frames >= after) {
                return Ok(Reply::Cancelled);
            }
        }
        if keep {
            text.extend_from_slice(data);
        }
    }
    received.total = began.elapsed();
    check(options, status, &text, &end)?;
    Ok(Reply::Whole(received))
}

fn check(options: &Options, status: StatusCode, text: &[u8], end: &Tail) -> Result<(), String> {
    if !status.is_success() {
        let said: String = String::from_utf8_lossy(text).chars().take(160).collect();
        return Err(format!("http {}: {said}", status.as_u16()));
    }
    if options.stream && memchr::memmem::find(&end.0, b"[DONE]").is_none() {
        return Err("stream: it ended without [DONE]".into());
    }
    if options.verify && options.stream {
        in_order(text)?;
    }
    Ok(())
}

/// Are the tokens t0, t1, t2 ...?
fn in_order(text: &[u8]) -> Result<(), String> {
    const BEFORE: &[u8] = b"\"content\":\"t";
    for (wanted, at) in memchr::memmem::find_iter(text, BEFORE).enumerate() {
        let digits = text[at + BEFORE.len()..].iter().take_while(|byte| byte.is_ascii_digit()).copied().collect();
        let got = String::from_utf8(digits).unwrap_or_default();
        if got != wanted.to_string() {
            return Err(format!("order: wanted t{wanted}, got t{got}"));
        }
    }
    Ok(())
}

/// The last bytes of a body.
#[derive(Default)]
struct Tail([u8; 24]);

impl Tail {
    fn push(&mut self, data: &[u8]) {
        let room = self.0.len();
        let new = data.len().min(room);
        self.0.copy_within(new.., 0);
        self.0[room - new..].copy_from_slice(&data[data.len() - new..]);
    }
}
