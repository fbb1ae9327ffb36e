//! The gateway as callers and operators meet it: over HTTP and the command line, on real parts. One program, so that it is
//! linked once.

mod anthropic;
mod bad_input;
mod bedrock;
mod bodies;
mod broken;
mod cancel;
mod configuration;
mod counted;
mod fallback;
mod full;
mod google;
mod keys;
mod media;
mod operations;
mod passing;
mod raw;
mod responses;
mod roles;
mod sdk;
mod spend;
mod stop;
