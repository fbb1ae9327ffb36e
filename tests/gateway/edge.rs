//! The edge: TLS and HTTP/2, certificates of clients, proxies in front, keys that are for some networks alone, and a listener
//! for operators.

use super::made::{key, post};
use futures_util::future::join_all;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use penstock_tests::{Ask, Authority, Issued, LONG, Process, World, address_in, until};
use serde_json::json;
use std::path::PathBuf;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

const HTTP1: &[&str] = &["http/1.1"];

fn write(world: &World, name: &str, issued: &Issued) -> [(&'static str, String); 2] {
    let file = |kind: &str, text: &str| -> PathBuf { world.folder().write(&format!("{name}.{kind}"), text) };
    [
        ("PENSTOCK_INGRESS_TLS_CERT", file("crt", &issued.cert).display().to_string()),
        ("PENSTOCK_INGRESS_TLS_KEY", file("key", &issued.key).display().to_string()),
    ]
}

/// An ingress with TLS.
async fn ingress(world: &mut World, authority: &Authority, more: &[(&str, String)]) -> (Process, String) {
    let files = write(world, "server", &authority.issue("127.0.0.1"));
    let environment: Vec<(&str, String)> = files.into_iter().chain(more.iter().cloned()).collect();
    let (process, line) = world.role_with("ingress", &environment).await;
    (process, address_in(&line))
}

/// The same request over HTTP/2.
fn over_http2(ask: &Ask, address: &str) -> Request<Full<bytes::Bytes>> {
    let mut request = ask.clone().request();
    let uri = format!("https://{address}{}", request.uri().path());
    *request.uri_mut() = uri.parse().expect("an address and a path are a URI");
    request.headers_mut().remove("host");
    request
}

#[tokio::test]
async fn over_tls_both_versions_of_http_are_answered_and_a_renewed_certificate_is_taken_while_requests_run() {
    let mut world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    let authority = Authority::new();
    let (mut process, address) = ingress(&mut world, &authority, &[]).await;
    let connect = async || authority.connect(&address, None, HTTP1).await.expect("TLS comes about");
    let first = connect().await;
    let seen = first.get_ref().1.peer_certificates().expect("the server has one").to_vec();
    let answer = world.ask("alpha/m").open_on(first).await.expect("an answer").rest().await;
    assert_eq!(answer.text(), "hello");

    let stream = authority.connect(&address, None, &["h2", "http/1.1"]).await.expect("TLS comes about");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let asks = (0..20).map(|number| {
        let ask = world.ask("alpha/m");
        let ask = if number % 2 == 0 { ask.stream() } else { ask };
        let mut sender = sender.clone();
        let request = over_http2(&ask, &address);
        async move {
            let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
            let body = body.collect().await.expect("all of it").to_bytes();
            (head.status.as_u16(), String::from_utf8_lossy(&body).contains("hello"))
        }
    });
    assert_eq!(join_all(asks).await, vec![(200, true); 20], "twenty at once on one connection");

    // A key that does not belong to the certificate changes nothing.
    world.folder().write("server.key", &authority.issue("127.0.0.1").key);
    process.says("the new certificate cannot be used").await;
    assert_eq!(connect().await.get_ref().1.peer_certificates(), Some(&seen[..]));
    write(&world, "server", &authority.issue("127.0.0.1"));
    process.says("the certificate was read again").await;
    assert_ne!(connect().await.get_ref().1.peer_certificates(), Some(&seen[..]));
    let mut again = sender.clone();
    let answer = again.send_request(over_http2(&world.ask("alpha/m"), &address)).await.expect("an answer");
    assert_eq!(answer.status(), 200, "the connection of before goes on");

    // Plain HTTP gets no answer there, and TLS with another authority no connection.
    let plain = TcpStream::connect(&address).await.expect("the port is open");
    assert!(timeout(LONG, world.ask("alpha/m").open_on(plain)).await.expect("it is closed").is_err());
    assert!(Authority::new().connect(&address, None, HTTP1).await.is_err());
}

#[tokio::test]
async fn a_certificate_of_a_client_works_as_a_key_for_its_project() {
    let config = "[[client_certificates]]\nname = \"spiffe://corp.example/search\"\nproject = \"search\"\n\
                  user = \"ranker\"\nmodels = [\"alpha/*\"]\n";
    let authority = Authority::new();
    let config =
        format!("[ingress.tls]\ncert = \"server.crt\"\nkey = \"server.key\"\nclient_ca = \"ca.crt\"\n{config}");
    let mut world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    world.folder().write("ca.crt", authority.pem());
    let front = std::fs::read_to_string(world.folder().path().join("front.toml")).expect("the configuration is there");
    world.folder().write("front.toml", &format!("{front}{config}"));
    let (_optional, address) = ingress(&mut world, &authority, &[]).await;
    let ask = async |ask: Ask, client: Option<&Issued>| {
        let stream = authority.connect(&address, client, HTTP1).await.expect("TLS comes about");
        ask.header("authorization", "").open_on(stream).await.expect("an answer").rest().await
    };
    let (known, unknown) = (authority.issue("spiffe://corp.example/search"), authority.issue("other.example"));
    let answer = ask(world.ask("alpha/m").header("x-penstock-user", "somebody"), Some(&known)).await;
    assert_eq!(answer.text(), "hello");
    assert_eq!(ask(world.ask("beta/m"), Some(&known)).await.error(), "403 permission_error model_forbidden (model)");
    for client in [None, Some(&unknown)] {
        assert_eq!(ask(world.ask("alpha/m"), client).await.error(), "401 invalid_request_error missing_api_key");
    }
    let rows = world.sql_until("SELECT project, user, key_id FROM attempts", |rows| !rows.is_empty()).await;
    assert_eq!((&rows[0]["project"], &rows[0]["user"]), (&json!("search"), &json!("ranker")));
    // A key that is shown wins.
    let stream = authority.connect(&address, Some(&known), HTTP1).await.expect("TLS comes about");
    assert_eq!(world.ask("beta/m").open_on(stream).await.expect("an answer").status, 200);

    let required = [("PENSTOCK_INGRESS_TLS_CLIENT", "required".to_owned())];
    let (_required, address) = ingress(&mut world, &authority, &required).await;
    let stranger = Authority::new().issue("spiffe://corp.example/search");
    for client in [None, Some(&stranger)] {
        // In TLS 1.3 a client learns of it with its first answer.
        let refused = match authority.connect(&address, client, HTTP1).await {
            Ok(stream) => world.ask("alpha/m").open_on(stream).await.is_err(),
            Err(_) => true,
        };
        assert!(refused, "a certificate of the authority is required");
    }
    let stream = authority.connect(&address, Some(&known), HTTP1).await.expect("TLS comes about");
    assert_eq!(world.ask("alpha/m").open_on(stream).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_key_is_for_its_networks_alone_and_only_trusted_proxies_say_where_a_request_comes_from() {
    let mut world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    let secret = key(&world, &json!({ "addresses": ["192.0.2.0/24", "2001:db8::/32"] })).await;
    let wrong = post(&world, "keys", &json!({ "addresses": ["192.0.2.0/40"] })).await;
    assert_eq!(wrong.status, 422, "{}", wrong.raw());
    let ask = |address: &str, from: &str| world.ask("alpha/m").at(address).key(&secret).header("x-forwarded-for", from);
    let forbidden = "403 permission_error address_not_allowed";
    let strange = ask(world.address(), "192.0.2.7").await;
    assert_eq!(strange.error(), forbidden, "nobody is believed who is not trusted");
    assert!(strange.raw().contains("127.0.0.1"), "{}", strange.raw());

    let trusting = [("PENSTOCK_INGRESS_TRUSTED_PROXIES", "[\"127.0.0.0/8\"]".to_owned())];
    let (_process, line) = world.role_with("ingress", &trusting).await;
    let address = address_in(&line);
    let ask = |from: &str| world.ask("alpha/m").at(&address).key(&secret).header("x-forwarded-for", from);
    until("the new ingress to know the key", async || (ask("192.0.2.7").await.status == 200).then_some(())).await;
    assert_eq!(ask("10.0.0.1, 2001:db8::7").await.status, 200);
    for from in ["198.51.100.1", "192.0.2.7, 198.51.100.1", ""] {
        assert_eq!(ask(from).await.error(), forbidden, "{from}");
    }

    let speaking = [trusting[0].clone(), ("PENSTOCK_INGRESS_PROXY_PROTOCOL", "true".to_owned())];
    let (_process, line) = world.role_with("ingress", &speaking).await;
    let address = address_in(&line);
    let ask = async |header: &str| {
        let mut stream = TcpStream::connect(&address).await.expect("the port is open");
        stream.write_all(header.as_bytes()).await.expect("a new connection takes bytes");
        let answer = timeout(LONG, world.ask("alpha/m").key(&secret).open_on(stream)).await.expect("an end");
        answer.map_or(0, |answer| answer.status.as_u16())
    };
    let is_known = async || (ask("PROXY TCP4 192.0.2.7 192.0.2.8 50000 443\r\n").await == 200).then_some(());
    until("the new ingress to know the key", is_known).await;
    assert_eq!(ask("PROXY TCP4 198.51.100.1 192.0.2.8 50000 443\r\n").await, 403);
    assert_eq!(ask("").await, 0, "without the header the connection is closed");
}

#[tokio::test]
async fn operators_have_a_listener_of_their_own_and_callers_find_none_of_it_on_theirs() {
    let mut world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    let apart = [("PENSTOCK_INGRESS_ADMIN_LISTEN", "127.0.0.1:0".to_owned())];
    let (mut process, line) = world.role_with("ingress", &apart).await;
    let (callers, operators) = (address_in(&line), address_in(&process.says("operators are served here").await));
    let admin = world.admin_key();
    for path in ["/admin/v1/keys", "/metrics", "/dashboard", "/openapi.json", "/dashboard/session"] {
        assert_eq!(world.get(path).key(admin).at(&callers).await.status, 404, "{path} for callers");
        let status = world.get(path).key(admin).at(&operators).await.status.as_u16();
        assert!(status == 200 || (path == "/dashboard/session" && status == 401), "{path} for operators: {status}");
    }
    for address in [&callers, &operators] {
        for path in ["/health", "/ready"] {
            assert_eq!(world.get(path).at(address).await.status, 200, "{path} at {address}");
        }
        assert_eq!(world.ask("alpha/m").at(address).await.text(), "hello", "the playground asks where it is");
    }
}
