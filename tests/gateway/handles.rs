//! An ingress that may have few file handles, and more sockets than those.

use futures_util::future::join_all;
use penstock_tests::{Gate, Reply, World, address_in, until};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// What it may have, and sockets that want one each.
const HANDLES: u32 = 128;
const SOCKETS: usize = 300;

/// Callers that come at once.
const WAVE: usize = 20;

/// The processor time that a process has used, in hundredths of a second. Source: proc_pid_stat(5).
fn used(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields = stat.rsplit(") ").next().expect("the name is in brackets").split(' ');
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

#[tokio::test]
async fn an_ingress_with_few_file_handles_serves_its_callers_while_more_sockets_than_it_has_are_open() {
    let mut world = World::start().await;
    let (ingress, line) = world.limited_role("ingress", HANDLES).await;
    let address = address_in(&line);
    // Of strangers.
    world.upstream("alpha").answers("hi").times(20);
    let connect = async || TcpStream::connect(&address).await.expect("the system takes connections");
    let strangers = join_all((0..SOCKETS).map(|_| connect())).await;
    for _ in 0..20 {
        assert_eq!(world.ask("alpha/m").at(&address).await.text(), "hi");
    }
    let (begun, before) = (Instant::now(), used(ingress.pid()));
    until("a second to pass", async || (begun.elapsed() > Duration::from_secs(1)).then_some(())).await;
    let spent = used(ingress.pid()) - before;
    assert!(spent < 50, "{spent} hundredths of a second of processor time in a second without work");
    drop(strangers);
    // Of callers, who come in waves: those for which there is no handle wait until others have their answers.
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("held").held(&gate)).always();
    let wave = || join_all((0..WAVE).map(|_| world.ask("alpha/m").at(&address).send()));
    let come_in_waves = async {
        let received = async |waves: usize| world.upstream("alpha").received(20 + waves * WAVE).await;
        let second = async {
            received(1).await;
            wave().await
        };
        let third = async {
            received(2).await;
            wave().await
        };
        let fourth = async {
            received(3).await;
            wave().await
        };
        let open_the_gate = async {
            // As many as connections may be at once.
            world.upstream("alpha").received(20 + HANDLES as usize / 2).await;
            gate.open();
        };
        let (one, two, three, four, ()) = tokio::join!(wave(), second, third, fourth, open_the_gate);
        [one, two, three, four].concat()
    };
    let answers = come_in_waves.await;
    assert!(answers.iter().all(|answer| answer.text() == "held"));
    assert_eq!(world.attempts(20 + 4 * WAVE).await.len(), 20 + 4 * WAVE);
    assert!(world.logs().contains("there are too few file handles for [ingress] connections"));
}
