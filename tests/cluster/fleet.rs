//! Two of every role on a cluster of three nats-servers, and what may happen to them under load. Counts nothing.

use crate::callers::Balancer;
use penstock_tests::{NatsCluster, Process, World};
use std::time::Duration;
use tokio::time::sleep;

/// How long a server stays dead or cut off: an election takes 4 to 9 s.
const AWAY: Duration = Duration::from_secs(4);

/// How long it stays cut off: the others and its clients must notice that it does not answer.
const CUT_OFF: Duration = Duration::from_secs(15);

/// What everything gets to be whole again before the next happens: a server that is back must have caught up.
const BACK: Duration = Duration::from_secs(8);

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Incident {
    /// kill -9 of the server that leads the ledger's stream.
    LeaderDies,
    /// kill -9 of a server.
    ServerDies,
    /// A server answers nobody any more, and keeps its connections, as one behind a cut network does; then it is back.
    ServerCutOff,
    /// kill -9 of a worker.
    WorkerDies,
    /// kill -9 of an ingress.
    IngressDies,
    /// kill -9 of an analytics.
    AnalyticsDies,
    /// One server after the other is stopped and started again.
    ServersRestart,
    /// Each process of Penstock is replaced by a new one and then stopped, as an upgrade does.
    RolesRestart,
}

/// All of them, in the order of the long run.
pub(crate) const INCIDENTS: [Incident; 8] = [
    Incident::LeaderDies,
    Incident::WorkerDies,
    Incident::IngressDies,
    Incident::ServerCutOff,
    Incident::AnalyticsDies,
    Incident::RolesRestart,
    Incident::ServerDies,
    Incident::ServersRestart,
];

/// The short run's: with the others it takes minutes.
pub(crate) const SHORT: [Incident; 4] =
    [Incident::LeaderDies, Incident::WorkerDies, Incident::IngressDies, Incident::RolesRestart];

/// The fleet. Beside it runs `up`, whose ClickHouse it uses.
pub(crate) struct Fleet<'a> {
    pub(crate) cluster: NatsCluster,
    pub(crate) world: World,
    balancer: &'a Balancer,
    ingresses: Vec<Process>,
    workers: Vec<Process>,
    analytics: Vec<Process>,
    turn: usize,
}

impl<'a> Fleet<'a> {
    /// Starts it, and waits until all are ready.
    pub(crate) async fn start(balancer: &'a Balancer) -> Self {
        let cluster = NatsCluster::start();
        let world = crate::world(&cluster).await;
        let (ingresses, workers, analytics) = (Vec::new(), Vec::new(), Vec::new());
        let mut fleet = Self { cluster, world, balancer, ingresses, workers, analytics, turn: 0 };
        for _ in 0..2 {
            fleet.ingresses.push(fleet.world.begin_role("ingress"));
            fleet.workers.push(fleet.world.begin_role("worker"));
            fleet.analytics.push(fleet.world.begin_role("analytics"));
        }
        for (at, ingress) in fleet.ingresses.iter_mut().enumerate() {
            let line = ingress.says("ready").await;
            fleet.balancer.set(at, Some(address(&line)));
        }
        for role in fleet.workers.iter_mut().chain(&mut fleet.analytics) {
            role.says("ready").await;
        }
        fleet
    }

    /// A new ingress at this place; callers go to it from now on.
    async fn ingress(&mut self, at: usize) -> Process {
        let (process, line) = self.world.role("ingress").await;
        self.balancer.set(at, Some(address(&line)));
        process
    }
    /// Lets it happen, and waits until everything should be whole again.
    pub(crate) async fn suffers(&mut self, event: Incident) {
        self.turn += 1;
        let (one, server) = (self.turn % 2, self.turn % 3);
        match event {
            Incident::LeaderDies => {
                let leader = self.cluster.leader("ps_USAGE").await;
                self.server_dies(leader).await;
            }
            Incident::ServerDies => self.server_dies(server).await,
            Incident::ServerCutOff => {
                self.cluster.freeze(server);
                sleep(CUT_OFF).await;
                self.cluster.thaw(server);
            }
            Incident::WorkerDies => {
                end(&mut self.workers[one]).await;
                self.workers[one] = self.world.worker().await;
            }
            Incident::AnalyticsDies => {
                end(&mut self.analytics[one]).await;
                self.analytics[one] = self.world.role("analytics").await.0;
            }
            Incident::IngressDies => {
                self.ingresses[one].kill();
                self.balancer.set(one, None);
                self.ingresses[one].ended().await;
                self.ingresses[one] = self.ingress(one).await;
            }
            Incident::ServersRestart => {
                for server in 0..3 {
                    self.cluster.stop(server).await;
                    self.cluster.revive(server);
                    sleep(BACK).await;
                }
            }
            Incident::RolesRestart => self.roles_restart().await,
        }
        sleep(BACK).await;
    }

    async fn server_dies(&mut self, server: usize) {
        self.cluster.kill(server).await;
        sleep(AWAY).await;
        self.cluster.revive(server);
    }

    async fn roles_restart(&mut self) {
        for at in 0..2 {
            let new = self.ingress(at).await;
            stop(std::mem::replace(&mut self.ingresses[at], new)).await;
            let new = self.world.worker().await;
            stop(std::mem::replace(&mut self.workers[at], new)).await;
            let new = self.world.role("analytics").await.0;
            stop(std::mem::replace(&mut self.analytics[at], new)).await;
        }
    }
}

/// Where an ingress is, by the line in which it says that it is ready.
fn address(line: &str) -> String {
    let rest = line.split("\"address\":\"").nth(1).expect("an ingress says where it is");
    rest.split('"').next().unwrap_or_default().to_owned()
}

async fn end(process: &mut Process) {
    process.kill();
    process.ended().await;
}

async fn stop(mut process: Process) {
    process.terminate();
    let status = process.ended().await;
    assert_eq!(status.code(), Some(0), "it stops cleanly: {}", process.tail());
}
