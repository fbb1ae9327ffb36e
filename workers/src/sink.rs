//! Where the frames of a call go: the inbox of an ingress, or whatever else takes them. Knows nothing of what they hold.

use bytes::Bytes;
use penstock_runtime::bus::{BusError, ClientPieces, PassOn, Replies};
use penstock_schemas::envelope::Envelope;
use penstock_schemas::frame::Payload;

/// What takes the frames of one call, in their order.
pub(crate) trait FrameSink: Send {
    /// Takes a frame; waits while it is read more slowly than it is written.
    fn send(&mut self, payload: Payload) -> impl Future<Output = Result<(), BusError>> + Send;

    /// Does some work while it is known that the call is held; `None` when nobody wants its answer any more.
    fn wait<T: Send>(&mut self, work: impl Future<Output = T> + Send) -> impl Future<Output = Option<T>> + Send;

    /// Says that the call is held, before work in which nothing else can be said for a while.
    fn accept(&mut self) -> impl Future<Output = ()> + Send;

    /// Gives the call to the pool of its plan's next link.
    fn pass_on(
        &mut self,
        envelope: &mut Envelope,
        body: &Bytes,
    ) -> impl Future<Output = Result<PassOn, BusError>> + Send;

    /// Gives the call back to who made it: there is no slot for it here.
    fn decline(&mut self) -> impl Future<Output = Result<(), BusError>> + Send;

    /// What the client of a session says; `None` where the call is none, and the second time.
    fn take_client(&mut self) -> Option<ClientPieces>;

    /// Tells that so much of what the client of a session says was read.
    fn read(&mut self, cost: u32) -> impl Future<Output = Result<(), BusError>> + Send;

    /// Whether nobody wants the answer any more.
    fn is_cancelled(&self) -> bool;

    /// Whether that is because another call was faster.
    fn is_outrun(&self) -> bool;
}

impl FrameSink for Replies {
    async fn send(&mut self, payload: Payload) -> Result<(), BusError> {
        Replies::send(self, payload).await
    }

    async fn wait<T: Send>(&mut self, work: impl Future<Output = T> + Send) -> Option<T> {
        Replies::wait(self, work).await
    }

    async fn accept(&mut self) {
        Replies::accept(self).await;
    }

    async fn pass_on(&mut self, envelope: &mut Envelope, body: &Bytes) -> Result<PassOn, BusError> {
        Replies::pass_on(self, envelope, body).await
    }

    async fn decline(&mut self) -> Result<(), BusError> {
        Replies::decline(self).await
    }

    fn take_client(&mut self) -> Option<ClientPieces> {
        Replies::take_client(self)
    }

    async fn read(&mut self, cost: u32) -> Result<(), BusError> {
        Replies::read(self, cost).await
    }

    fn is_cancelled(&self) -> bool {
        Replies::is_cancelled(self)
    }

    fn is_outrun(&self) -> bool {
        Replies::is_outrun(self)
    }
}
