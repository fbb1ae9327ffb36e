//! Images and documents by address, in front of a server that takes data alone: fetched once by the worker, from public
//! addresses only, and refused by their place in the request otherwise.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use penstock_tests::{World, words};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot much of an image";

/// A provider and a server of images in one.
struct Server {
    url: String,
    /// What was asked of the provider.
    asked: Arc<Mutex<Vec<Value>>>,
    /// Every path that was fetched.
    fetched: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

async fn server() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, fetched) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<Mutex<Vec<String>>>::default());
    let mut tasks = JoinSet::new();
    let (told, seen) = (asked.clone(), fetched.clone());
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream, told.clone(), seen.clone()));
        }
    });
    Server { url, asked, fetched, _tasks: tasks }
}

async fn serve(mut stream: TcpStream, asked: Arc<Mutex<Vec<Value>>>, fetched: Arc<Mutex<Vec<String>>>) {
    let mut request = Vec::new();
    let (head, body) = loop {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.to_lowercase().split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        if body.len() >= length.unwrap_or(0_usize) {
            break (head.to_owned(), body.to_owned());
        }
    };
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let (status, header, body): (_, _, Vec<u8>) = match path.as_str() {
        "/v1/chat/completions" => {
            asked.lock().unwrap().push(serde_json::from_str(&body).unwrap());
            ("200 OK", "content-type: application/json", words::whole("hello").into())
        }
        "/cat.png" => ("200 OK", "content-type: text/plain", PNG.to_vec()),
        "/moved" => ("302 Found", "location: /cat.png", Vec::new()),
        "/astray" => ("302 Found", "location: ftp://127.0.0.1/", Vec::new()),
        "/round" => ("302 Found", "location: /round", Vec::new()),
        "/page" => ("200 OK", "content-type: image/png", b"<html>".to_vec()),
        "/photo" => ("200 OK", "content-type: image/png", [PNG, &vec![0; 19 << 20]].concat()),
        "/large" => ("200 OK", "content-type: image/png", [PNG, &vec![0; 21 << 20]].concat()),
        _ => ("404 Not Found", "x: y", Vec::new()),
    };
    if path != "/v1/chat/completions" {
        fetched.lock().unwrap().push(path);
    }
    let head = format!("HTTP/1.1 {status}\r\n{header}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    // Who has seen enough hangs up.
    let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
}

async fn world(server: &Server, private: bool) -> World {
    let config = format!(
        "[workers]\nallow_private_media = {private}\n[providers.home]\ndialect = \"openai\"\nbase_url = \"{}/v1\"\nquirks = [\"no_urls\"]\n",
        server.url
    );
    World::setup().config(&config).start().await
}

fn messages(url: &str) -> Value {
    json!([{"role": "user", "content": [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": url}}]}])
}

#[tokio::test]
async fn an_image_is_fetched_for_a_server_that_would_not() {
    let server = server().await;
    let world = world(&server, true).await;
    let data = "data:image/png;base64,iVBORw0KGgpub3QgbXVjaCBvZiBhbiBpbWFnZQ==";
    for path in ["/cat.png", "/moved"] {
        let ask = world.ask("home/m").field("messages", messages(&format!("{}{path}", server.url)));
        assert_eq!(ask.await.text(), "hello");
        let asked = server.asked.lock().unwrap().pop().unwrap();
        assert_eq!(asked["messages"], messages(data), "{path}");
    }
    assert_eq!(*server.fetched.lock().unwrap(), ["/cat.png", "/moved", "/cat.png"]);
    for (path, why) in [
        ("/page", "it is no PNG, JPEG, GIF or WebP image"),
        ("/large", "it is larger than 20 MB"),
        ("/none", "its server answers 404"),
        ("/astray", "`ftp:` is not fetched"),
        ("/round", "it leads elsewhere more than 3 times"),
    ] {
        let answer = world.ask("home/m").field("messages", messages(&format!("{}{path}", server.url))).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status.as_u16(), error["code"].as_str()), (400, Some("bad_request")), "{path}");
        assert_eq!(error["param"], "messages[0].content[1].image_url.url");
        let message = format!("`messages[0].content[1].image_url.url` could not be fetched: {why}");
        assert_eq!(error["message"], message, "{path}");
    }
    assert!(server.asked.lock().unwrap().is_empty(), "a request whose image is missing is not sent");
}

#[tokio::test]
async fn images_that_are_too_large_together_are_refused_before_they_are_all_held() {
    let server = server().await;
    let world = world(&server, true).await;
    let image = json!({"type": "image_url", "image_url": {"url": format!("{}/photo", server.url)}});
    let content: Vec<Value> = (0..20).map(|_| image.clone()).collect();
    let answer = world.ask("home/m").field("messages", json!([{"role": "user", "content": content}])).await;
    assert_eq!(answer.status, 400, "{}", answer.raw());
    assert!(answer.message().contains("all together are larger than 50 MB"), "{}", answer.raw());
    assert!(server.fetched.lock().unwrap().len() < 10, "the first that does not fit ends them all");
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_fetched_from_private_addresses() {
    let server = server().await;
    let world = world(&server, false).await;
    let port = server.url.rsplit(':').next().unwrap();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0"] {
        let answer = world.ask("home/m").field("messages", messages(&format!("http://{host}:{port}/cat.png"))).await;
        assert_eq!(answer.status, 400, "{host}");
        assert!(answer.raw().contains("its address is not public"), "{host}: {}", answer.raw());
    }
    assert!(server.fetched.lock().unwrap().is_empty() && server.asked.lock().unwrap().is_empty());
}
