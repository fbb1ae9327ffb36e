//! A whole Penstock under test: `penstock up` on a folder of its own, roles in processes of their own where a test wants
//! them, and the upstreams that stand for the providers.

use crate::ask::Ask;
use crate::binary::{older, penstock};
use crate::folder::Folder;
use crate::process::{Output, Process, command_line, kill};
use crate::setup::{ADMIN_KEY, Setup};
use crate::upstream::Upstream;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// The world. Dropping it ends every process in it.
#[derive(Debug)]
pub struct World {
    up: Process,
    roles: u32,
    url: String,
    key: String,
    ready: String,
    upstreams: Vec<Upstream>,
    setup: Setup,
    /// The nats-server of an `up` that was killed.
    orphan: Option<u32>,
    /// Last, so that it is removed when the processes are gone.
    folder: Folder,
}

impl World {
    /// One with `alpha` and `beta`.
    pub async fn start() -> Self {
        Self::setup().start().await
    }

    /// One to be described.
    pub fn setup() -> Setup {
        Setup::default()
    }

    pub(crate) async fn begin(setup: Setup) -> Self {
        let folder = Folder::new();
        let upstreams = vec![Upstream::start("alpha").await, Upstream::start("beta").await];
        folder.write("front.toml", &setup.front(&upstreams));
        folder.write("back.toml", &Setup::back(&upstreams));
        setup.prepare(&data(&folder));
        let mut up = start_up(&setup, &folder, 0);
        let (url, key, ready) = ready(&mut up, &folder).await;
        Self { up, roles: 0, url, key, ready, upstreams, setup, orphan: None, folder }
    }

    /// Tells `up` to stop, as an operator does.
    pub fn terminate(&self) {
        self.up.terminate();
    }

    /// Kills `up`; its nats-server goes on. Gives that server's pid.
    ///
    /// # Panics
    /// When it has none.
    pub async fn crash(&mut self) -> u32 {
        let nats = self.up.child("nats-server");
        self.orphan = Some(nats);
        self.up.kill();
        self.up.ended().await;
        nats
    }

    /// Starts `up` again on the same folder, after it has ended or was killed.
    pub async fn again(&mut self) {
        self.roles += 1;
        self.up = start_up(&self.setup, &self.folder, self.roles);
        (self.url, self.key, self.ready) = ready(&mut self.up, &self.folder).await;
    }

    /// The provider of this name, to be told what to answer.
    ///
    /// # Panics
    /// When there is none.
    pub fn upstream(&self, name: &str) -> &Upstream {
        let found = self.upstreams.iter().find(|upstream| upstream.name() == name);
        found.unwrap_or_else(|| panic!("there is no upstream {name}"))
    }

    pub(crate) fn upstreams(&self) -> &[Upstream] {
        &self.upstreams
    }

    /// Where the gateway is: `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.url.strip_prefix("http://").expect("the gateway's URL begins with http://")
    }

    /// The same as a URL: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its first virtual key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The line in which its last start said that it is ready.
    pub fn ready_line(&self) -> &str {
        &self.ready
    }

    /// The key of its admin API.
    pub fn admin_key(&self) -> &'static str {
        ADMIN_KEY
    }

    /// The process of `penstock up`.
    pub fn up(&mut self) -> &mut Process {
        &mut self.up
    }

    /// Where everything of this world is kept; `data` in it is `up`'s.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// A chat request to a model, which may be sent as it is.
    pub fn ask(&self, model: &str) -> Ask {
        Ask::chat(&self.url, &self.key, model)
    }

    /// A request of another kind, with the world's key.
    pub fn post(&self, path: &str, body: &Value) -> Ask {
        Ask::chat(&self.url, &self.key, "").path(path).body(body.to_string())
    }

    /// Any other request.
    pub fn get(&self, path: &str) -> Ask {
        Ask::get(&self.url, path)
    }

    /// What `run.json` says.
    ///
    /// # Panics
    /// When it is not there.
    pub fn run_file(&self) -> Value {
        let text = std::fs::read(self.folder.path().join("data/run.json")).expect("run.json is there while `up` runs");
        serde_json::from_slice(&text).expect("run.json is JSON")
    }

    /// Starts a role in a process of its own, joined to `up`'s NATS and ClickHouse: `ingress`, `worker`, `analytics`.
    /// Waits until it is ready; gives it and the line in which it says so.
    pub async fn role(&mut self, role: &str) -> (Process, String) {
        self.role_with(role, &[]).await
    }

    /// The same with more in its environment.
    pub async fn role_with(&mut self, role: &str, environment: &[(&str, String)]) -> (Process, String) {
        let mut process = self.begin_role_with(role, environment);
        let line = process.says("ready").await;
        (process, line)
    }

    /// Starts a role without waiting.
    pub fn begin_role(&mut self, role: &str) -> Process {
        self.begin_role_with(role, &[])
    }

    /// Starts a role with more in its environment, without waiting.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn begin_role_with(&mut self, role: &str, environment: &[(&str, String)]) -> Process {
        let mut command = self.role_command(penstock(), role);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        self.spawn(role, command)
    }

    /// Starts a role of an earlier version, and waits until it is ready.
    pub async fn older_role(&mut self, role: &str) -> (Process, String) {
        let mut process = self.spawn(&format!("older-{role}"), self.role_command(&older(), role));
        let line = process.says("ready").await;
        (process, line)
    }

    fn role_command(&self, program: &Path, role: &str) -> Command {
        let config = if role == "worker" { "back.toml" } else { "front.toml" };
        let mut command = command(program, &self.setup, &self.folder, config);
        let run = self.run_file();
        let of_run = |name: &str| run[name].as_str().expect("run.json holds URLs").to_owned();
        command.arg(role).env("PENSTOCK_NATS_URL", of_run("nats")).env("PENSTOCK_CLICKHOUSE_URL", of_run("clickhouse"));
        command.env("PENSTOCK_INGRESS_LISTEN", "127.0.0.1:0");
        command
    }

    fn spawn(&mut self, role: &str, command: Command) -> Process {
        self.roles += 1;
        Process::start(&format!("{role}-{}", self.roles), command, self.folder.path())
    }

    /// Starts a role that may have so many file handles, and waits until it is ready.
    pub async fn limited_role(&mut self, role: &str, handles: u32) -> (Process, String) {
        let command = limited(&self.role_command(penstock(), role), handles);
        let mut process = self.spawn(role, command);
        let line = process.says("ready").await;
        (process, line)
    }

    /// Starts a worker of all providers in a process of its own, and waits until it is ready.
    pub async fn worker(&mut self) -> Process {
        self.role("worker").await.0
    }

    /// Starts a worker of one provider, with more in its environment, and waits until it is ready.
    pub async fn worker_of(&mut self, provider: &str, environment: &[(&str, String)]) -> Process {
        let mut command = self.role_command(penstock(), "worker");
        command.arg("--provider").arg(provider).envs(environment.iter().map(|(name, value)| (name, value)));
        let mut process = self.spawn(&format!("worker-{provider}"), command);
        process.says("ready").await;
        process
    }

    /// Starts one of the tools, and does not wait for its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn begin_tool(&mut self, arguments: &[&str]) -> Process {
        let mut command = self.penstock("front.toml");
        command.args(arguments);
        self.spawn("tool", command)
    }

    /// Runs one of the tools, `penstock keys list`, to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        finished(self.penstock("front.toml").args(arguments)).await
    }

    /// The same with another file of the folder as its configuration: one that no role watches.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn run_reading(&self, config: &str, arguments: &[&str]) -> Output {
        finished(self.penstock(config).args(arguments)).await
    }

    /// The same with another variable in its environment.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn run_with(&self, (name, value): (&str, &str), arguments: &[&str]) -> Output {
        finished(self.penstock("front.toml").env(name, value).args(arguments)).await
    }

    /// The same without a variable that the world has.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn run_without(&self, name: &str, arguments: &[&str]) -> Output {
        finished(self.penstock("front.toml").env_remove(name).args(arguments)).await
    }

    /// The same with something to read on its standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn run_given(&self, input: &str, arguments: &[&str]) -> Output {
        let file = self.folder.write("input", input);
        let input = std::fs::File::open(&file).expect("a file that was just written can be read");
        let output = finished(self.penstock("front.toml").stdin(input).args(arguments)).await;
        std::fs::remove_file(file).expect("a file of the test's own can be removed");
        output
    }

    /// What every process has logged, `up`'s children among them.
    pub fn logs(&self) -> String {
        let files = std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten();
        let logs = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "log"));
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        let own: String = logs.map(|file| read(file.path())).collect();
        own + &read(self.folder.path().join("data/nats.log")) + &read(self.folder.path().join("data/clickhouse.log"))
    }

    /// Everything that NATS has on disk.
    pub fn stored(&self) -> String {
        self.text_below("data/nats")
    }

    /// Everything that is in the files below a folder of the world.
    pub fn text_below(&self, folder: &str) -> String {
        let mut folders = vec![self.folder.path().join(folder)];
        let mut text = String::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else if let Ok(bytes) = std::fs::read(entry.path()) {
                    text += &String::from_utf8_lossy(&bytes);
                }
            }
        }
        text
    }

    /// Runs one of the tools with `--format json`, and gives what it answered.
    ///
    /// # Panics
    /// When it fails.
    pub async fn tool(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--format", "json"]].concat()).await;
        assert_eq!(output.code, 0, "penstock {arguments:?}: {}", output.err);
        serde_json::from_str(&output.out).unwrap_or_else(|error| panic!("{error}: {}", output.out))
    }

    fn penstock(&self, config: &str) -> Command {
        command(penstock(), &self.setup, &self.folder, config)
    }
}

/// The same command in a process that may have so many file handles.
fn limited(command: &Command, handles: u32) -> Command {
    let command = command.as_std();
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(format!("ulimit -n {handles} && exec \"$0\" \"$@\""));
    limited.arg(command.get_program()).args(command.get_args()).env_clear();
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    limited
}

async fn finished(command: &mut Command) -> Output {
    let output = command.output().await.expect("penstock can be started");
    Output {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn command(program: &Path, setup: &Setup, folder: &Folder, config: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(setup.environment()).current_dir(folder.path());
    command.arg("--config").arg(config).arg("--data").arg(data(folder));
    command
}

fn data(folder: &Folder) -> PathBuf {
    folder.path().join("data")
}

fn start_up(setup: &Setup, folder: &Folder, count: u32) -> Process {
    let program = if count == 0 && setup.begins_older() { older() } else { penstock().to_owned() };
    let mut command = command(&program, setup, folder, "front.toml");
    command.args(["up", "--listen", "127.0.0.1:0"]);
    if setup.with_demo() {
        command.arg("--demo");
    }
    Process::start(&format!("up-{count}"), command, folder.path())
}

/// The URL and the key that `up` prints: `Penstock is ready: URL  key: KEY`. A later start says where the key stands.
async fn ready(up: &mut Process, folder: &Folder) -> (String, String, String) {
    let line = up.says("Penstock is ready: ").await;
    let words = line.strip_prefix("Penstock is ready: ").and_then(|rest| rest.split_once("  key: "));
    let (url, key) = words.unwrap_or_else(|| panic!("this line is not as DESIGN has it: {line}"));
    let kept = || std::fs::read_to_string(data(folder).join("key")).expect("the first key is kept");
    let key = if key.starts_with("psk_") { key.to_owned() } else { kept() };
    (url.to_owned(), key, line.clone())
}

impl Drop for World {
    fn drop(&mut self) {
        let ours = self.folder.path().to_string_lossy();
        if let Some(orphan) = self.orphan.filter(|pid| command_line(*pid).contains(&*ours)) {
            kill(orphan);
        }
    }
}
