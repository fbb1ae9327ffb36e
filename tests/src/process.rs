//! A process of the test's own: started, watched through what it writes, ended by its own pid with its children, also when
//! the test panics. Knows nothing of what the process does.

use crate::wait::until;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::process::{Child, Command};

/// A running process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: u32,
    out: PathBuf,
    log: PathBuf,
}

/// What a process has in memory, in bytes; 0 when it is gone.
pub fn memory_of(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or_default() * 1024
}

/// The address in a line in which a role says where it listens; empty when there is none.
pub fn address_in(line: &str) -> String {
    line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
}

/// What a program that has ended left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it wrote for its caller.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Process {
    /// Starts `command`; what it writes goes into files in `folder` under `name`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> Self {
        let (out, log) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.log")));
        let file = |path| File::create(path).expect("the test's folder can be written to");
        command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&log)).kill_on_drop(true);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let pid = child.id().expect("a process that was just started has a pid");
        Self { name: name.to_owned(), child, pid, out, log }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it has written a line with `words` in it.
    ///
    /// # Panics
    /// When it ends without having done so.
    pub async fn says(&mut self, words: &str) -> String {
        let what = format!("{} to say `{words}`", self.name);
        until(&what, async || {
            let ended = self.child.try_wait().expect("a child can be waited for");
            let texts = [&self.out, &self.log].map(|file| std::fs::read_to_string(file).unwrap_or_default());
            let mut lines = texts.iter().flat_map(|text| text.split_inclusive('\n'));
            let line = lines.find(|line| line.contains(words) && line.ends_with('\n'));
            let said = line.map(|line| line.trim_end().to_owned());
            assert!(said.is_some() || ended.is_none(), "{} ended: {}{}", self.name, texts[0], texts[1]);
            said
        })
        .await
    }

    /// Asks it to stop, as an operator does.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Asks it to read its configuration again.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Ends it as a crash does: no handler runs, and its children go on.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Stops it where it is: it keeps its connections and does nothing, until [`Process::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// The pid of its child that has `words` in its command line.
    ///
    /// # Panics
    /// When it has no such child.
    pub fn child(&self, words: &str) -> u32 {
        let children = self.children();
        let found = children.iter().find(|(_, command)| command.contains(words));
        found.unwrap_or_else(|| panic!("{} has no child `{words}`, only {children:?}", self.name)).0
    }

    /// Ends that child as a crash does, and gives its pid.
    ///
    /// # Panics
    /// When it has no such child.
    pub fn kill_child(&self, words: &str) -> u32 {
        let pid = self.child(words);
        kill(pid);
        pid
    }

    /// Stops that child where it is, until [`Process::thaw_child`].
    pub fn freeze_child(&self, words: &str) {
        signal(self.child(words), Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw_child(&self, words: &str) {
        signal(self.child(words), Signal::CONT);
    }

    fn signal(&self, which: Signal) {
        // One that was waited for has no pid any more: it may be somebody else's by now.
        if self.child.id().is_some() {
            signal(self.pid, which);
        }
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it goes on.
    pub async fn ended(&mut self) -> ExitStatus {
        let what = format!("{} to end", self.name);
        until(&what, async || self.child.try_wait().expect("a child can be waited for")).await
    }

    /// Its children now: pid and command line.
    pub fn children(&self) -> Vec<(u32, String)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let pids: Vec<u32> =
            lists.flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
        pids.into_iter().map(|pid| (pid, command_line(pid))).collect()
    }

    /// The last lines of what it wrote.
    pub fn tail(&self) -> String {
        self.tail_of(40)
    }

    /// So many of them.
    pub fn tail_of(&self, count: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.len().saturating_sub(count);
        format!("---- {}, pid {}\n{}\n", self.name, self.pid, lines[last..].join("\n"))
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "a test that failed shows what its processes said")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
        if self.child.id().is_none() {
            return;
        }
        // Held still, so that it does not start again what is ended here.
        self.signal(Signal::STOP);
        let children = self.children();
        for (pid, _) in &children {
            kill(*pid);
        }
        self.kill();
        let begun = std::time::Instant::now();
        let pids = children.iter().map(|(pid, _)| *pid).chain([self.pid]);
        // Its folder is removed next: nobody may still write there. Who is dead has no command line.
        for pid in pids {
            while is_running(pid) && begun.elapsed().as_secs() < 2 {
                std::thread::yield_now();
            }
        }
    }
}

/// Whether a process runs: one that has ended and that nobody has waited for does not.
pub fn is_running(pid: u32) -> bool {
    !command_line(pid).is_empty()
}

/// The command line of a process; empty when it is gone.
pub(crate) fn command_line(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Ends a process that one of this test's own started, as a crash does.
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// Sends a signal to a process that this test started, or that one of those started.
fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid is a positive number");
    // One that is gone needs no signal.
    let _ = kill_process(pid, signal);
}
