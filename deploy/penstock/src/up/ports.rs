//! The ports of `up`'s children: the same at each start as far as can be, so that roles of other processes which have joined
//! find them again. Knows nothing of what listens there.

use super::data::DataDir;
use anyhow::Context;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::ops::Range;
use std::process;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Where ports are looked for: below those that Linux gives to outgoing connections (from 32,768 on), one of which could take
/// the port before the server has it.
const PORTS: Range<u16> = 10_000..32_768;

/// Ports that are tried.
const PORT_TRIES: usize = 1_000;

/// How long a child of an `up` that was killed may take to give its port back: it ends by itself.
const LEFT_BEHIND: Duration = Duration::from_secs(5);

/// A port that no process uses now.
pub(crate) fn free() -> anyhow::Result<u16> {
    // Drawn, so that two that start at once hardly meet.
    let drawn = RandomState::new().hash_one(process::id()) % PORTS.len() as u64;
    let ports = PORTS.cycle().skip(usize::try_from(drawn)?).take(PORT_TRIES);
    ports.into_iter().find(is_free).context("no free port on 127.0.0.1")
}

/// The port that was used at the last start and is kept under `name`; another one if a process has taken it meanwhile.
pub(super) fn kept(data: &DataDir, name: &str) -> anyhow::Result<u16> {
    let last = std::fs::read_to_string(data.join(name)).ok().and_then(|text| text.trim().parse().ok());
    let until = Instant::now() + LEFT_BEHIND;
    while let Some(port) = last.filter(|port| PORTS.contains(port)) {
        if is_free(&port) {
            return Ok(port);
        }
        if Instant::now() > until {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    let port = free()?;
    data.write(name, port.to_string().as_bytes())?;
    Ok(port)
}

fn is_free(port: &u16) -> bool {
    TcpListener::bind(("127.0.0.1", *port)).is_ok()
}
