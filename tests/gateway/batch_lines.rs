//! Files of batches that are too much: lines that are too long, too many of them, or none. What is wrong is named by its line,
//! the other lines run, and nothing is held in memory.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use crate::batches::{create, line, names, over, results, soak, upload};
use crate::file_faults::peak_of;
use crate::files::{form, head};
use crate::raw::read;
use penstock_tests::World;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// What an ingress may hold more while such a line comes and is read, in bytes.
const MOST: u64 = 64 << 20;

async fn begun(world: &World, file: &str) -> String {
    let batch = create(world, file, &json!({})).await.json();
    batch["id"].as_str().unwrap_or_else(|| panic!("{batch}")).to_owned()
}

/// Sends a file with this line, so many megabytes, and a good line. The long one is never in this process either.
async fn send_long_line(world: &World, first: &str, megabytes: usize, last: &str) -> String {
    let (first, last) = (format!("{first}\n{{\"custom_id\": \""), format!("\"}}\n{last}"));
    let empty = form(&[("purpose", None, b"batch"), ("file", Some("long.jsonl"), b"")]);
    let (begin, end) = empty.split_at(empty.len() - "\r\n--b0--\r\n".len());
    let length = empty.len() + first.len() + last.len() + (megabytes << 20);
    let mut connection = TcpStream::connect(world.address()).await.unwrap();
    let head = head(world, world.key(), u64::try_from(length).unwrap());
    for bytes in [head.as_bytes(), begin, first.as_bytes()] {
        connection.write_all(bytes).await.unwrap();
    }
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..megabytes {
        connection.write_all(&piece).await.expect("the gateway takes all of it");
    }
    connection.write_all(last.as_bytes()).await.unwrap();
    connection.write_all(end).await.unwrap();
    let file = read(&mut connection).await;
    assert_eq!(file.status, 200, "{}", file.raw());
    file.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_line_of_many_megabytes_is_named_and_never_held_and_the_others_run() {
    let mut world = World::setup().env("PENSTOCK_FILES_MAX_BYTES", "1100MB").start().await;
    world.upstream("alpha").answers("hello").always();
    // What is loaded with the first batch is there.
    let file = upload(&world, line("warm", "alpha/m")).await;
    over(&world, &begun(&world, &file).await).await;
    let before = peak_of(world.up().pid());
    let megabytes = soak("PENSTOCK_SOAK_LINE_MB", 80);
    let file = send_long_line(&world, &line("a", "alpha/m"), megabytes, &line("c", "alpha/m")).await;
    let batch = over(&world, &begun(&world, &file).await).await;
    assert_eq!(batch["request_counts"], json!({ "total": 3, "completed": 2, "failed": 1 }), "{batch}");
    let error = &batch["errors"]["data"][0];
    assert_eq!((&error["line"], &error["code"]), (&json!(2), &json!("line_too_long")), "{batch}");
    assert!(error["message"].as_str().unwrap().contains("33554432 bytes ([ingress] body_limit)"), "{error}");
    assert_eq!(names(&results(&world, &batch, "output_file_id").await), ["a", "c"]);
    let held = peak_of(world.up().pid()) - before;
    println!("a line of {megabytes} MB: {} KB more", held >> 10);
    assert!(held < MOST, "{} KB more", held >> 10);
}

#[tokio::test]
async fn a_file_with_more_lines_than_are_allowed_is_refused_with_the_number() {
    let world = World::setup().config("[batch]\nlines = 2\n").start().await;
    let file = upload(&world, [line("a", "alpha/m"), line("b", "alpha/m"), line("c", "alpha/m")].join("\n")).await;
    let batch = over(&world, &begun(&world, &file).await).await;
    assert_eq!(batch["status"], "failed", "{batch}");
    let error = &batch["errors"]["data"][0];
    assert_eq!((&error["code"], &error["line"]), (&json!("too_many_lines"), &Value::Null), "{batch}");
    assert!(error["message"].as_str().unwrap().contains("more than 2 lines ([batch] lines)"), "{error}");
    assert_eq!(world.upstream("alpha").called(), 0);
}
