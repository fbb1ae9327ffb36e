//! A receiver of webhooks that answers as the test says, and remembers what came.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A post that came.
#[derive(Debug)]
pub struct Received {
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("{name} is not in {:?}", self.headers))
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// The running receiver; it ends with the process of the test.
pub struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<VecDeque<Received>>>,
}

impl Receiver {
    /// Answers with these statuses, one after the other, and with the last one for ever.
    pub fn start(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<VecDeque<Received>>>::default();
        let told = received.clone();
        let serve = move || {
            let mut statuses = statuses.iter().copied();
            let mut status = 200;
            for stream in listener.incoming() {
                status = statuses.next().unwrap_or(status);
                answer(stream.unwrap(), status, &told);
            }
        };
        drop(std::thread::Builder::new().spawn(serve).unwrap());
        Self { address, received }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits for the next post.
    pub async fn next(&self) -> Received {
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
    pub fn rest(&self) -> Vec<Received> {
        self.received.lock().unwrap().drain(..).collect()
    }
}

fn answer(mut stream: TcpStream, status: u16, told: &Mutex<VecDeque<Received>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
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
    // Told first: who waits for the next post has seen this one.
    told.lock().unwrap().push_back(received);
    let location = if status == 307 { "location: /elsewhere\r\n" } else { "" };
    let _ = write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n{location}\r\n");
}
