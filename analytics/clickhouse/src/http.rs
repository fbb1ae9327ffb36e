//! The listener: connections, the way of one request through them, and the end. Knows no SQL and nothing of the engine's.

use crate::answer::{AnswerBody, Running, Wishes, answer, failed, plain};
use crate::body::BodyPiece;
use crate::engine::Engine;
use crate::gate::Gate;
use crate::request::{authenticate, find, flag, url_parameters};
use crate::run::{Out, Piece, Run};
use crate::{Error, Settings};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at a time; further ones wait in the listener's queue.
const CONNECTIONS: usize = 512;
/// For a request's head, which is also how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(30);
/// For statements to notice that they were killed.
const LAST_MOMENTS: Duration = Duration::from_secs(5);
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// What every request needs.
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) gate: Gate,
    pub(crate) settings: Settings,
    pub(crate) tracker: TaskTracker,
}

/// Serves until `shutdown`, then lets what runs end within `settings.drain`, kills the rest, and stops the engine.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, shutdown: impl Future) -> Result<(), Error> {
    let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
    {
        let mut shutdown = pin!(shutdown);
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                biased;
                _ = &mut shutdown => break,
                accepted = accept(&listener, &places) => accepted,
            };
            let (stop, cut) = (stop.clone(), cut.clone());
            let connection = connection(accepted, Arc::clone(&shared), stop);
            shared.tracker.spawn(async move {
                tokio::select! {
                    () = connection => {}
                    () = cut.cancelled() => {}
                }
            });
        }
    }
    drop(listener);
    stop.cancel();
    end(&shared, &cut).await
}

async fn end(shared: &Arc<Shared>, cut: &CancellationToken) -> Result<(), Error> {
    shared.tracker.close();
    if timeout(shared.settings.drain, shared.tracker.wait()).await.is_err() {
        tracing::warn!(after = ?shared.settings.drain, "statements still run: they are killed");
        cut.cancel();
        let engine = Arc::clone(&shared.engine);
        shared.tracker.spawn_blocking(move || engine.kill(None));
        let _ = timeout(LAST_MOMENTS, shared.tracker.wait()).await;
    }
    let engine = Arc::clone(&shared.engine);
    let closed = TaskTracker::new().spawn_blocking(move || engine.close()).await.unwrap_or(false);
    if closed { Ok(()) } else { Err(Error::StillRunning) }
}

/// The place is taken before the connection is.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(AFTER_ACCEPT_ERROR).await;
            }
        }
    }
}

async fn connection((stream, _place): (TcpStream, OwnedSemaphorePermit), shared: Arc<Shared>, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(shared, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn respond(shared: Arc<Shared>, request: Request<Incoming>) -> Response<AnswerBody> {
    match (request.uri().path(), request.method()) {
        ("/ping", &Method::GET | &Method::HEAD) => plain(StatusCode::OK, "Ok.\n"),
        ("/", &Method::GET | &Method::POST | &Method::HEAD) => run(shared, request).await,
        ("/" | "/ping", method) => plain(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not served here\n")),
        (path, _) => {
            plain(StatusCode::NOT_FOUND, format!("There is no handle {path}\n\nUse / or /ping for health checks.\n"))
        }
    }
}

async fn run(shared: Arc<Shared>, request: Request<Incoming>) -> Response<AnswerBody> {
    let parameters = url_parameters(request.uri().query());
    let comment = format!("penstock-{}", shared.engine.number());
    let wishes = Wishes {
        query_id: find(&parameters, "query_id").filter(|id| !id.is_empty()).unwrap_or(&comment).to_owned(),
        native_blocks: flag(&parameters, "compress"),
        wait_end_of_query: flag(&parameters, "wait_end_of_query"),
    };
    if let Err(exception) = authenticate(request.headers(), &parameters, &shared.settings.token) {
        return failed(&exception, &shared.engine, &wishes.query_id);
    }
    let permit = match shared.gate.enter().await {
        Ok(permit) => permit,
        Err(exception) => return failed(&exception, &shared.engine, &wishes.query_id),
    };
    let (head, body) = request.into_parts();
    let (feed, fed) = mpsc::channel(2);
    let (out, mut pieces) = mpsc::channel(1);
    let running = Running {
        engine: Arc::clone(&shared.engine),
        tracker: shared.tracker.clone(),
        comment: comment.clone(),
        only_reads: Arc::new(AtomicBool::new(false)),
        ended: false,
    };
    let run = Run {
        engine: Arc::clone(&shared.engine),
        head,
        parameters,
        body: fed,
        body_limit: shared.settings.body,
        out: Out { pieces: out, patience: shared.settings.idle },
        comment,
        only_reads: Arc::clone(&running.only_reads),
    };
    shared.tracker.spawn_blocking(move || {
        run.run();
        drop(permit);
    });
    let feeding = pin!(feed_body(body, feed, &shared.settings));
    let first = first_piece(&mut pieces, feeding).await;
    answer(pieces, first, running, wishes).await
}

/// The first piece of the answer, while the body is fed. After an early failure the rest of the body is still taken in,
/// since most clients read an answer only once they have sent everything.
async fn first_piece(
    pieces: &mut mpsc::Receiver<Piece>,
    mut feeding: Pin<&mut impl Future<Output = ()>>,
) -> Option<Piece> {
    let mut fed = false;
    let first = loop {
        tokio::select! {
            biased;
            first = pieces.recv() => break first,
            () = feeding.as_mut(), if !fed => fed = true,
        }
    };
    if !fed && matches!(first, Some(Piece::Failed(_))) {
        feeding.await;
    }
    first
}

/// Hands the body to the request's thread. Ends without the closing `None` when the body breaks off or stalls, which
/// the thread takes as an abort: nothing of it is committed.
async fn feed_body(mut body: Incoming, feed: mpsc::Sender<BodyPiece>, settings: &Settings) {
    let mut left = settings.body;
    loop {
        match timeout(settings.idle, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue };
                left = match left.checked_sub(data.len() as u64) {
                    Some(left) => left,
                    None if feed.is_closed() => return,
                    None => 0,
                };
                // Nobody may listen any more: then the rest is thrown away.
                let _ = feed.send(Some(data)).await;
            }
            Ok(Some(Err(error))) => return tracing::debug!(%error, "a body broke off"),
            Err(_) => return tracing::debug!("a body stalled"),
        }
    }
    let _ = feed.send(None).await;
}

/// Only this machine may connect.
pub(crate) async fn listen(settings: &Settings) -> Result<TcpListener, Error> {
    let listen = settings.listen;
    if !listen.ip().is_loopback() {
        return Err(Error::NotLoopback { listen });
    }
    TcpListener::bind(listen).await.map_err(|source| Error::Listen { listen, source })
}
