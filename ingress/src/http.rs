//! HTTP as such: connections and paths in, bodies read within limits, replies written. Knows nothing of what a request asks.

pub(crate) mod aliases;
pub(crate) mod body;
mod connection;
pub(crate) mod proxied;
mod pulse;
pub(crate) mod query;
pub(crate) mod reply;
pub(crate) mod server;
pub(crate) mod tls;
mod unpack;
pub(crate) mod upgrade;
pub(crate) mod whole;
