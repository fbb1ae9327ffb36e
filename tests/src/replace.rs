//! Kills a part of a world and waits for another one in its place. Knows nothing of what else goes on meanwhile.

use crate::process::{Process, is_running};
use crate::wait::until;
use crate::world::World;

impl World {
    /// Kills a role that runs by itself, and starts another one; waits until that one is ready.
    pub async fn replace(&mut self, process: &mut Process, role: &str) {
        process.kill();
        process.ended().await;
        *process = self.role(role).await.0;
    }

    /// Kills the child of `up` that has `words` in its command line, and waits until `up` has started another one.
    ///
    /// # Panics
    /// When there is no such child, or none is started again.
    pub async fn replace_child(&mut self, words: &str) {
        let dead = self.up().kill_child(words);
        until("it to be dead", async || (!is_running(dead)).then_some(())).await;
        until(&format!("{words} to run again"), async || {
            let children = self.up().children();
            children.iter().any(|(pid, command)| *pid != dead && command.contains(words)).then_some(())
        })
        .await;
    }

    /// Kills `up`, its nats-server and its ClickHouse with it, and starts it again on the same folder.
    pub async fn replace_up(&mut self) {
        self.crash().await;
        self.again().await;
    }

    /// Waits until the gateway says that it is ready; it may be gone before that.
    pub async fn is_ready_again(&self) {
        let ready = self.get("/ready");
        let is_ready = async || ready.clone().try_send().await.is_some_and(|answer| answer.status == 200);
        until("the gateway to be ready again", async || is_ready().await.then_some(())).await;
    }
}
