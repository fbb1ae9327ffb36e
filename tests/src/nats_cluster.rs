//! Three nats-servers that are a cluster, on ports and in a folder of their own, each to be killed and started again. Knows
//! nothing of what is said over them.

use crate::binary::tool;
use crate::bus::ask;
use crate::folder::Folder;
use crate::process::Process;
use crate::wait::until;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// The longest that a server may take to say who leads; without a leader it says nothing.
const ANSWER: Duration = Duration::from_secs(1);

/// The cluster. Dropping it ends its servers.
#[derive(Debug)]
pub struct NatsCluster {
    servers: Vec<Process>,
    clients: Vec<u16>,
    starts: usize,
    folder: Folder,
}

impl NatsCluster {
    /// Starts three servers at once. They have no leader yet when this is over.
    pub fn start() -> Self {
        let folder = Folder::new();
        // Held together, so that no two are the same.
        let listeners: Vec<TcpListener> =
            (0..6).map(|_| TcpListener::bind("127.0.0.1:0").expect("there are free ports")).collect();
        let ports: Vec<u16> =
            listeners.iter().map(|listener| listener.local_addr().expect("it is bound").port()).collect();
        drop(listeners);
        let (clients, routes) = ports.split_at(3);
        let all: Vec<String> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        for (at, (client, route)) in clients.iter().zip(routes).enumerate() {
            let store = folder.path().join(format!("store-{at}"));
            let text = format!(
                "server_name: n{at}\nlisten: \"127.0.0.1:{client}\"\nmax_payload: 8MB\n\
                 jetstream {{ store_dir: {store:?}, max_file_store: 1TB }}\n\
                 cluster {{ name: test, listen: \"127.0.0.1:{route}\", routes: [{}] }}\n",
                all.join(", ")
            );
            folder.write(&format!("n{at}.conf"), &text);
        }
        let clients = clients.to_vec();
        let mut cluster = Self { servers: Vec::new(), clients, starts: 0, folder };
        for at in 0..3 {
            let server = cluster.server(at);
            cluster.servers.push(server);
        }
        cluster
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.clients.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        urls.join(",")
    }

    /// Which server leads a stream now.
    ///
    /// # Panics
    /// When none does for long.
    pub async fn leader(&self, stream: &str) -> usize {
        until(&format!("a leader of {stream}"), async || {
            for client in &self.clients {
                // The servers want no login, and take any.
                let url = format!("nats://any:any@127.0.0.1:{client}");
                let info = timeout(ANSWER, ask(&url, &format!("$JS.API.STREAM.INFO.{stream}"), "")).await;
                let leader = info.ok().flatten().and_then(|info| info["cluster"]["leader"].as_str()?[1..].parse().ok());
                if leader.is_some() {
                    return leader;
                }
            }
            None
        })
        .await
    }

    /// Ends one as a crash does, and waits until it is gone.
    pub async fn kill(&mut self, at: usize) {
        self.servers[at].kill();
        self.servers[at].ended().await;
    }

    /// Tells one to stop, and waits until it has ended.
    pub async fn stop(&mut self, at: usize) {
        self.servers[at].terminate();
        self.servers[at].ended().await;
    }

    /// Lets one answer nobody any more: it keeps its connections, as behind a network that is cut.
    pub fn freeze(&self, at: usize) {
        self.servers[at].freeze();
    }

    /// Lets it go on.
    pub fn thaw(&self, at: usize) {
        self.servers[at].thaw();
    }

    /// Starts one again, on what it had stored.
    pub fn revive(&mut self, at: usize) {
        self.servers[at] = self.server(at);
    }

    fn server(&mut self, at: usize) -> Process {
        self.starts += 1;
        let mut command = Command::new(PathBuf::from(tool("PENSTOCK_NATS_SERVER")));
        command.arg("--config").arg(self.folder.path().join(format!("n{at}.conf")));
        Process::start(&format!("n{at}-{}", self.starts), command, self.folder.path())
    }
}
