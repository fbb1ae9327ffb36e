//! Single requests and sessions: shown whole from the ledger, followed while they end, and never to those of another project.

use http::Method;
use penstock_tests::{Answer, Part, Reply, World, is_running, until, words};
use serde_json::{Value, json};

/// A token of the admin API for the owner of these projects.
async fn owner(world: &World, projects: Value) -> String {
    let body = json!({ "name": "own", "role": "owner", "projects": projects });
    let made = world.post("/admin/v1/admins", &body).key(world.admin_key()).await;
    let token = made.json()["key"].as_str().unwrap_or_else(|| panic!("{}", made.raw())).to_owned();
    until("the token to be known", async || {
        (world.get("/admin/v1/projects").key(&token).await.status == 200).then_some(())
    })
    .await;
    token
}

/// What the admin API answers to who has this token.
async fn get(world: &World, path: &str, token: &str) -> Answer {
    world.get(path).key(token).await
}

#[tokio::test]
async fn a_request_is_shown_whole_to_who_may_see_it_and_to_nobody_else() {
    let world = World::start().await;
    world.upstream("alpha").fails(503).always();
    world.upstream("beta").answers("hello");
    let answer = world.ask("fast").header("x-penstock-session", "run-7").await;
    let id = answer.header("x-penstock-request-id").to_owned();
    world.requests(1).await;
    world.attempts(4).await;
    let shown = world.tool(&["show", &id]).await;
    assert_eq!((&shown["request"]["request_id"], &shown["request"]["session"]), (&json!(id), &json!("run-7")));
    let attempts = shown["attempts"].as_array().expect("it has attempts");
    let numbers: Vec<(&Value, &Value)> = attempts.iter().map(|row| (&row["number"], &row["outcome"])).collect();
    let (refused, served) = (json!("refused"), json!("served"));
    let expected = [(json!(1), &refused), (json!(2), &refused), (json!(3), &refused), (json!(4), &served)];
    assert_eq!(numbers, expected.iter().map(|(number, outcome)| (number, *outcome)).collect::<Vec<_>>());
    let stages = shown["request"]["stages"].as_object().expect("it has stages");
    let sum: u64 = stages.values().filter_map(Value::as_u64).sum();
    assert_eq!(json!(sum), shown["request"]["total_us"], "{stages:?}");
    assert!(stages.contains_key("dispatch") && stages.contains_key("answer"), "{stages:?}");
    let table = world.run(&["show", &id]).await.out;
    assert!(table.contains("overloaded") && table.contains("dispatch") && table.contains("run-7"), "{table}");
    let path = format!("/admin/v1/requests/{id}");
    assert_eq!(get(&world, &path, world.admin_key()).await.json(), shown);
    let (own, other) = (owner(&world, json!(["default"])).await, "nothing");
    assert_eq!(get(&world, &path, &own).await.json(), shown);
    assert_eq!(get(&world, &path, other).await.status, 401);
    let missing = get(&world, "/admin/v1/requests/01a222d1-8382-77a6-b3ca-063153e2659f", &own).await;
    assert_eq!(missing.error(), "404 invalid_request_error not_found");
}

#[tokio::test]
async fn an_owner_sees_neither_the_requests_nor_the_sessions_of_another_project() {
    let world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    let made = world.tool(&["keys", "create", "--project", "other"]).await;
    let key = made["key"].as_str().expect("a new key is shown").to_owned();
    let is_known = async || (world.get("/v1/models").key(&key).await.status == 200).then_some(());
    until("the new key to be known", is_known).await;
    let hostile = "x' OR 1 = 1 --";
    for (session, key) in
        [("mine", world.key()), ("theirs", &*key), ("shared", world.key()), ("shared", &*key), (hostile, &*key)]
    {
        let answer = world.ask("alpha/m").key(key).header("x-penstock-session", session).await;
        assert_eq!(answer.text(), "hello");
    }
    world.requests(5).await;
    let own = owner(&world, json!(["default"])).await;
    let names = async |token: &str| -> Vec<Value> {
        let listed = get(&world, "/admin/v1/sessions", token).await.json();
        let mut names: Vec<Value> =
            listed["data"].as_array().expect("a list").iter().map(|row| row["session"].clone()).collect();
        names.sort_by_key(ToString::to_string);
        names
    };
    assert_eq!(names(&own).await, ["mine", "shared"]);
    assert_eq!(names(world.admin_key()).await, ["mine", "shared", "shared", "theirs", hostile]);
    for (path, status) in [
        ("/admin/v1/sessions/mine", 200),
        ("/admin/v1/sessions/theirs", 404),
        ("/admin/v1/sessions/x%27%20OR%201%20%3D%201%20--", 404),
    ] {
        assert_eq!(get(&world, path, &own).await.status, status, "{path}");
    }
    let shared = get(&world, "/admin/v1/sessions/shared", &own).await.json();
    assert_eq!((&shared["session"]["project"], &shared["session"]["requests"]), (&json!("default"), &json!(1)));
    let listed = get(&world, "/admin/v1/requests?project=other", &own).await.json();
    assert_eq!(listed["data"], json!([]));
    let listed = get(&world, "/admin/v1/requests", &own).await.json();
    let projects: Vec<&Value> = listed["data"].as_array().expect("a list").iter().map(|row| &row["project"]).collect();
    assert_eq!(projects, ["default", "default"]);
}

/// A world with five requests of three sessions, one of which failed.
async fn five_requests() -> World {
    let world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    world.upstream("beta").fails(400).always();
    for (model, user, session) in [
        ("alpha/m", "ann", "one"),
        ("beta/m", "ann", "one"),
        ("alpha/m", "bob", "two"),
        ("alpha/n", "it's", "two"),
        ("fast", "bob", "three"),
    ] {
        world.ask(model).header("x-penstock-user", user).header("x-penstock-session", session).await;
    }
    world.requests(5).await;
    world
}

async fn list(world: &World, what: &str) -> Value {
    let answer = get(world, &format!("/admin/v1/{what}"), world.admin_key()).await;
    assert_eq!(answer.status, 200, "{what}: {}", answer.raw());
    answer.json()
}

#[tokio::test]
async fn a_list_is_filtered_by_all_that_its_rows_have() {
    let world = five_requests().await;
    for (query, found) in [
        ("user=bob", 2),
        ("user=it%27s", 1),
        ("user=b%25", 0),
        ("session=one", 2),
        ("session=one&user=bob", 0),
        ("target=alpha/m", 3),
        ("model=alpha/m", 3),
        ("model=fast", 1),
        ("target=fast", 0),
        ("status=400", 1),
        ("status=4xx", 1),
        ("status=2xx", 4),
        ("failure=bad_request", 1),
        ("key_id=none", 0),
        ("project=default&failure=any&user=ann", 1),
        ("until=2020-01-01&since=2019-01-01", 0),
    ] {
        let rows = list(&world, &format!("requests?{query}")).await["data"].as_array().map(Vec::len);
        assert_eq!(rows, Some(found), "{query}");
    }
    assert_eq!(list(&world, "sessions?user=ann").await["data"][0]["session"], "one");
    for (query, status) in [
        ("limit=0", 400),
        ("limit=1001", 400),
        ("limit=", 400),
        ("status=700", 400),
        ("after=x", 400),
        ("after=1.x", 400),
        ("since=1h&until=2020-01-01", 422),
    ] {
        let answer = get(&world, &format!("/admin/v1/requests?{query}"), world.admin_key()).await;
        assert_eq!(answer.status, status, "{query}");
    }
}

#[tokio::test]
async fn a_list_is_turned_page_by_page_without_a_row_lost_or_told_twice() {
    let world = five_requests().await;
    let all = list(&world, "requests").await;
    assert_eq!((&all["has_more"], &all["next"]), (&json!(false), &Value::Null));
    for (path, id) in [("requests", "request_id"), ("sessions", "session")] {
        let ids = |page: &Value| -> Vec<Value> {
            page["data"].as_array().expect("a list").iter().map(|row| row[id].clone()).collect()
        };
        let (mut turned, mut after) = (Vec::new(), String::new());
        loop {
            let page = list(&world, &format!("{path}?limit=2{after}")).await;
            let rows = ids(&page);
            assert!(rows.len() <= 2, "{page}");
            turned.extend(rows);
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!(turned, ids(&list(&world, path).await), "{path}");
    }
}

#[tokio::test]
async fn the_calls_of_a_session_are_told_in_their_order_with_what_they_came_to() {
    let world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    let first = world.ask("alpha/m").field("prompt_cache_key", json!("task")).await;
    let second = world.ask("alpha/m").field("prompt_cache_key", json!("task")).await;
    world.ask("alpha/m").await;
    world.requests(3).await;
    world.attempts(3).await;
    let shown = world.tool(&["sessions", "task"]).await;
    let ids: Vec<&str> =
        shown["requests"].as_array().expect("a list").iter().filter_map(|row| row["request_id"].as_str()).collect();
    assert_eq!(ids, [first.header("x-penstock-request-id"), second.header("x-penstock-request-id")]);
    let session = &shown["session"];
    assert_eq!((&session["requests"], &session["source"]), (&json!(2), &json!("prompt_cache_key")));
    assert_eq!((&session["input_tokens"], &session["output_tokens"]), (&json!(20), &json!(10)), "{session}");
    let listed = world.tool(&["sessions"]).await;
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
}

/// An answer of a copy of OpenAI that calls these tools; whole, or as chunks of which each begins one.
fn calls(names: &[&str]) -> [Reply; 2] {
    let call = |(index, name): (usize, &&str)| json!({"index": index, "id": format!("call_{index}"), "type": "function", "function": {"name": name, "arguments": "{}"}});
    let calls: Vec<Value> = names.iter().enumerate().map(call).collect();
    let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
    let whole = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}});
    let chunk = |call: &Value| {
        words::event(&json!({"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}).to_string(), "null")
    };
    let last = words::event(r#"{"index":0,"delta":{},"finish_reason":"tool_calls"}"#, "null");
    let begun = [words::role(), words::content("I look.")].into_iter();
    let parts = begun.chain(calls.iter().map(chunk)).chain([last, words::usage(), words::DONE.to_owned()]);
    [Reply::whole(200, whole.to_string()), Reply::stream(parts)]
}

#[tokio::test]
async fn the_tools_that_answers_ask_for_stand_in_the_ledger_by_the_callers_names() {
    let world = World::start().await;
    // Longer than this provider takes: it is sent otherwise, and is the caller's in the ledger all the same.
    let long = format!("mcp.{}", "x".repeat(90));
    let tools = json!([{"name": "search", "input_schema": {"type": "object"}}, {"name": long, "input_schema": {"type": "object"}}]);
    let ask = |is_stream: bool| {
        let user = json!({"role": "user", "content": "Hi"});
        let body =
            json!({"model": "alpha/m", "max_tokens": 9, "tools": tools, "messages": [user], "stream": is_stream});
        let ask = world.ask("alpha/m").path("/v1/messages").header("anthropic-version", "2023-06-01");
        ask.header("x-penstock-session", "task").body(body.to_string())
    };
    world.upstream("alpha").answers("no tool").once();
    assert_eq!(ask(false).await.status, 200);
    let sent = world.upstream("alpha").received(1).await.json();
    let renamed = sent["tools"][1]["function"]["name"].as_str().expect("a tool has a name").to_owned();
    assert_ne!(renamed, long);
    let [whole, streamed] = calls(&["search", &renamed, "search"]);
    world.upstream("alpha").replies(whole).once();
    assert_eq!(ask(false).await.status, 200);
    world.upstream("alpha").replies(streamed).once();
    assert_eq!(ask(true).await.status, 200);
    let [whole, streamed] = calls(&["read"]);
    world.upstream("alpha").replies(streamed).once();
    let last = world.ask("alpha/m").stream().header("x-penstock-session", "task").await;
    world.upstream("alpha").replies(whole).once();
    world.ask("alpha/m").header("x-penstock-session", "task").await;
    world.requests(5).await;
    world.attempts(5).await;
    let rows = world.sql("SELECT tools, system_fingerprint FROM attempts ORDER BY started_at").await;
    let both = json!(["search", long]);
    let expected = [json!([]), both.clone(), both.clone(), json!(["read"]), json!(["read"])];
    assert_eq!(rows.iter().map(|row| row["tools"].clone()).collect::<Vec<_>>(), expected, "{rows:?}");
    let fingerprints: Vec<&Value> = rows.iter().map(|row| &row["system_fingerprint"]).collect();
    assert_eq!((fingerprints[1], fingerprints[4]), (&json!("fp_1"), &json!("fp_1")));
    let shown = get(&world, "/admin/v1/sessions/task", world.admin_key()).await.json();
    let asked: Vec<Value> =
        shown["requests"].as_array().expect("a list").iter().map(|row| row["tools"].clone()).collect();
    let sorted = |names: &Value| {
        let mut names: Vec<&str> = names.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        names.sort_unstable();
        json!(names)
    };
    assert_eq!(asked, expected.iter().map(sorted).collect::<Vec<_>>());
    assert_eq!(shown["session"]["tools"], sorted(&json!(["read", "search", long])));
    let table = world.run(&["show", last.header("x-penstock-request-id")]).await.out;
    assert!(table.contains("tools") && table.contains("read"), "{table}");
}

#[tokio::test]
async fn a_session_that_is_stopped_ends_what_is_in_flight_and_begins_nothing_more() {
    let world = World::start().await;
    let parts = [words::role().into(), words::content("one ").into(), Part::Silence];
    world.upstream("alpha").replies(Reply::stream(parts)).once();
    world.upstream("alpha").answers("hello").always();
    let ask = |session: &str| world.ask("alpha/m").header("x-penstock-session", session);
    let mut stream = ask("wild").stream().open().await;
    stream.until("one ").await;
    let stop = |verb: &str, token: &str| {
        world.get(&format!("/admin/v1/sessions/wild/{verb}?project=default")).method(Method::POST).key(token)
    };
    let stranger = owner(&world, json!(["other"])).await;
    assert_eq!(stop("stop", &stranger).await.status, 403);
    let stopped = stop("stop", world.admin_key()).await;
    assert_eq!(stopped.status, 200, "{}", stopped.raw());
    let rest = stream.rest().await;
    assert!(rest.events().last().expect("an event")["error"]["message"].as_str().expect("why").contains("wild"));
    until("the session to be refused", async || (ask("wild").await.status == 403).then_some(())).await;
    assert_eq!(ask("tame").await.text(), "hello");
    world.sql_until("SELECT * FROM requests WHERE failure = 'revoked'", |rows| rows.len() == 1).await;
    let shown = get(&world, "/admin/v1/sessions/wild", world.admin_key()).await.json();
    assert!(shown["session"]["stopped_until"].is_string(), "{shown}");
    assert_eq!(stop("resume", world.admin_key()).await.status, 200);
    until("the session to go on", async || (ask("wild").await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn responses_that_go_on_from_each_other_are_one_session() {
    let world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    let first = world.post("/v1/responses", &json!({ "model": "alpha/m", "input": "a" })).await.json();
    let id = first["id"].as_str().unwrap_or_else(|| panic!("{first}")).to_owned();
    let second = json!({ "model": "alpha/m", "input": "b", "previous_response_id": id });
    let second = world.post("/v1/responses", &second).await.json();
    let third = json!({ "model": "alpha/m", "input": "c", "previous_response_id": second["id"] });
    assert_eq!(world.post("/v1/responses", &third).await.status, 200);
    let rows = world.sql_until("SELECT DISTINCT session, session_source FROM requests", |rows| !rows.is_empty()).await;
    world.requests(3).await;
    assert_eq!(rows, [json!({ "session": id, "session_source": "response" })]);
}

#[tokio::test]
async fn requests_are_followed_while_they_end() {
    let mut world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    world.upstream("beta").fails(400).always();
    let mut tail = world.begin_tool(&["tail", "--failure", "any", "--count", "1", "--format", "json"]);
    until("the first line", async || {
        assert_eq!(world.ask("alpha/m").await.status, 200);
        assert_eq!(world.ask("beta/m").await.status, 400);
        (!is_running(tail.pid())).then_some(())
    })
    .await;
    assert!(tail.ended().await.success());
    let line = tail.says("\"outcome\"").await;
    assert!(line.contains("\"beta/m\"") && line.contains("bad_request") && !line.contains("alpha/m"), "{line}");
}

#[tokio::test]
async fn an_answer_is_scored_by_keys_of_its_project_and_by_those_who_manage_it() {
    let world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    let answer = world.ask("alpha/m").await;
    let id = answer.header("x-penstock-request-id").to_owned();
    let made = world.tool(&["keys", "create", "--project", "other"]).await;
    let stranger = made["key"].as_str().expect("a new key is shown").to_owned();
    let is_known = async || (world.get("/v1/models").key(&stranger).await.status == 200).then_some(());
    until("the new key to be known", is_known).await;
    let score = |name: &str, value: Value| {
        let body = json!({ "request_id": id, "name": name, "value": value, "comment": "it's \"right\"" });
        world.post("/v1/feedback", &body)
    };
    // Those who manage are believed of no request that the ledger does not have.
    world.sql_until("SELECT * FROM requests", |rows| rows.len() == 1).await;
    let own = owner(&world, json!(["default"])).await;
    for (ask, status) in [
        (score("thumbs_up", json!(false)), 200),
        (score("thumbs_up", json!(true)), 200),
        (score("rating", json!(0.5)).key(&own), 200),
        (score("kind", json!("praise")).key(world.admin_key()), 200),
        (score("thumbs_up", json!(null)), 400),
        (score("no name", json!(1)), 400),
        (score("thumbs_up", json!(1)).key("psk_0123456789abcdef0123"), 401),
        (world.post("/v1/feedback", &json!({ "request_id": "x", "name": "a", "value": 1 })), 404),
    ] {
        let answer = ask.await;
        assert_eq!(answer.status, status, "{}", answer.raw());
    }
    // A stranger's word about a request that is as young as this one stands in the stranger's own project.
    assert!([200, 404].contains(&score("thumbs_up", json!(false)).key(&stranger).await.status.as_u16()));
    let statement = "SELECT name, number, text, source FROM scores WHERE project = 'default' ORDER BY name";
    let expected = [
        json!({ "name": "kind", "number": Value::Null, "text": "praise", "source": "admin" }),
        json!({ "name": "rating", "number": 0.5, "text": Value::Null, "source": "admin" }),
        json!({ "name": "thumbs_up", "number": 1, "text": Value::Null, "source": "key" }),
    ];
    world.sql_until(statement, |rows| rows == expected).await;
    let shown = world.tool(&["show", &id]).await;
    let of_project = shown["scores"].as_array().expect("a list").iter().filter(|score| score["project"] == "default");
    assert_eq!(of_project.count(), 3, "{shown}");
    let seen = get(&world, &format!("/admin/v1/requests/{id}"), &own).await.json();
    assert_eq!(seen["scores"].as_array().map(Vec::len), Some(3), "{seen}");
}

#[tokio::test]
async fn an_answer_that_was_refused_cut_or_empty_is_told_by_its_providers_own_word() {
    let world = World::start().await;
    for reason in ["stop", "content_filter", "length"] {
        let whole = words::whole("hello").replace("\"stop\"", &format!("\"{reason}\""));
        world.upstream("alpha").replies(Reply::whole(200, whole)).once();
        assert_eq!(world.ask("alpha/m").await.status, 200);
    }
    let statement = "SELECT is_refused, is_cut, is_empty FROM answer_checks ORDER BY started_at";
    let row = |refused: bool, cut: bool| json!({ "is_refused": refused, "is_cut": cut, "is_empty": false });
    let expected = [row(false, false), row(true, false), row(false, true)];
    world.sql_until(statement, |rows| rows == expected).await;
}
