//! The shortcut between roles of one process: what one sends to another is handed over in memory instead of going to NATS and
//! straight back. Calls, replies and orders only: what must outlive the process goes to NATS. Reads no message.

use super::Bus;
use async_nats::client::PublishError;
use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, error::TrySendError};

/// Messages that may wait for one listener; what does not fit goes over NATS. As many as a subscription holds.
const WAITING: usize = 65_536;

/// How many messages a listener can take now, those that wait for it included.
pub type FreeRoom = Arc<dyn Fn() -> usize + Send + Sync>;

/// Who listens in this process. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Shortcut(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// By the subject of the subscription.
    listeners: RwLock<HashMap<String, Listener>>,
    /// Another one has come.
    joined: Notify,
}

struct Listener {
    messages: mpsc::Sender<Message>,
    room: Option<FreeRoom>,
}

/// Where a message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentTo {
    /// To a listener of this process.
    Near,
    /// To NATS.
    Nats,
}

/// A subscription, and what comes for it from this process.
pub(super) struct Arrivals {
    subscriber: Subscriber,
    near: Option<Near>,
}

/// A listener of this process. Dropping it ends that.
struct Near {
    shortcut: Shortcut,
    subject: String,
    own: mpsc::WeakSender<Message>,
    messages: mpsc::Receiver<Message>,
}

impl Bus {
    /// Hands a message to the listener of this process that has the subscription `near`. Publishes it on NATS if there is no such
    /// listener, or it has no room.
    pub(super) async fn send(
        &self,
        near: Option<&str>,
        subject: String,
        reply: Option<String>,
        payload: Bytes,
    ) -> Result<SentTo, PublishError> {
        let mut message = Message {
            subject: subject.into(),
            reply: reply.map(Into::into),
            length: payload.len(),
            payload,
            headers: None,
            status: None,
            description: None,
        };
        if let Some(near) = near {
            match self.shortcut.hand_over(near, message) {
                None => return Ok(SentTo::Near),
                Some(left) => message = left,
            }
        }
        match message.reply {
            Some(reply) => self.client.publish_with_reply(message.subject, reply, message.payload).await?,
            None => self.client.publish(message.subject, message.payload).await?,
        }
        Ok(SentTo::Nats)
    }
}

impl Listener {
    fn has_room(&self) -> bool {
        let waiting = || self.messages.max_capacity() - self.messages.capacity();
        self.room.as_ref().is_none_or(|room| waiting() < room())
    }
}

impl Shortcut {
    fn listeners(&self) -> RwLockReadGuard<'_, HashMap<String, Listener>> {
        self.0.listeners.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the message over. Returns it if there is no listener, or the listener has no room.
    fn hand_over(&self, subscription: &str, message: Message) -> Option<Message> {
        match self.listeners().get(subscription).filter(|listener| listener.has_room()) {
            None => Some(message),
            Some(listener) => listener.messages.try_send(message).err().map(TrySendError::into_inner),
        }
    }

    /// Whether the listener of this process has room. `None`: there is no listener.
    pub(super) fn room(&self, subscription: &str) -> Option<bool> {
        self.listeners().get(subscription).map(Listener::has_room)
    }

    /// Waits until there is a listener in this process, and it has room.
    pub(super) async fn has_room(&self, subscription: &str) {
        loop {
            let mut joined = pin!(self.0.joined.notified());
            joined.as_mut().enable();
            if self.room(subscription) == Some(true) {
                return;
            }
            joined.await;
        }
    }

    /// Adds to a subscription what comes for it from this process, as far as there is room.
    pub(super) fn join(&self, subject: String, subscriber: Subscriber, room: Option<FreeRoom>) -> Arrivals {
        let (listener, messages) = mpsc::channel(WAITING);
        let own = listener.downgrade();
        let listener = Listener { messages: listener, room };
        self.0.listeners.write().unwrap_or_else(PoisonError::into_inner).insert(subject.clone(), listener);
        self.0.joined.notify_waiters();
        Arrivals { subscriber, near: Some(Near { shortcut: self.clone(), subject, own, messages }) }
    }
}

impl Near {
    /// From now on nothing comes any more, except what was handed over before.
    fn close(&mut self) {
        let mut listeners = self.shortcut.0.listeners.write().unwrap_or_else(PoisonError::into_inner);
        // Another one may have taken its place.
        if listeners.get(&self.subject).is_some_and(|listener| self.is_own(listener)) {
            listeners.remove(&self.subject);
        }
    }

    fn is_own(&self, listener: &Listener) -> bool {
        self.own.upgrade().is_some_and(|own| own.same_channel(&listener.messages))
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        self.close();
    }
}

impl Arrivals {
    /// A subscription that nobody in this process has a shortcut to.
    pub(super) fn of(subscriber: Subscriber) -> Self {
        Self { subscriber, near: None }
    }

    /// Waits for the next message. `None` when the subscription has ended. Nothing is lost when the wait is given up.
    pub(super) async fn next(&mut self) -> Option<Message> {
        let Some(near) = &mut self.near else { return self.subscriber.next().await };
        tokio::select! {
            message = self.subscriber.next() => message,
            Some(message) = near.messages.recv() => Some(message),
        }
    }

    /// The same, but messages that came over NATS go first. Callers of this process learn of a free slot at once, those of other
    /// processes only when they try again: without this, a full pool would serve its own process alone.
    pub(super) async fn next_fairly(&mut self) -> Option<Message> {
        let Some(near) = &mut self.near else { return self.subscriber.next().await };
        tokio::select! {
            biased;
            message = self.subscriber.next() => message,
            Some(message) = near.messages.recv() => Some(message),
        }
    }

    /// What has come and was not taken.
    pub(super) fn rest(&mut self) -> Vec<Message> {
        let near = self.near.as_mut();
        let mut rest: Vec<_> =
            near.into_iter().flat_map(|near| std::iter::from_fn(|| near.messages.try_recv().ok())).collect();
        rest.extend(std::iter::from_fn(|| self.subscriber.next().now_or_never().flatten()));
        rest
    }

    /// Nothing comes from this process any more.
    pub(super) fn close_shortcut(&mut self) {
        if let Some(near) = &mut self.near {
            near.close();
        }
    }

    /// The subscription itself.
    pub(super) fn subscriber(&mut self) -> &mut Subscriber {
        &mut self.subscriber
    }
}
