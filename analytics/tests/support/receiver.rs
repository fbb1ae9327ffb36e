//! A receiver of webhooks that answers as the test says, and remembers what came.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A post that came.
#[derive(Debug)]
pub(crate) struct Received {
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("{name} is not in {:?}", self.headers))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// The running receiver; it ends with the process of the test.
pub(crate) struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<VecDeque<Received>>>,
}

impl Receiver {
    /// Answers with these statuses, one after the other, and with the last one for ever.
    pub(crate) fn start(statuses: &'static [u16]) -> Self {
        let statuses = Mutex::new((statuses.iter().copied(), 200));
        Self::serve(move |stream| {
            let mut statuses = statuses.lock().unwrap();
            statuses.1 = statuses.0.next().unwrap_or(statuses.1);
            answer(stream, statuses.1);
        })
    }

    /// Never answers. Connections stay open until the sender closes them.
    pub(crate) fn hanging() -> Self {
        Self::serve(|stream| {
            let _ = stream.read_to_end(&mut Vec::new());
        })
    }

    fn serve(respond: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<VecDeque<Received>>>::default();
        let (told, respond) = (received.clone(), Arc::new(respond));
        // Each connection has a thread: a client may open one that it then does not need.
        let serve = move || {
            for stream in listener.incoming() {
                let (told, respond) = (told.clone(), respond.clone());
                let mut stream = stream.unwrap();
                let take = move || {
                    let Some(post) = receive(&mut stream) else { return };
                    // Told first: who waits for the next post has seen this one.
                    told.lock().unwrap().push_back(post);
                    respond(&mut stream);
                };
                drop(std::thread::Builder::new().spawn(take).unwrap());
            }
        };
        drop(std::thread::Builder::new().spawn(serve).unwrap());
        Self { address, received }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits for the next post.
    pub(crate) async fn next(&self) -> Received {
        let begun = Instant::now();
        loop {
            let post = self.received.lock().unwrap().pop_front();
            if let Some(post) = post {
                return post;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "no post came");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What else has come.
    pub(crate) fn rest(&self) -> Vec<Received> {
        self.received.lock().unwrap().drain(..).collect()
    }
}

fn answer(stream: &mut TcpStream, status: u16) {
    let location = if status == 307 { "location: /elsewhere\r\n" } else { "" };
    let _ = write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n{location}\r\n");
}

/// The post on a connection; `None` when it was closed without one.
fn receive(stream: &mut TcpStream) -> Option<Received> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let mut received = Received { path, headers, body: Vec::new() };
    received.body = vec![0; received.header("content-length").parse().unwrap()];
    reader.read_exact(&mut received.body).unwrap();
    Some(received)
}
