//! The NATS server of `penstock up`: its configuration, and one that an earlier `up` left behind. Knows nothing of what
//! travels over it.

use super::child::{Children, terminate};
use super::data::DataDir;
use super::disk::store_limit;
use super::{ports, programs};
use anyhow::bail;
use penstock_runtime::Secret;
use std::path::Path;
use std::process::Stdio;
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};
use tokio::process::Command;

/// What the child is called.
pub(crate) const CHILD: &str = "nats-server";

/// How long the server of an `up` that was killed may take to stop.
const LEFT_BEHIND: Duration = Duration::from_secs(20);

/// Starts the server; gives the URL with user and password.
pub(crate) fn start(data: &DataDir, children: &mut Children) -> anyhow::Result<String> {
    let server = programs::nats_server()?;
    let file = data.join("nats.conf");
    stop_left_behind(&data.join("nats.pid"), &file)?;
    let password = data.secret("nats-password", || Secret::generate(""))?;
    let port = ports::kept(data, "nats-port")?;
    data.write("nats.conf", configuration(data, port, &password).as_bytes())?;
    children.keep(CHILD, move || {
        let mut command = Command::new(&server);
        command.arg("--config").arg(&file).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // On a small machine its threads only wake each other up: measured, half the CPU per message.
        if available_parallelism().is_ok_and(|cores| cores.get() <= 2) {
            command.env("GOMAXPROCS", "1");
        }
        Ok(command)
    })?;
    Ok(format!("nats://penstock:{}@127.0.0.1:{port}", password.reveal()))
}

/// 8 MB is NATS's recommended limit for a message; larger requests go through the object store. The file store may be as large
/// as the disk: what is free of it is watched by [`super::disk`].
fn configuration(data: &DataDir, port: u16, password: &Secret) -> String {
    format!(
        r#"# Written by `penstock up` at each start.
listen: "127.0.0.1:{port}"
server_name: "penstock"
max_payload: 8MB
write_deadline: "10s"
pid_file: {pid:?}
log_file: {log:?}
logfile_size_limit: 16MB
logfile_max_num: 2
jetstream {{ store_dir: {store:?}, max_file_store: {limit} }}
authorization {{ user: "penstock", password: "{password}" }}
"#,
        pid = data.join("nats.pid"),
        log = data.join("nats.log"),
        store = data.join("nats"),
        limit = store_limit(&data.join("")),
        password = password.reveal(),
    )
}

/// An `up` that was killed leaves its server running on our store: it is asked to stop, if it is really ours.
fn stop_left_behind(pid_file: &Path, configuration: &Path) -> anyhow::Result<()> {
    let Some(pid) = std::fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse::<u32>().ok()) else {
        return Ok(());
    };
    let is_ours = || {
        let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command_line.split(|b| *b == 0).any(|argument| argument == configuration.as_os_str().as_encoded_bytes())
    };
    if !is_ours() {
        return Ok(());
    }
    terminate(Some(pid));
    let until = Instant::now() + LEFT_BEHIND;
    while is_ours() {
        if Instant::now() > until {
            bail!(
                "the nats-server of an earlier `penstock up` (process {pid}) does not stop: end it, then start again"
            );
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
