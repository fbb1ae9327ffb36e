//! A pool of one provider: a number of slots, each for one call at a time. How it comes by its calls stands in `taking`, what
//! becomes of one in `call`. Knows nothing of attempts.

use crate::call::{Call, CallContext, Lacking};
use crate::slots::{Slot, Slots};
use penstock_runtime::bus::Arrived;
use std::ops::Deref;

mod taking;

/// One provider's pool in this process. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Pool {
    /// Its slots: one call each.
    pub slots: Slots,
    /// What its calls need.
    pub context: CallContext,
}

impl Deref for Pool {
    type Target = CallContext;
    fn deref(&self) -> &CallContext {
        &self.context
    }
}

impl Pool {
    async fn serve(self, arrived: Arrived, _slot: Slot) {
        let Some(incoming) = arrived.read(&self.memory).await else { return };
        Call::of(incoming, self.context).run().await;
    }

    /// A caller's call that came after the last slot was taken: it has the next one that is free soon.
    async fn line_up(self, arrived: Arrived) {
        let Some(mut incoming) = arrived.read(&self.memory).await else { return };
        match self.slots.line_up().await {
            Some(_slot) => {
                // Its ingress waits for this word before it sends the next call that waits there.
                incoming.replies.accept().await;
                Call::of(incoming, self.context).run().await;
            }
            None => Call::of(incoming, self.context).pass_by(Lacking::Slot).await,
        }
    }

    /// A call of a batch that came after the last slot was taken.
    async fn turn_away(self, arrived: Arrived) {
        let Some(incoming) = arrived.read(&self.memory).await else { return };
        Call::of(incoming, self.context).pass_by(Lacking::Slot).await;
    }
}
