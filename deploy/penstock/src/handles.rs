//! File handles: as many as the system lets the process have, and never all of them for callers' connections, so that there
//! are always some for providers, NATS and files. Knows no socket.

use penstock_ingress::IngressConfig;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Takes as many as the system allows. What a process begins with is often 1,024, for old programs that can use no more.
pub(crate) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        warn!(%error, "the number of file handles cannot be raised");
    }
}

/// Leaves half of the handles for everything that is not a caller's connection.
pub(crate) fn leave_some(config: &mut IngressConfig) {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    let most = usize::try_from(limit / 2).unwrap_or(usize::MAX).max(1);
    if config.connections <= most {
        return;
    }
    warn!(handles = limit, connections = most, "there are too few file handles for [ingress] connections");
    config.connections = most;
    config.strangers = config.strangers.min(most / 2);
}
