//! Requests that no HTTP library would send: byte by byte on a socket.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use penstock_tests::{Answer, LONG, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The head of a chat request with the world's key and these headers.
pub(crate) fn head(world: &World, headers: &[&str]) -> String {
    let key = world.key();
    let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\nconnection: close\r\n{more}\r\n"
    )
}

/// Sends these bytes and no more, and reads the answer until the gateway closes the connection or it is complete.
pub(crate) async fn raw(world: &World, request: String) -> Answer {
    let address = world.url().strip_prefix("http://").expect("the URL begins so");
    let mut stream = TcpStream::connect(address).await.expect("the gateway takes connections");
    // A refusal may come before everything is written.
    let _ = stream.write_all(request.as_bytes()).await;
    read(&mut stream).await
}

/// Reads the answer until the gateway closes the connection or it is complete.
pub(crate) async fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let read = async {
        loop {
            let count = stream.read(&mut buffer).await.unwrap_or(0);
            bytes.extend_from_slice(&buffer[..count]);
            match parse(&bytes) {
                Some(answer) => return answer,
                None => assert!(count > 0, "no answer but {:?}", String::from_utf8_lossy(&bytes)),
            }
        }
    };
    timeout(LONG, read).await.expect("the gateway answers")
}

/// The answer, if all of it is there. It tells its length, as refusals do.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: HeaderMap = lines
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        })
        .collect();
    let length: usize = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
    let body = (body.len() >= length).then(|| Bytes::copy_from_slice(body.as_bytes()))?;
    Some(Answer { status: StatusCode::from_u16(status).ok()?, headers, body })
}
