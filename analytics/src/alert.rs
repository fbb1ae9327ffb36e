//! Alerts: `watch` notices what budgets come to, `tell` writes every alert down and puts it among what is to be posted, and
//! `post` posts it to webhooks; `read` shows those that were. What they are made of is in `schemas::alert`.

pub(crate) mod drifting;
mod lane;
pub(crate) mod post;
mod read;
pub(crate) mod runaway;
pub(crate) mod tell;
pub(crate) mod watch;

pub use self::read::AlertsUnavailable;
