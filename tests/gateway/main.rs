//! The gateway as callers and operators meet it: over HTTP and the command line, on real parts. One program, so that it is
//! linked once.

mod anthropic;
mod audio;
mod bad_input;
mod bedrock;
mod bodies;
mod broken;
mod cancel;
mod completions;
mod configuration;
mod counted;
mod embeddings;
mod fallback;
mod faults;
mod full;
mod google;
mod hedge;
mod images;
mod keys;
mod matrix;
mod media;
mod moderations;
mod oidc;
mod operations;
mod passing;
mod probe;
mod raw;
mod repeat;
mod rerank;
mod responses;
mod resume;
mod revocation;
mod roles;
mod sdk;
mod spend;
mod stop;
