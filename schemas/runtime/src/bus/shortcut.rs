//! The shortcut between roles of one process: what one sends to another is handed over in memory instead of going to NATS and
//! straight back. Calls, replies and orders only: what must outlive the process goes to NATS. Reads no message.

use super::Bus;
use async_nats::client::PublishError;
use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::mpsc::{self, error::TrySendError};

/// Messages that may wait for one listener; what does not fit goes over NATS. As many as a subscription holds.
const WAITING: usize = 65_536;

/// Who listens in this process, by the subject of the subscription. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Shortcut(Arc<RwLock<HashMap<String, mpsc::Sender<Message>>>>);

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
    /// Hands a message to who has the subscription `near` in this process; publishes it when nobody has.
    pub(super) async fn send(
        &self,
        near: Option<&str>,
        subject: String,
        reply: Option<String>,
        payload: Bytes,
    ) -> Result<(), PublishError> {
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
                None => return Ok(()),
                Some(left) => message = left,
            }
        }
        match message.reply {
            Some(reply) => self.client.publish_with_reply(message.subject, reply, message.payload).await,
            None => self.client.publish(message.subject, message.payload).await,
        }
    }
}

impl Shortcut {
    /// Gives the message back when nobody listens, or when too many messages wait.
    fn hand_over(&self, subscription: &str, message: Message) -> Option<Message> {
        let listeners = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(listener) = listeners.get(subscription) else { return Some(message) };
        listener.try_send(message).err().map(TrySendError::into_inner)
    }

    /// Adds to a subscription what comes for it from this process.
    pub(super) fn join(&self, subject: String, subscriber: Subscriber) -> Arrivals {
        let (listener, messages) = mpsc::channel(WAITING);
        let own = listener.downgrade();
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(subject.clone(), listener);
        Arrivals { subscriber, near: Some(Near { shortcut: self.clone(), subject, own, messages }) }
    }
}

impl Near {
    /// From now on nothing comes any more, except what was handed over before.
    fn close(&mut self) {
        let mut listeners = self.shortcut.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another one may have taken its place.
        if listeners.get(&self.subject).is_some_and(|listener| self.is_own(listener)) {
            listeners.remove(&self.subject);
        }
    }

    fn is_own(&self, listener: &mpsc::Sender<Message>) -> bool {
        self.own.upgrade().is_some_and(|own| own.same_channel(listener))
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
