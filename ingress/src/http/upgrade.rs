//! A connection that stops being HTTP: who answers a request with the switch to another protocol leaves here what is to be
//! done with the connection then, and the connection's own task does it. Knows no other protocol.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};

/// Anything that is read and written.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The connection, and what was read of it after the request.
pub(crate) struct Wire {
    pub(crate) stream: Box<dyn Duplex>,
    pub(crate) read: Bytes,
}

/// What is done with it.
pub(crate) type Afterwards = Box<dyn FnOnce(Wire) -> BoxFuture<'static, ()> + Send>;

/// Where that is left. Each request over HTTP/1.1 carries the one of its connection. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Handover(Arc<Mutex<Option<Afterwards>>>);

impl Handover {
    /// Leaves it.
    pub(crate) fn leave(&self, afterwards: Afterwards) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(afterwards);
    }

    /// Takes it, once the last byte of HTTP is written.
    pub(crate) fn take(&self) -> Option<Afterwards> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
