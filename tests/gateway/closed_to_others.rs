//! What others on the machine and on the network may read of a running instance: the data folder, the first key, metrics and
//! the description of the API.

use http::Method;
use penstock_tests::{Answer, Upstream, World, penstock, until};
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::process::Command;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// Everything below a folder that others may read, write or enter.
fn open_below(folder: &Path) -> Vec<String> {
    let mut open = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        // Both servers remove files while they run.
        let Some(metadata) = entry.metadata().ok().filter(|found| !found.is_symlink()) else { continue };
        if metadata.permissions().mode() & 0o077 != 0 {
            open.push(entry.path().display().to_string());
        }
        if metadata.is_dir() {
            open.extend(open_below(&entry.path()));
        }
    }
    open
}

#[tokio::test]
async fn the_data_folder_is_its_owners_alone_and_is_closed_where_an_earlier_version_left_it_open() {
    let mut world = World::start().await;
    assert_eq!(world.ask("fast").await.text(), "hello");
    world.attempts(1).await;
    let data = world.folder().path().join("data");
    assert_eq!((mode(&data), open_below(&data)), (0o700, Vec::new()));

    world.terminate();
    world.up().ended().await;
    for place in [data.clone(), data.join("clickhouse"), data.join("nats"), data.join("nats.conf"), data.join("key")] {
        fs::set_permissions(place, Permissions::from_mode(0o755)).expect("a folder of the test's own");
    }
    world.again().await;
    assert_eq!((mode(&data), open_below(&data)), (0o700, Vec::new()));
    assert!(world.logs().contains("it was open to others"), "{}", world.logs());
}

#[tokio::test]
async fn a_folder_of_something_else_that_is_open_to_others_is_refused_and_left_as_it_is() {
    let world = World::start().await;
    let folder = world.folder().path().join("shared");
    fs::create_dir(&folder).expect("a new folder");
    fs::write(folder.join("notes.txt"), "mine").expect("a new file");
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("a folder of the test's own");
    let mut command = Command::new(penstock());
    command.args(["up", "--listen", "127.0.0.1:0", "--data"]).arg(&folder);
    let output = command.output().await.expect("penstock can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("open to others (mode 755)"), "{said}");
    assert_eq!(mode(&folder), 0o755);
}

#[tokio::test]
async fn the_first_key_is_printed_when_it_is_made_and_later_only_where_it_stands() {
    let mut world = World::start().await;
    let key = world.key().to_owned();
    assert!(world.ready_line().ends_with(&key), "{}", world.ready_line());
    world.terminate();
    world.up().ended().await;
    world.again().await;
    assert_eq!(world.ask("fast").key(&key).await.status, 200);
    let kept = world.folder().path().join("data/key").display().to_string();
    assert!(!world.ready_line().contains(&key) && world.ready_line().contains(&kept), "{}", world.ready_line());
}

async fn metrics(world: &World, key: &str) -> Answer {
    world.get("/metrics").header("authorization", &format!("Bearer {key}")).await
}

#[tokio::test]
async fn metrics_are_for_who_has_an_admin_key_and_the_description_for_who_has_any() {
    let world = World::start().await;
    let viewer = json!({ "name": "eve", "role": "viewer" }).to_string();
    let ask = world.get("/admin/v1/admins").method(Method::POST).key(world.admin_key());
    let made = ask.header("content-type", "application/json").body(viewer).await.json();
    let viewer = made["key"].as_str().expect("a new admin has a token").to_owned();
    until("the token to be known", async || (metrics(&world, &viewer).await.status == 200).then_some(())).await;
    assert_eq!(metrics(&world, world.admin_key()).await.status, 200);
    for (path, key) in [("/metrics", ""), ("/metrics", world.key()), ("/metrics", "pak_x"), ("/openapi.json", "psk_x")]
    {
        let answer = world.get(path).header("authorization", &format!("Bearer {key}")).await;
        assert_eq!(answer.status, 401, "{path} {key}");
        assert!(!answer.raw().contains("penstock_"), "{}", answer.raw());
    }
    assert_eq!(world.get("/openapi.json").await.status, 401);
    for key in [world.key(), world.admin_key(), &viewer] {
        assert_eq!(world.get("/openapi.json").key(key).await.status, 200);
    }
}

#[tokio::test]
async fn metrics_can_be_open_or_stand_at_an_address_of_their_own() {
    let open = World::setup().env("PENSTOCK_INGRESS_METRICS", "open").start().await;
    assert_eq!((open.get("/metrics").await.status, open.get("/openapi.json").await.status).0, 200);
    let url = Upstream::nowhere();
    let address = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/v1")).expect("an address");
    let apart = World::setup().env("PENSTOCK_INGRESS_METRICS", address).start().await;
    let there = apart.get("/metrics").at(address).await;
    assert!(there.raw().contains("# EOF"), "{}", there.raw());
    assert_eq!(apart.get("/v1/models").at(address).key(apart.key()).await.status, 404);
    assert_eq!(apart.get("/metrics").key(apart.admin_key()).await.status, 404);
}
