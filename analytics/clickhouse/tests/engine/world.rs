//! A running engine, and ways to ask it.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub(crate) const TOKEN: &str = "the token of the tests";
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) url: String,
    pub(crate) data: PathBuf,
    child: Child,
    _stdout: BufReader<ChildStdout>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim_end().to_owned()
    }

    pub(crate) fn code(&self) -> Option<&str> {
        self.headers.get("X-ClickHouse-Exception-Code").and_then(|value| value.to_str().ok())
    }
}

/// The engine that most tests of a process share; each uses a database of its own.
pub(crate) fn shared() -> &'static World {
    static SHARED: OnceLock<World> = OnceLock::new();
    // Tests run in several processes at once.
    SHARED.get_or_init(|| World::start(&fresh_folder(&format!("shared-{}", std::process::id()))))
}

pub(crate) fn fresh_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("embedded-clickhouse-{name}"));
    match std::fs::remove_dir_all(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => panic!("{}: {error}", folder.display()),
    }
    folder
}

/// The engine's library: `PENSTOCK_CHDB`, else what deploy/setup wrote down.
pub(crate) fn library() -> String {
    let noted = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.penstock/tools/env");
    let from_setup = || {
        let text = std::fs::read_to_string(&noted).ok()?;
        text.lines().find_map(|line| line.strip_prefix("export PENSTOCK_CHDB=").map(str::to_owned))
    };
    std::env::var("PENSTOCK_CHDB")
        .ok()
        .or_else(from_setup)
        .expect("these tests need the engine's library: run `deploy/setup run`, or set PENSTOCK_CHDB to a libchdb.so")
}

pub(crate) fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock-clickhouse"));
    command.arg(data).env("PENSTOCK_CHDB", library()).env("PENSTOCK_CLICKHOUSE_TOKEN", TOKEN);
    command.env("PENSTOCK_CLICKHOUSE_DRAIN", "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

impl World {
    pub(crate) fn start(data: &Path) -> World {
        let mut child = command(data).spawn().expect("the engine's process starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut url = String::new();
        stdout.read_line(&mut url).expect("its output is text");
        assert!(url.starts_with("http://127.0.0.1:"), "the engine did not start: its reason stands above");
        World { url: url.trim().to_owned(), data: data.to_owned(), child, _stdout: stdout }
    }

    /// Ends it as its parent's end would.
    pub(crate) fn stop(mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.child.wait().expect("it ends")
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// The most memory that it ever used, in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a kernel with VmHWM");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
    }

    /// A client whose database exists and is empty.
    pub(crate) async fn client(&self, database: &str) -> clickhouse::Client {
        self.ok(&format!("CREATE DATABASE IF NOT EXISTS {database}")).await;
        let client = clickhouse::Client::default().with_url(&self.url).with_user("default").with_password(TOKEN);
        client.with_database(database)
    }

    pub(crate) async fn ask(&self, statement: impl Into<Bytes>) -> Answer {
        self.send(Method::POST, "/", &[], Full::new(statement.into())).await.expect("an answer")
    }

    /// The result of a statement that must succeed.
    pub(crate) async fn ok(&self, statement: &str) -> String {
        let answer = self.ask(statement.to_owned()).await;
        assert_eq!(answer.status, StatusCode::OK, "{statement}: {}", answer.text());
        answer.text()
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.send(Method::POST, path, headers, Full::new(body.into())).await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Full::default()).await.expect("an answer")
    }

    /// One request on a connection of its own, with the token. Fails when the answer is cut off.
    pub(crate) async fn send<B>(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: B,
    ) -> Result<Answer, String>
    where
        B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
            + Send
            + Unpin
            + 'static,
    {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if !headers.iter().any(|(name, _)| *name == "X-ClickHouse-Key") {
            request = request.header("X-ClickHouse-Key", TOKEN);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let client = Client::builder(TokioExecutor::new()).build_http();
        let answer =
            client.request(request.body(body).expect("a request")).await.map_err(|error| format!("{error:?}"))?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// Asks `SELECT count() FROM system.processes` for statements that contain `part`, until there are `wanted`.
    pub(crate) async fn running(&self, part: &str, wanted: usize) {
        let deadline = Instant::now() + PATIENCE;
        let question = format!(
            "SELECT count() FROM system.processes WHERE query LIKE '%{part}%' AND query NOT LIKE '%processes%'"
        );
        while self.ok(&question).await != wanted.to_string() {
            assert!(Instant::now() < deadline, "never {wanted} statements with {part}");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Already ended in most tests; after a failed one, this ends it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
