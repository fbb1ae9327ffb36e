//! The dashboard: its login, what its pages ask for, and each page as a browser shows it.

use http::{Method, StatusCode};
use penstock_tests::{Answer, Ask, Reply, World, checkout, tool, until};
use serde_json::{Value, json};
use std::collections::HashMap;
use tokio::process::Command;

async fn log_in(world: &World, token: &str) -> Answer {
    let ask = world.post("/dashboard/session", &json!({ "token": token })).key("");
    ask.await
}

/// The cookie of an answer, without what the browser is told about it.
fn cookie(answer: &Answer) -> String {
    answer.header("set-cookie").split(';').next().expect("a cookie has a name").to_owned()
}

fn with(world: &World, cookie: &str, path: &str) -> Ask {
    world.get(path).key("").header("cookie", cookie).header("x-penstock-dashboard", "1")
}

async fn token(world: &World, admin: Value) -> String {
    let ask = world.post("/admin/v1/admins", &admin).key(world.admin_key());
    ask.await.json()["key"].as_str().expect("a new admin has a token").to_owned()
}

#[tokio::test]
async fn a_login_stands_for_the_key_until_it_ends_and_no_other_site_can_use_it() {
    let world = World::start().await;
    assert_eq!(log_in(&world, "pak_wrong").await.status, StatusCode::UNAUTHORIZED);
    let begun = log_in(&world, world.admin_key()).await;
    assert_eq!(begun.status, StatusCode::OK, "{}", begun.raw());
    let set = begun.header("set-cookie").to_owned();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && set.contains("Max-Age=43200"), "{set}");
    assert!(!set.contains(world.admin_key()));
    let cookie = cookie(&begun);
    assert_eq!(with(&world, &cookie, "/admin/v1/me").await.json()["role"], "admin");
    assert_eq!(with(&world, &cookie, "/dashboard/session").await.json()["logged_in"], true);
    // What another site can make a browser send has the cookie, and not our header.
    let foreign = world.get("/admin/v1/me").key("").header("cookie", &cookie).await;
    assert_eq!(foreign.status, StatusCode::UNAUTHORIZED);
    // What is kept of it opens nothing.
    assert!(!world.stored().contains(cookie.split('=').nth(1).unwrap()));
    let ended = with(&world, &cookie, "/dashboard/session").method(Method::DELETE).await;
    assert_eq!(ended.status, StatusCode::OK);
    assert_eq!(with(&world, &cookie, "/admin/v1/me").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(with(&world, &cookie, "/dashboard/session").await.json()["logged_in"], false);
}

#[tokio::test]
async fn a_stranger_who_logs_out_leaves_nothing_behind() {
    let world = World::start().await;
    let begun = cookie(&log_in(&world, world.admin_key()).await);
    let before = world.stream_messages("KV_ps_SESSIONS").await;
    for number in 0..20 {
        let ended =
            with(&world, &format!("penstock_session=pds_{number}"), "/dashboard/session").method(Method::DELETE);
        assert_eq!(ended.await.status, StatusCode::OK);
    }
    assert_eq!(world.stream_messages("KV_ps_SESSIONS").await, before);
    assert_eq!(with(&world, &begun, "/dashboard/session").await.json()["logged_in"], true);
}

#[tokio::test]
async fn a_login_ends_with_its_token_and_may_do_what_the_token_may() {
    let world = World::start().await;
    let viewer = token(&world, json!({ "name": "vera", "role": "viewer" })).await;
    let cookie = cookie(&log_in(&world, &viewer).await);
    assert_eq!(with(&world, &cookie, "/admin/v1/keys").await.status, StatusCode::OK);
    let change = with(&world, &cookie, "/admin/v1/projects").method(Method::POST);
    let change = change.header("content-type", "application/json").body(json!({ "name": "x" }).to_string()).await;
    assert_eq!(change.status, StatusCode::FORBIDDEN);
    let gone = world.get("/admin/v1/admins/vera").method(Method::DELETE).key(world.admin_key()).await;
    assert_eq!(gone.status, StatusCode::OK);
    assert_eq!(with(&world, &cookie, "/admin/v1/keys").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_the_pages_ask_for_is_what_sql_says_and_a_projects_owner_gets_its_own_alone() {
    let world = World::start().await;
    for project in ["red", "blue"] {
        let made = world.post("/admin/v1/projects", &json!({ "name": project })).key(world.admin_key()).await;
        assert_eq!(made.status, StatusCode::CREATED);
    }
    let mut keys = HashMap::new();
    for project in ["red", "blue"] {
        let made = world.post("/admin/v1/keys", &json!({ "id": project, "project": project })).key(world.admin_key());
        keys.insert(project, made.await.json()["key"].as_str().unwrap().to_owned());
    }
    world.upstream("alpha").replies(Reply::error(500)).times(1);
    world.upstream("alpha").answers("hello").always();
    for (project, count) in [("red", 3), ("blue", 2)] {
        for _ in 0..count {
            world.ask("alpha/m").key(&keys[project]).await;
        }
    }
    world.sql_until("SELECT * FROM requests", |rows| rows.len() == 5).await;
    let admin = async |path: &str| world.get(path).key(world.admin_key()).await.json();
    let activity = admin("/admin/v1/activity?since=1h").await;
    assert_eq!(activity["total"]["requests"], 5, "{activity}");
    let steps = activity["steps"].as_array().unwrap();
    assert_eq!(steps.iter().map(|step| step["requests"].as_u64().unwrap()).sum::<u64>(), 5);
    let attempts = world.count("SELECT count() FROM attempts").await;
    assert_eq!(activity["total"]["attempts"].as_u64().unwrap(), attempts);
    assert!(activity["total"]["total_p95_us"].as_u64() >= activity["total"]["total_p50_us"].as_u64());
    let slowest = world.count("SELECT max(total_us) FROM requests WHERE outcome = 'served'").await;
    assert!(activity["total"]["total_p95_us"].as_u64() <= Some(slowest), "failures are no answers: {activity}");
    let red = admin("/admin/v1/requests?project=red").await;
    assert_eq!(red["data"].as_array().unwrap().len(), 3);
    let id = red["data"][0]["request_id"].as_str().unwrap().to_owned();

    let owner = token(&world, json!({ "name": "bo", "role": "owner", "projects": ["blue"] })).await;
    let own = async |path: &str| world.get(path).key(&owner).await;
    assert_eq!(own("/admin/v1/activity").await.json()["total"]["requests"], 2);
    assert_eq!(own("/admin/v1/requests").await.json()["data"].as_array().unwrap().len(), 2);
    assert_eq!(own("/admin/v1/requests?project=red").await.json()["data"], json!([]));
    assert_eq!(own(&format!("/admin/v1/requests/{id}")).await.status, StatusCode::NOT_FOUND);
}

const STREAM: &str = "/admin/v1/activity/stream?since=1h";

#[tokio::test]
async fn the_overview_is_told_what_changes_until_its_token_ends() {
    let world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    let viewer = token(&world, json!({ "name": "vera", "role": "viewer" })).await;
    let mut open = world.get(STREAM).key(&viewer).open().await;
    let first = open.until("event: activity").await;
    assert!(!first.contains("\"requests\":1"), "{first}");
    world.ask("alpha/m").await;
    open.until("\"requests\":1").await;
    let gone = world.get("/admin/v1/admins/vera").method(Method::DELETE).key(world.admin_key()).await;
    assert_eq!(gone.status, StatusCode::OK);
    let rest = open.rest().await.raw();
    assert!(rest.ends_with("event: end\ndata: {}\n\n"), "{rest}");
    assert_eq!(world.get(STREAM).key(&viewer).await.status, StatusCode::UNAUTHORIZED);
    let wrong = world.get("/admin/v1/activity/stream?since=yesterday").key(world.admin_key()).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_ingress_has_so_many_live_views_and_refuses_more() {
    let world = World::start().await;
    let mut open = Vec::new();
    for _ in 0..32 {
        let mut view = world.get(STREAM).key(world.admin_key()).open().await;
        view.until("event: activity").await;
        open.push(view);
    }
    let refused = world.get(STREAM).key(world.admin_key()).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.raw());
    open.pop();
    until("the place of a view that is closed to be free", async || {
        let view = world.get(STREAM).key(world.admin_key()).open().await;
        (view.status == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_time_is_refused_by_name() {
    let world = World::start().await;
    let admin = async |path: &str| world.get(path).key(world.admin_key()).await;
    let refused = admin("/admin/v1/activity?since=yesterday").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.message().contains("since"), "{}", refused.message());
    assert_eq!(admin("/admin/v1/activity?until=1d").await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_browser_gets_the_page_and_a_program_what_is_here() {
    let world = World::start().await;
    let page = world.get("/").key("").header("accept", "text/html,application/xhtml+xml").await;
    assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(world.get("/").key("").await.json()["name"], "penstock");
    let script = world.get("/dashboard/assets/app.js").key("").await;
    let tag = script.header("etag").to_owned();
    let again = world.get("/dashboard/assets/app.js").key("").header("if-none-match", &tag).await;
    assert_eq!((script.status, again.status), (StatusCode::OK, StatusCode::NOT_MODIFIED));
    assert_eq!(world.get("/dashboard/assets/x.js").key("").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_browser_walks_every_page() {
    let model =
        |name: &str| format!("[models.{name}]\nstrategy = \"fallback\"\ntargets = [{{ model = \"demo/fast\" }}]\n");
    let arm = |name: &str| format!("{{ name = \"{name}\", percent = \"50%\", targets = [\"demo/fast\"] }}");
    let (pick, arms) = (model("pick"), [arm("control"), arm("other")].join(", "));
    let experiment = format!("{pick}[[experiments]]\nname = \"x\"\nmodel = \"pick\"\narms = [{arms}]\n");
    let kept = format!("{}cache = {{ mode = \"exact\" }}\n", model("kept"));
    let seen = "[bodies]\nkeep = [{ model = \"team\" }]\n\n[checks]\nof = [{ model = \"team\" }]\n";
    let config = format!("{seen}{}{kept}{experiment}", model("team"));
    let world = World::setup().demo().config(&config).start().await;
    let output = Command::new(tool("PENSTOCK_TEST_NODE"))
        .arg(checkout().join("tests/dashboard/walk.mjs"))
        .env("PENSTOCK_URL", world.url())
        .env("PENSTOCK_KEY", world.key())
        .env("PENSTOCK_ADMIN_KEY", world.admin_key())
        .env("CLICKHOUSE_URL", world.run_file()["clickhouse"].as_str().expect("`up` says where ClickHouse is"))
        .env("PENSTOCK_TEST_NODE_MODULES", tool("PENSTOCK_TEST_NODE_MODULES"))
        .env("PENSTOCK_TEST_CHROMIUM", tool("PENSTOCK_TEST_CHROMIUM"))
        .env("SCREENSHOTS", world.folder().path().join("screenshots"))
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.lines().count() >= 50 && said.lines().all(|line| line.starts_with("ok ")), "{said}");
}
