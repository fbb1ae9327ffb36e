//! Calls between roles in processes of their own, over a real nats-server.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "calls/cases.rs"]
mod cases;
mod server;

use penstock_runtime::Bus;
use server::Server;

/// An ingress and a worker.
async fn roles(server: &Server) -> (Bus, Bus) {
    (server.bus("ingress").await, server.bus("worker").await)
}
