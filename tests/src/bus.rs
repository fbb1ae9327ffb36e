//! How many usage events wait in NATS for ClickHouse: asked in NATS's own protocol, so that the tests need no client of it.
//! Source: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.

use crate::world::World;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

impl World {
    /// How many messages the ledger in NATS holds: with none, everything that was written is in ClickHouse. `None` while
    /// NATS does not answer.
    pub async fn waiting(&self) -> Option<u64> {
        let url = self.run_file()["nats"].as_str()?.to_owned();
        let info = timeout(crate::wait::LONG, ask(&url, "$JS.API.STREAM.INFO.ps_USAGE", "")).await.ok()??;
        info["state"]["messages"].as_u64()
    }

    /// What a stream takes, in bytes.
    ///
    /// # Panics
    /// When NATS does not say.
    pub async fn stream_bytes(&self, stream: &str) -> u64 {
        let url = self.run_file()["nats"].as_str().expect("NATS has an address").to_owned();
        let info = timeout(crate::wait::LONG, ask(&url, &format!("$JS.API.STREAM.INFO.{stream}"), "")).await;
        info.expect("NATS answers").expect("NATS answers")["state"]["bytes"].as_u64().expect("a stream has a size")
    }

    /// How many messages a stream holds.
    ///
    /// # Panics
    /// When NATS does not say.
    pub async fn stream_messages(&self, stream: &str) -> u64 {
        let url = self.run_file()["nats"].as_str().expect("NATS has an address").to_owned();
        let info = timeout(crate::wait::LONG, ask(&url, &format!("$JS.API.STREAM.INFO.{stream}"), "")).await;
        info.expect("NATS answers").expect("NATS answers")["state"]["messages"].as_u64().expect("a stream has a state")
    }

    /// Removes all messages of a stream.
    ///
    /// # Panics
    /// When NATS does not do that.
    pub async fn empty_stream(&self, stream: &str) {
        self.do_to_stream("PURGE", stream).await;
    }

    /// Removes a stream.
    ///
    /// # Panics
    /// When NATS does not do that.
    pub async fn remove_stream(&self, stream: &str) {
        self.do_to_stream("DELETE", stream).await;
    }

    async fn do_to_stream(&self, what: &str, stream: &str) {
        let url = self.run_file()["nats"].as_str().expect("NATS has an address").to_owned();
        let done = timeout(crate::wait::LONG, ask(&url, &format!("$JS.API.STREAM.{what}.{stream}"), "")).await;
        assert!(done.is_ok_and(|said| said.is_some_and(|said| said["success"] == true)), "{what} of {stream}");
    }

    /// A value in a bucket.
    ///
    /// # Panics
    /// When there is none.
    pub async fn stored_value(&self, bucket: &str, key: &str) -> Value {
        let url = self.run_file()["nats"].as_str().expect("NATS has an address").to_owned();
        let wanted = json!({ "last_by_subj": format!("$KV.{bucket}.{key}") }).to_string();
        let found =
            timeout(crate::wait::LONG, ask(&url, &format!("$JS.API.STREAM.MSG.GET.KV_{bucket}"), &wanted)).await;
        let found = found.expect("NATS answers").expect("NATS answers");
        let data = found["message"]["data"].as_str().expect("the key has a value");
        serde_json::from_slice(&STANDARD.decode(data).expect("NATS writes base64")).expect("values are JSON")
    }

    /// Writes a message into the ledger, as a process of another version would.
    ///
    /// # Panics
    /// When NATS does not take it.
    pub async fn write_to_ledger(&self, payload: &str) {
        let url = self.run_file()["nats"].as_str().expect("NATS has an address").to_owned();
        let stored = timeout(crate::wait::LONG, ask(&url, "ps.usage", payload)).await;
        assert!(stored.is_ok_and(|stored| stored.is_some_and(|stored| stored["seq"].is_u64())), "NATS takes a message");
    }

    /// Writes a value into a bucket.
    ///
    /// # Panics
    /// When NATS does not take it.
    pub async fn store(&self, bucket: &str, key: &str, value: &Value) {
        let url = self.run_file()["nats"].as_str().expect("NATS has an address").to_owned();
        let (subject, payload) = (format!("$KV.{bucket}.{key}"), value.to_string());
        let stored = timeout(crate::wait::LONG, ask(&url, &subject, &payload)).await;
        assert!(stored.is_ok_and(|stored| stored.is_some_and(|stored| stored["seq"].is_u64())), "NATS takes a value");
    }

    /// Sets how many bytes the ledger's stream in NATS may hold.
    ///
    /// # Panics
    /// When NATS does not do that.
    pub async fn limit_ledger(&self, bytes: u64) {
        self.limit_stream("ps_USAGE", bytes).await;
    }

    /// Sets how many bytes a stream in NATS may hold.
    ///
    /// # Panics
    /// When NATS does not do that.
    pub async fn limit_stream(&self, stream: &str, bytes: u64) {
        let url = self.run_file()["nats"].as_str().expect("NATS has an address").to_owned();
        let info = timeout(crate::wait::LONG, ask(&url, &format!("$JS.API.STREAM.INFO.{stream}"), "")).await;
        let mut config = info.expect("NATS answers").expect("NATS answers")["config"].clone();
        config["max_bytes"] = json!(bytes);
        let update = config.to_string();
        let done = timeout(crate::wait::LONG, ask(&url, &format!("$JS.API.STREAM.UPDATE.{stream}"), &update)).await;
        assert_eq!(done.expect("NATS answers").expect("NATS answers")["config"]["max_bytes"], json!(bytes));
    }

    /// Sets what the operator manages, all of it, and waits until every ingress at `addresses` has it.
    ///
    /// # Panics
    /// When NATS does not take it.
    pub async fn manage(&self, directory: Value, addresses: &[&str]) {
        let mut directory = directory;
        // How an ingress is seen to have it: this limit stands in its headers then.
        let sign = 1_000_000 + u64::from(std::process::id()) + directory.to_string().len() as u64;
        directory["limits"]["sign"] = json!({ "name": "sign", "rates": { "requests_per_day": sign } });
        self.store("ps_DIRECTORY", "current", &directory).await;
        for address in addresses {
            crate::wait::until("an ingress that knows the directory", async || {
                let answer = self.ask("nothing").at(address).await;
                (answer.header("x-ratelimit-limit-requests") == sign.to_string()).then_some(())
            })
            .await;
        }
    }
}

/// Sends one request and reads its one reply.
pub(crate) async fn ask(url: &str, subject: &str, payload: &str) -> Option<Value> {
    let (login, address) = url.strip_prefix("nats://")?.split_once('@')?;
    let (user, password) = login.split_once(':')?;
    let hello =
        json!({ "user": user, "pass": password, "verbose": false, "pedantic": false, "lang": "test", "version": "0" });
    let mut stream = BufReader::new(TcpStream::connect(address).await.ok()?);
    let lines =
        format!("CONNECT {hello}\r\nSUB _INBOX.test 1\r\nPUB {subject} _INBOX.test {}\r\n{payload}\r\n", payload.len());
    stream.write_all(lines.as_bytes()).await.ok()?;
    let mut line = String::new();
    // INFO comes first, and our reply as two lines: MSG and its payload.
    while !line.starts_with("MSG ") {
        line.clear();
        (stream.read_line(&mut line).await.ok()? > 0).then_some(())?;
    }
    line.clear();
    stream.read_line(&mut line).await.ok()?;
    serde_json::from_str(&line).ok()
}

/// What a nats-server says to one line of a user's: `None` when it takes it.
pub async fn objection(address: &str, user: (&str, &str), line: &str) -> Option<String> {
    let hello =
        json!({ "user": user.0, "pass": user.1, "verbose": false, "pedantic": false, "lang": "test", "version": "0" });
    let mut stream = BufReader::new(TcpStream::connect(address).await.ok()?);
    stream.write_all(format!("CONNECT {hello}\r\n{line}\r\nPING\r\n").as_bytes()).await.ok()?;
    let mut said = String::new();
    loop {
        said.clear();
        // It closes the connection of who has no login.
        let is_open = stream.read_line(&mut said).await.is_ok_and(|read| read > 0);
        if !is_open || said.starts_with("-ERR") {
            return Some(said.trim_end().to_owned());
        }
        if said.starts_with("PONG") {
            return None;
        }
    }
}
