//! Files that come to no good end, or whose processes do: nothing is left behind, nothing is held, and what is complete stays
//! as it was sent.

use super::files::{delete, form, get, head, ids, kept, post};
use super::raw::read;
use penstock_tests::{SmallDisk, World, until};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Begins to send a file, and gives the connection once some of it is stored.
async fn half_sent(world: &World, address: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.expect("the gateway takes connections");
    let body = form(&[("purpose", None, b"user_data"), ("file", Some("half"), &vec![b'x'; 1 << 20])]);
    connection.write_all(head(world, world.key(), 2 * body.len() as u64).as_bytes()).await.expect("the head is sent");
    connection.write_all(&body[..body.len() - 20]).await.expect("half of it is sent");
    until("some content", async || (world.stream_messages("ps_PIECES").await > 1).then_some(())).await;
    connection
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let world = World::start().await;
    let connection = half_sent(&world, world.address()).await;
    assert_eq!(ids(&world, "").await, (vec![], false), "what is not complete is not listed");
    drop(connection);
    until("no content", async || (world.stream_messages("ps_PIECES").await == 0).then_some(())).await;
    assert_eq!(ids(&world, "").await, (vec![], false));
}

#[tokio::test]
async fn an_ingress_that_is_killed_leaves_nothing_that_is_listed() {
    let mut world = World::start().await;
    let (mut ingress, line) = world.role("ingress").await;
    let address = line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let address = address.expect("an ingress says where it listens").to_owned();
    let _connection = half_sent(&world, &address).await;
    ingress.kill();
    ingress.ended().await;
    assert_eq!(ids(&world, "").await, (vec![], false));
    let id = kept(&world, "user_data", "a.txt", b"x").await;
    assert_eq!(ids(&world, "").await, (vec![id], false));
}

#[tokio::test]
async fn an_upload_and_a_download_go_on_when_nats_server_is_killed() {
    let mut world = World::start().await;
    let content: Vec<u8> = (0..4 << 20_u32).map(|n: u32| n.to_be_bytes()[2]).collect();
    let body = form(&[("purpose", None, b"user_data"), ("file", Some("a.bin"), &content)]);
    let mut connection = TcpStream::connect(world.address()).await.unwrap();
    connection.write_all(head(&world, world.key(), body.len() as u64).as_bytes()).await.unwrap();
    connection.write_all(&body[..1 << 20]).await.unwrap();
    until("some content", async || (world.stream_messages("ps_PIECES").await > 1).then_some(())).await;
    world.up().kill_child("nats-server");
    connection.write_all(&body[1 << 20..]).await.expect("the gateway takes the rest");
    let file = read(&mut connection).await;
    assert_eq!(file.status, 200, "{}", file.raw());
    let path = format!("/v1/files/{}/content", file.json()["id"].as_str().unwrap());
    let mut read = get(&world, &path).open().await;
    let first = read.next().await.expect("it begins");
    world.up().kill_child("nats-server");
    let rest = read.rest().await.body;
    assert!([first, rest].concat() == content, "every byte is there once");
}

#[tokio::test]
async fn a_sender_that_stops_is_refused_in_time_and_leaves_nothing() {
    let world = World::setup().env("PENSTOCK_INGRESS_BODY_TIMEOUT", "500ms").start().await;
    let body = form(&[("purpose", None, b"user_data"), ("file", Some("half"), b"some and no more")]);
    let mut connection = TcpStream::connect(world.address()).await.unwrap();
    connection.write_all(head(&world, world.key(), 1 << 20).as_bytes()).await.unwrap();
    connection.write_all(&body[..body.len() - 12]).await.unwrap();
    let answer = read(&mut connection).await;
    assert_eq!(answer.status, 408, "{}", answer.raw());
    assert_eq!(ids(&world, "").await, (vec![], false));
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_takes_no_files_until_there_is_room() {
    let disk = SmallDisk::of_megabytes(48);
    let world = World::setup().nats_on(&disk).start().await;
    let body = form(&[("purpose", None, b"user_data"), ("file", Some("a.txt"), b"x")]);
    let id = kept(&world, "user_data", "before.txt", b"before").await;
    disk.fill();
    // The first may be on its way when that is noticed: then NATS itself does not take it.
    let refused = until("a refusal that names the disk", async || {
        let answer = post(&world, "/v1/files", body.clone()).await;
        (answer.status != 200 && answer.message().contains("disk")).then_some(answer)
    });
    assert_eq!(refused.await.status, 503);
    assert_eq!(get(&world, &format!("/v1/files/{id}/content")).await.raw(), "before", "what is kept can be read");
    disk.empty();
    until("room", async || (post(&world, "/v1/files", body.clone()).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn an_upload_ends_with_its_key() {
    let world = World::start().await;
    let made = super::made::post(&world, "keys", &json!({ "project": "other" })).await.json();
    let (key, id) = (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned());
    until("the key", async || (get(&world, "/v1/files").key(&key).await.status == 200).then_some(())).await;
    let mut connection = TcpStream::connect(world.address()).await.unwrap();
    let body = form(&[("purpose", None, b"user_data"), ("file", Some("half"), &vec![b'x'; 1 << 20])]);
    connection.write_all(head(&world, &key, 2 * body.len() as u64).as_bytes()).await.unwrap();
    connection.write_all(&body[..body.len() - 20]).await.unwrap();
    until("some content", async || (world.stream_messages("ps_PIECES").await > 1).then_some(())).await;
    assert_eq!(world.run(&["keys", "revoke", &id]).await.code, 0);
    let answer = read(&mut connection).await;
    assert_eq!(answer.status, 401, "{}", answer.raw());
    until("no content", async || (world.stream_messages("ps_PIECES").await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_file_that_has_expired_is_gone_and_cleaned_up() {
    let world = World::start().await;
    let id = kept(&world, "user_data", "a.txt", b"x").await;
    let mut entry = world.stored_value("ps_FILES", &format!("default.{id}")).await;
    assert_eq!((&entry["state"], &entry["sha256"].as_str().map(str::len)), (&json!("ready"), &Some(64)));
    entry["expires_at"] = json!(1);
    world.store("ps_FILES", &format!("default.{id}"), &entry).await;
    assert_eq!(get(&world, &format!("/v1/files/{id}")).await.status, 404);
    assert_eq!(get(&world, &format!("/v1/files/{id}/content")).await.status, 404);
    assert_eq!(delete(&world, &format!("/v1/files/{id}")).await.status, 404);
    assert_eq!(ids(&world, "").await, (vec![], false));
    until("no content", async || (world.stream_messages("ps_PIECES").await == 0).then_some(())).await;
}

#[tokio::test]
async fn an_upload_that_was_given_up_is_cleaned_up_by_another_process() {
    let world = World::start().await;
    let id = kept(&world, "user_data", "a.txt", b"x").await;
    let entry = world.stored_value("ps_FILES", &format!("default.{id}")).await;
    let arriving = json!({ "state": "arriving", "content": entry["segments"][0]["content"], "bytes": 1, "until": 1 });
    world.store("ps_FILES", &format!("default.{id}"), &arriving).await;
    assert_eq!(get(&world, &format!("/v1/files/{id}")).await.status, 404);
    until("no content", async || (world.stream_messages("ps_PIECES").await == 0).then_some(())).await;
}

/// What a process has held at most so far, in bytes.
pub(crate) fn peak_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux tells of a running process");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it tells the peak");
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("it is a number") << 10
}

#[tokio::test]
async fn a_file_of_200_megabytes_is_never_held_in_memory() {
    const SIZE: u64 = 200 << 20;
    const MOST: u64 = 64 << 20;
    let mut world = World::start().await;
    let (ingress, line) = world.role("ingress").await;
    let address = line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let address = address.expect("an ingress says where it listens").to_owned();
    get(&world, "/v1/files").at(&address).await;
    let before = peak_of(ingress.pid());
    let empty = form(&[("purpose", None, b"user_data"), ("file", Some("large.bin"), b"")]);
    let end = empty.len() - "\r\n--b0--\r\n".len();
    let mut connection = TcpStream::connect(&address).await.unwrap();
    let request = head(&world, world.key(), empty.len() as u64 + SIZE);
    connection.write_all(request.as_bytes()).await.unwrap();
    connection.write_all(&empty[..end]).await.unwrap();
    let piece: Vec<u8> = (0..1 << 20_u32).map(|n: u32| n.to_be_bytes()[3] ^ n.to_be_bytes()[1]).collect();
    for _ in 0..SIZE >> 20 {
        connection.write_all(&piece).await.expect("the gateway takes all of it");
    }
    connection.write_all(&empty[end..]).await.unwrap();
    let file = read(&mut connection).await;
    assert_eq!(file.status, 200, "{}", file.raw());
    let file = file.json();
    assert_eq!(file["bytes"].as_u64(), Some(SIZE));
    let sent = peak_of(ingress.pid()) - before;
    assert!(sent < MOST, "{} KB more while it came", sent >> 10);
    let mut read =
        get(&world, &format!("/v1/files/{}/content", file["id"].as_str().unwrap())).at(&address).open().await;
    let mut length = 0;
    while let Some(bytes) = read.next().await {
        for (at, byte) in (length..).zip(&bytes[..]).step_by(4099) {
            assert_eq!(*byte, piece[at & 0xf_ffff], "at {at}");
        }
        length += bytes.len();
    }
    assert_eq!(length as u64, SIZE);
    let both = peak_of(ingress.pid()) - before;
    assert!(both < MOST, "{} KB more while it came and went", both >> 10);
}
