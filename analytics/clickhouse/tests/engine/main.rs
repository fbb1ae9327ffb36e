//! The embedded ClickHouse as its clients see it: a real engine in a process of its own, over HTTP. Knows no insides.

mod client;
mod life;
mod protocol;
mod refusals;
mod world;
