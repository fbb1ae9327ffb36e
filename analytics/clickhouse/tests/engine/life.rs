//! Start and end: what is kept, what is refused, what is said.

use crate::world::{World, command, fresh_folder};
use std::process::{Command, Output, Stdio};

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "it started");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_clean_stop_keeps_the_rows_and_the_folder_can_be_used_again() {
    let data = fresh_folder("stopped");
    let world = World::start(&data);
    world.ok("CREATE DATABASE d").await;
    world.ok("CREATE TABLE d.t (a UInt64) ENGINE = MergeTree ORDER BY a").await;
    world.ok("INSERT INTO d.t SELECT number FROM numbers(1000)").await;
    assert!(world.stop().success());
    let world = World::start(&data);
    assert_eq!(world.ok("SELECT count(), sum(a) FROM d.t").await, "1000\t499500");
    assert!(world.stop().success());
}

#[tokio::test]
async fn a_statement_that_does_not_end_is_killed_at_the_stop() {
    let world = World::start(&fresh_folder("drained"));
    let endless = world.ask("SELECT sum(sipHash64(number)) FROM numbers(1000000000000) WHERE 'endless' != ''");
    tokio::select! {
        answer = endless => panic!("{}", answer.text()),
        () = world.running("endless", 1) => {}
    }
    assert!(world.stop().success());
}

#[tokio::test]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let data = fresh_folder("killed");
    let world = World::start(&data);
    world.ok("CREATE DATABASE d").await;
    world.ok("CREATE TABLE d.t (batch UInt64, a UInt64) ENGINE = MergeTree ORDER BY (batch, a)").await;
    let mut acknowledged = 0;
    while acknowledged < 40 {
        world.ok(&format!("INSERT INTO d.t SELECT {acknowledged}, number FROM numbers(500)")).await;
        acknowledged += 1;
    }
    let last = String::from("INSERT INTO d.t SELECT 1000, number FROM numbers(50000000) SETTINGS max_threads = 1");
    tokio::select! {
        answer = world.ask(last) => panic!("too early: {}", answer.text()),
        () = world.running("50000000", 1) => {}
    }
    world.kill();
    let world = World::start(&data);
    let found = world.ok("SELECT count(), uniqExact(batch, a) FROM d.t WHERE batch < 1000").await;
    assert_eq!(found, format!("{0}\t{0}", acknowledged * 500));
    assert!(world.stop().success());
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_told_who_has_it() {
    let data = fresh_folder("twice");
    let world = World::start(&data);
    let told = refused(&command(&data).stdin(Stdio::null()).output().expect("run"));
    assert!(told.contains("is in use by process "), "{told}");
    assert!(world.stop().success());
}

#[test]
fn what_is_missing_or_unsafe_is_named_with_the_next_step() {
    let data = fresh_folder("refused");
    let run = |change: fn(&mut Command) -> &mut Command| {
        let mut command = command(&data);
        change(command.stdin(Stdio::null()));
        refused(&command.output().expect("run"))
    };
    let missing = run(|command| command.env("PENSTOCK_CHDB", "/nowhere/libchdb.so"));
    assert!(
        missing.contains("engine not installed: run deploy/setup, or point [clickhouse] url at a server"),
        "{missing}"
    );
    let broken = run(|command| command.env("PENSTOCK_CHDB", file!()));
    assert!(broken.contains("deploy/setup"), "{broken}");
    let open = run(|command| command.arg("0.0.0.0:0"));
    assert!(open.contains("loopback only"), "{open}");
    let short = run(|command| command.env("PENSTOCK_CLICKHOUSE_TOKEN", "short"));
    assert!(short.contains("16 characters"), "{short}");
}
