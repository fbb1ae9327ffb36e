//! Least rights on the bus: a nats-server with what `penstock nats-config` prints, on which every role does its work, and what
//! is not its own is refused by the server.

use http::Method;
use penstock_tests::{Ask, LONG, Process, World, address_in, objection, tool, until, until_right};
use serde_json::{Value, json};
use std::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;

const USERS: [&str; 4] = ["operator", "ingress", "worker", "analytics"];
const KEY: &str = "psk_of_the_least_rights_0123456789";

fn password(user: &str) -> String {
    format!("secret-of-{user}")
}

/// A nats-server with the printed configuration.
struct Nats {
    server: Process,
    address: String,
}

impl Nats {
    async fn start(world: &World) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let address = format!("127.0.0.1:{port}");
        let store = world.folder().path().join("least").display().to_string();
        let printed = world.run(&["nats-config", "--listen", &address, "--store", &store]).await;
        assert_eq!(printed.code, 0, "{}", printed.err);
        let file = world.folder().write("least.conf", &printed.out);
        let mut command = Command::new(tool("PENSTOCK_NATS_SERVER"));
        command.arg("--config").arg(file);
        for user in USERS {
            command.env(format!("PENSTOCK_NATS_PASSWORD_{}", user.to_uppercase()), password(user));
        }
        let mut server = Process::start("least", command, world.folder().path());
        server.says("Server is ready").await;
        Self { server, address }
    }

    fn url(&self, user: &str) -> String {
        format!("nats://{user}:{}@{}", password(user), self.address)
    }

    /// What it says to a line of a user's.
    async fn objects(&self, user: &str, line: &str) -> String {
        objection(&self.address, (user, &password(user)), line).await.unwrap_or_default()
    }
}

/// The roles, each with its own user.
async fn roles(world: &mut World, nats: &Nats) -> (Vec<Process>, String) {
    let mut processes = Vec::new();
    let mut address = String::new();
    for role in ["worker", "analytics", "ingress"] {
        let environment = [
            ("PENSTOCK_NATS_URL", nats.url(role)),
            ("PENSTOCK_CLICKHOUSE_DATABASE", "least".to_owned()),
            ("PENSTOCK_KEY", KEY.to_owned()),
        ];
        let (process, line) = world.role_with(role, &environment).await;
        address = address_in(&line);
        processes.push(process);
    }
    (processes, address)
}

/// A file of requests, answered as a batch.
async fn batch(world: &World, at: impl Fn(Ask) -> Ask) -> Value {
    let line = |number: u32| {
        json!({ "custom_id": number.to_string(), "method": "POST", "url": "/v1/chat/completions",
                "body": { "model": "alpha/m", "messages": [{ "role": "user", "content": format!("number {number}") }] } })
    };
    let lines: String = (0..3).map(|number| format!("{}\n", line(number))).collect();
    let form = format!(
        "--x\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\ncontent-disposition: form-data; \
         name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{lines}\r\n--x--\r\n"
    );
    let upload = world.get("/v1/files").method(Method::POST).header("content-type", "multipart/form-data; boundary=x");
    let file = at(upload.body(form)).await.json();
    let wish = json!({ "input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h" });
    let batch = at(world.post("/v1/batches", &wish)).await.json();
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap_or_else(|| panic!("{batch} of {file}")));
    until_right("the batch to be over", async || {
        let batch = at(world.get(&path)).await.json();
        if batch["status"] == "completed" { Ok(batch) } else { Err(batch.to_string()) }
    })
    .await
}

/// A little of everything.
async fn work(world: &World, address: &str) {
    let at = |ask: Ask| ask.at(address).key(KEY);
    let admin = |ask: Ask| ask.at(address).key(world.admin_key());
    let budget = json!({ "name": "all", "limit_usd": "5", "cycle": "daily" });
    let made = admin(world.post("/admin/v1/budgets", &budget)).await;
    assert_eq!(made.status, 201, "{}", made.raw());
    assert_eq!(at(world.ask("alpha/m")).await.text(), "hello");
    assert_eq!(at(world.ask("fast").stream()).await.text(), "hello");
    for replayed in ["", "true"] {
        let answer = at(world.ask("alpha/m").field("seed", json!(1))).header("idempotency-key", "once").await;
        assert_eq!((answer.text().as_str(), answer.header("idempotent-replayed")), ("hello", replayed));
    }
    let long = "x".repeat(9_000_000);
    let long = json!([{ "role": "user", "content": long }]);
    assert_eq!(at(world.ask("alpha/m").field("messages", long)).await.text(), "hello", "more than a message holds");
    let job = at(world.ask("alpha/m").field("seed", json!(2)).header("prefer", "respond-async")).await.json();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap_or_else(|| panic!("{job}")));
    let is_done = async || (at(world.get(&path)).await.status == 200).then_some(());
    until("the job to be done", is_done).await;
    assert_eq!(batch(world, at).await["request_counts"]["completed"], json!(3));
    let made = admin(world.post("/admin/v1/keys", &json!({ "project": "other" }))).await;
    assert_eq!(made.status, 201, "{}", made.raw());
    let spent = async || {
        let spend = admin(world.get("/admin/v1/spend?by=project&since=1d")).await.json();
        spend["rows"][0]["requests"].as_u64().filter(|requests| *requests >= 7)
    };
    until("the ledger to be in ClickHouse", spent).await;
    for path in ["/admin/v1/targets", "/admin/v1/audit", "/admin/v1/alerts", "/admin/v1/activity", "/admin/v1/cache"] {
        assert_eq!(admin(world.get(path)).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn every_role_does_its_work_with_the_least_rights_and_the_server_refuses_what_is_not_its_own() {
    let mut world = World::setup().config("[cache]\nmode = \"exact\"\n").start().await;
    world.upstream("alpha").answers("hello").always();
    let nats = Nats::start(&world).await;
    let made = world.run_with(("PENSTOCK_NATS_URL", &nats.url("operator")), &["provision"]).await;
    assert_eq!(made.code, 0, "{}", made.err);
    let (mut processes, address) = roles(&mut world, &nats).await;
    work(&world, &address).await;
    for process in &mut processes {
        process.terminate();
        let ended = timeout(LONG, process.ended()).await.expect("it drains");
        assert_eq!(ended.code(), Some(0), "{}", process.tail());
    }
    let log = nats.server.tail_of(2000);
    let wrong: Vec<&str> = log.lines().filter(|line| line.contains("iolation")).collect();
    assert!(wrong.is_empty(), "a role needs more: {wrong:#?}");

    refuses(&nats).await;
}

/// What the server refuses to each user.
const REFUSED: [(&str, &str); 19] = [
    ("ingress", "SUB ps.usage 1"),
    ("ingress", "SUB ps.call.> 1"),
    ("ingress", "SUB > 1"),
    ("ingress", "SUB _INBOX.analytics.> 1"),
    ("ingress", "PUB ps.reply.x.y 0\r\n"),
    ("ingress", "PUB ps.pool.alpha 0\r\n"),
    ("ingress", "PUB $JS.API.CONSUMER.CREATE.ps_USAGE 0\r\n"),
    ("ingress", "PUB $JS.API.STREAM.MSG.GET.ps_USAGE 0\r\n"),
    ("ingress", "PUB $JS.API.STREAM.CREATE.mine 0\r\n"),
    ("ingress", "PUB $JS.API.STREAM.PURGE.ps_USAGE 0\r\n"),
    ("worker", "PUB $KV.ps_KEYS.mine 0\r\n"),
    ("worker", "PUB $KV.ps_DIRECTORY.current 0\r\n"),
    ("worker", "PUB $JS.API.CONSUMER.CREATE.KV_ps_KEYS 0\r\n"),
    ("worker", "PUB $JS.API.DIRECT.GET.KV_ps_SECRETS.$KV.ps_SECRETS.hash-key 0\r\n"),
    ("worker", "SUB ps.usage 1"),
    ("worker", "SUB ps.reply.> 1"),
    ("analytics", "PUB ps.call.alpha.chat 0\r\n"),
    ("analytics", "PUB $KV.ps_KEYS.mine 0\r\n"),
    ("analytics", "SUB ps.call.> 1"),
];

async fn refuses(nats: &Nats) {
    for (user, line) in REFUSED {
        let said = nats.objects(user, line).await;
        assert!(said.to_lowercase().contains("permissions violation"), "{user} may `{line}`: {said}");
    }
    for (user, line) in [("ingress", "PUB ps.usage 0\r\n"), ("worker", "SUB ps.call.alpha.* w 1")] {
        assert_eq!(nats.objects(user, line).await, "", "{user} may `{line}`");
    }
    let stranger = objection(&nats.address, ("ingress", "wrong"), "SUB x 1").await.unwrap_or_default();
    assert!(stranger.contains("Authorization Violation"), "{stranger}");
}

#[tokio::test]
async fn workers_of_one_provider_can_be_kept_from_the_calls_of_another() {
    let world = World::start().await;
    let printed =
        world.run(&["nats-config", "--provider", "alpha", "--cluster", "c", "--route", "nats://n1:6222"]).await;
    assert_eq!(printed.code, 0, "{}", printed.err);
    assert!(printed.out.contains("user: \"worker-alpha\", password: $PENSTOCK_NATS_PASSWORD_WORKER_ALPHA"));
    assert!(printed.out.contains("\"ps.call.alpha.*\"") && !printed.out.contains("\"ps.call.*.*\""));
    assert!(printed.out.contains("routes: [\"nats://n1:6222\"]"), "{}", printed.out);
    let wrong = world.run(&["nats-config", "--provider", "not a name"]).await;
    assert_eq!(wrong.code, 1, "{}", wrong.out);
}
