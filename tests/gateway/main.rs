//! The gateway as callers and operators meet it: over HTTP and the command line, on real parts. One program, so that it is
//! linked once.

mod fallback;
