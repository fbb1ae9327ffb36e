//! A real nats-server for one test, on a port and in a folder of its own; stopped and removed at its end.

use penstock_runtime::Bus;
use penstock_runtime::bus::NatsConfig;
use penstock_runtime::config::Document;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The running server.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    url: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// With these lines in its configuration.
    pub(crate) fn start_with(configuration: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("penstock-bus-{port}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("nats.conf");
        // The limits of the streams are reserved: whatever this machine's disk has free, they fit.
        let store = format!("jetstream {{ store_dir: {folder:?}, max_file_store: 1TB }}");
        std::fs::write(&file, format!("listen: \"127.0.0.1:{port}\"\n{store}\n{configuration}\n")).unwrap();
        Self { child: spawn(&folder), folder, url: format!("nats://127.0.0.1:{port}") }
    }

    /// Killed, and started again with an empty disk.
    #[allow(dead_code, reason = "not every test file that has this module needs it")]
    pub(crate) fn lose_disk(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.folder.join("jetstream")).unwrap();
        self.child = spawn(&self.folder);
    }

    /// JetStream itself, to prepare what the product would not make.
    #[allow(dead_code, reason = "not every test file that has this module needs it")]
    pub(crate) async fn jetstream(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(self.client().await)
    }

    /// A client that is no role.
    #[allow(dead_code, reason = "not every test file that has this module needs it")]
    pub(crate) async fn client(&self) -> async_nats::Client {
        async_nats::connect(&self.url).await.unwrap()
    }

    #[allow(dead_code, reason = "not every test file that has this module needs it")]
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A connection, as soon as the server answers.
    pub(crate) async fn bus(&self, role: &str) -> Bus {
        let config = NatsConfig::read(&mut Document::read("test", "", []).unwrap());
        for _ in 0..500 {
            match Bus::connect(&config, &self.url, role).await {
                Ok(bus) => return bus,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        panic!("nats-server does not answer at {}", self.url);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn spawn(folder: &Path) -> Child {
    let mut command = Command::new(program());
    command.arg("--config").arg(folder.join("nats.conf"));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// As `deploy/setup` installed it.
fn program() -> String {
    std::env::var("PENSTOCK_NATS_SERVER")
        .ok()
        .or_else(from_tools)
        .expect("no nats-server: run `deploy/setup test` first")
}

fn from_tools() -> Option<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.penstock/tools/env");
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("export PENSTOCK_NATS_SERVER=")).map(str::to_owned)
}
