//! Everything between the roles over TLS: a nats-server that wants a certificate of whoever comes, and a ClickHouse behind
//! `https`.

use penstock_tests::{Authority, Issued, LONG, Process, World, address_in, tool, until};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

const HERE: &str = "127.0.0.1";
const KEY: &str = "psk_of_those_who_speak_tls_0123456789";

fn write(world: &World, name: &str, issued: &Issued) -> [String; 2] {
    let file = |kind: &str, text: &str| world.folder().write(&format!("{name}.{kind}"), text).display().to_string();
    [file("crt", &issued.cert), file("key", &issued.key)]
}

/// A nats-server that speaks TLS alone, with those alone whose certificate the authority has issued.
async fn nats(world: &World, authority: &Authority, ca: &str) -> (Process, String) {
    let port = TcpListener::bind((HERE, 0)).and_then(|listener| listener.local_addr()).expect("a port").port();
    let [cert, key] = write(world, "nats", &authority.issue(HERE));
    let store = world.folder().path().join("encrypted");
    let text = format!(
        "listen: \"{HERE}:{port}\"\nmax_payload: 8MB\njetstream {{ store_dir: {store:?}, max_file_store: 1TB }}\n\
         tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}\n"
    );
    let mut command = Command::new(tool("PENSTOCK_NATS_SERVER"));
    command.arg("--config").arg(world.folder().write("encrypted.conf", &text));
    let mut server = Process::start("encrypted", command, world.folder().path());
    server.says("Server is ready").await;
    (server, format!("nats://{HERE}:{port}"))
}

/// What ends TLS in front of the world's ClickHouse.
struct Https {
    url: String,
    /// Connections that came to be encrypted.
    connections: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Https {
    async fn start(world: &World, authority: &Authority) -> Self {
        let run = world.run_file();
        let behind = run["clickhouse"].as_str().expect("run.json holds URLs");
        let (login, address) = behind.strip_prefix("http://").and_then(|rest| rest.rsplit_once('@')).expect("a login");
        let (login, behind) = (login.to_owned(), address.to_owned());
        let acceptor = authority.acceptor(HERE);
        let listener = tokio::net::TcpListener::bind((HERE, 0)).await.expect("there are free ports");
        let url = format!("https://{login}@{}", listener.local_addr().expect("it is bound"));
        let connections = Arc::new(AtomicUsize::new(0));
        let (mut task, count) = (JoinSet::new(), connections.clone());
        task.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((plain, _)) = listener.accept().await {
                let (acceptor, behind, count) = (acceptor.clone(), behind.clone(), count.clone());
                open.spawn(async move {
                    let Ok(mut client) = acceptor.accept(plain).await else { return };
                    count.fetch_add(1, Ordering::Relaxed);
                    let Ok(mut server) = TcpStream::connect(behind).await else { return };
                    drop(copy_bidirectional(&mut client, &mut server).await);
                });
            }
        });
        Self { url, connections, _task: task }
    }
}

#[tokio::test]
async fn all_roles_work_where_nats_and_clickhouse_speak_tls_alone_and_who_has_no_right_certificate_is_told_so() {
    let mut world = World::setup().start().await;
    world.upstream("alpha").answers("hello").always();
    let authority = Authority::new();
    let ca = world.folder().write("ca.crt", authority.pem()).display().to_string();
    let (_server, url) = nats(&world, &authority, &ca).await;
    let https = Https::start(&world, &authority).await;
    let [cert, key] = write(&world, "role", &authority.issue("penstock"));
    let environment = [
        ("PENSTOCK_NATS_URL", url),
        ("PENSTOCK_NATS_CA", ca.clone()),
        ("PENSTOCK_NATS_CERT", cert),
        ("PENSTOCK_NATS_KEY", key),
        ("PENSTOCK_CLICKHOUSE_URL", https.url.clone()),
        ("PENSTOCK_CLICKHOUSE_DATABASE", "encrypted".to_owned()),
        ("SSL_CERT_FILE", ca),
        ("PENSTOCK_KEY", KEY.to_owned()),
    ];

    let (_worker, _) = world.role_with("worker", &environment).await;
    let (_analytics, _) = world.role_with("analytics", &environment).await;
    let (_ingress, line) = world.role_with("ingress", &environment).await;
    let address = address_in(&line);
    for stream in [false, true] {
        let ask = world.ask("alpha/m").at(&address).key(KEY);
        assert_eq!(if stream { ask.stream() } else { ask }.await.text(), "hello");
    }
    until("both calls to be in ClickHouse", async || {
        let spend = world.get("/admin/v1/spend?by=project&since=1d").at(&address).key(world.admin_key()).await.json();
        (spend["rows"][0]["requests"].as_u64() == Some(2)).then_some(())
    })
    .await;
    assert!(https.connections.load(Ordering::Relaxed) > 0, "ClickHouse was asked over TLS");

    let without = |names: &[&str]| -> Vec<(&str, String)> {
        environment.iter().filter(|(name, _)| !names.contains(name)).cloned().collect()
    };
    let untrusted =
        [without(&["PENSTOCK_NATS_CA", "SSL_CERT_FILE"]), without(&["PENSTOCK_NATS_CERT", "PENSTOCK_NATS_KEY"])];
    for environment in untrusted {
        let said = refused(&mut world, "worker", &environment).await;
        assert!(said.contains("ertificate"), "a role says what is wrong with TLS at NATS: {said}");
    }
    let said = refused(&mut world, "analytics", &without(&["SSL_CERT_FILE"])).await;
    assert!(said.contains("ertificate"), "and at ClickHouse: {said}");
}

/// What a role says that cannot start.
async fn refused(world: &mut World, role: &str, environment: &[(&str, String)]) -> String {
    let mut process = world.begin_role_with(role, environment);
    let said = until("the role to say why", async || {
        let tail = process.tail_of(50);
        tail.contains("ertificate").then_some(tail)
    });
    let said = timeout(LONG, said).await.unwrap_or_else(|_| process.tail_of(50));
    process.kill();
    process.ended().await;
    said
}
