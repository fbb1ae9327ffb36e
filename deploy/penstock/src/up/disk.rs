//! The disk under `penstock up`: free space is watched, told before it is gone, and the last of it kept for what is under way;
//! and a nats-server that does not store any more is started again once it could. Knows nothing of what is stored.

use penstock_runtime::bus::{Alarm, Bus, Intake, Journal};
use penstock_runtime::clock;
use penstock_schemas::alert::Alert;
use rustix::fs::statvfs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Shares of the disk, in percent: when less is free, an alert says so.
const ALERTS: [u64; 2] = [20, 10];

/// What must be free for what is optional, and for new attempts: the smaller of a share of the disk, in percent, and bytes.
const FOR_OPTIONAL: Need = Need { percent: 10, bytes: 10 << 30 };
const FOR_ATTEMPTS: Need = Need { percent: 3, bytes: 512 << 20 };

/// How much more must be free before an intake that was stopped begins again, in percent of the need.
const AGAIN: u64 = 130;

/// The least file store that nats-server is given: the limits of all streams together are 22 GB, and it reserves them.
const LEAST_STORE: u64 = 32 << 30;

/// After so long without an acknowledgement over a connection that stands, nats-server does not come back by itself: a full
/// disk makes it give its store up for good.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// Between two restarts for that reason.
const BETWEEN: Duration = Duration::from_secs(30);

/// What a full stream says: a restart changes nothing about that.
const STREAM_FULL: &str = "maximum bytes";

#[derive(Clone, Copy)]
struct Need {
    percent: u64,
    bytes: u64,
}

/// A disk's room, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    free: u64,
    total: u64,
}

impl Room {
    /// That of the disk which a folder is on.
    fn of(folder: &Path) -> std::io::Result<Self> {
        let disk = statvfs(folder)?;
        // What only root may use counts neither as free nor as there.
        let usable = disk.f_blocks - disk.f_bfree + disk.f_bavail;
        Ok(Self { free: disk.f_bavail * disk.f_frsize, total: usable * disk.f_frsize })
    }

    fn percent(self) -> u64 {
        (u128::from(self.free) * 100 / u128::from(self.total.max(1))).try_into().unwrap_or(100)
    }

    fn is_less_than(self, need: Need, margin: u64) -> bool {
        let share = u128::from(self.total) * u128::from(need.percent) / 100;
        u128::from(self.free) * 100 < share.min(u128::from(need.bytes)) * u128::from(margin)
    }

    /// What is taken in, with so much free.
    fn intake(self, now: Intake) -> Intake {
        let margin = |stopped: bool| if stopped { AGAIN } else { 100 };
        if self.is_less_than(FOR_ATTEMPTS, margin(now == Intake::Nothing)) {
            Intake::Nothing
        } else if self.is_less_than(FOR_OPTIONAL, margin(now != Intake::Everything)) {
            Intake::NoOptional
        } else {
            Intake::Everything
        }
    }
}

/// How large nats-server's file store may be: as the disk is.
pub(crate) fn store_limit(data: &Path) -> u64 {
    let room = Room::of(&data.join("nats")).or_else(|_| Room::of(data));
    room.map_or(LEAST_STORE, |room| room.total.max(LEAST_STORE))
}

/// What watches.
pub(crate) struct DiskWatch {
    /// Of nats-server and ClickHouse, where they are children.
    pub(crate) folders: Vec<PathBuf>,
    /// The connections of the roles.
    pub(crate) buses: Vec<Bus>,
    pub(crate) journals: Vec<Journal>,
    pub(crate) alarm: Alarm,
    /// Starts nats-server again, where it is a child.
    pub(crate) restart: Option<Box<dyn Fn() + Send + Sync>>,
}

impl DiskWatch {
    /// Watches for ever.
    pub(crate) async fn run(self) {
        let mut intake = Intake::Everything;
        let mut restarted: Option<Instant> = None;
        loop {
            let rooms = self.rooms();
            for (folder, room) in &rooms {
                self.tell(folder, *room);
            }
            let least = rooms.iter().map(|(_, room)| room.intake(intake)).max_by_key(|intake| rank(*intake));
            let new = least.unwrap_or(Intake::Everything);
            if new != intake {
                intake = new;
                self.buses.iter().for_each(|bus| bus.take_in(intake));
                match intake {
                    Intake::Everything => info!(?rooms, "there is room on the disk again"),
                    Intake::NoOptional => warn!(?rooms, "the disk is nearly full: answers and responses are not kept"),
                    Intake::Nothing => error!(?rooms, "the disk is full: no new calls are made"),
                }
            }
            let is_due = restarted.is_none_or(|at| at.elapsed() >= BETWEEN);
            if intake != Intake::Nothing && is_due && self.is_given_up() {
                restarted = self.restart.as_ref().map(|restart| {
                    error!("nats-server does not store what it is given: starting it again");
                    restart();
                    Instant::now()
                });
            }
            sleep(LOOK).await;
        }
    }

    /// Each disk once.
    fn rooms(&self) -> Vec<(&Path, Room)> {
        let mut disks = Vec::new();
        let mut rooms = Vec::new();
        for folder in &self.folders {
            let Ok(disk) = std::fs::metadata(folder).map(|metadata| metadata.dev()) else { continue };
            if let Ok(room) = Room::of(folder)
                && !disks.contains(&disk)
            {
                disks.push(disk);
                rooms.push((folder.as_path(), room));
            }
        }
        rooms
    }

    fn tell(&self, folder: &Path, room: Room) {
        for share in ALERTS.into_iter().filter(|share| room.percent() < *share) {
            self.alarm.raise(Alert::disk_space(&folder.display().to_string(), share, room.free, clock::now()));
        }
    }

    /// Whether a server that answers has acknowledged nothing for long, in the ledger or in another stream or bucket: it gives
    /// each up for itself.
    fn is_given_up(&self) -> bool {
        let failures = self.journals.iter().filter_map(|journal| journal.health().failure());
        let mut lasting = failures.filter(|failure| failure.since.elapsed() >= GIVEN_UP);
        let is_ledger = lasting.any(|failure| !failure.reason.contains(STREAM_FULL));
        let mut others = self.buses.iter().filter_map(|bus| bus.store_given_up(GIVEN_UP));
        self.buses.iter().all(Bus::is_connected) && (is_ledger || others.next().is_some())
    }
}

fn rank(intake: Intake) -> u8 {
    match intake {
        Intake::Everything => 0,
        Intake::NoOptional => 1,
        Intake::Nothing => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_intake_follows_the_free_space_and_does_not_flutter() {
        const GB: u64 = 1 << 30;
        for (free, total, before, intake) in [
            (50 * GB, 100 * GB, Intake::Everything, Intake::Everything),
            (9 * GB, 100 * GB, Intake::Everything, Intake::NoOptional),
            (11 * GB, 100 * GB, Intake::NoOptional, Intake::NoOptional),
            (14 * GB, 100 * GB, Intake::NoOptional, Intake::Everything),
            // A share of a large disk is more than is needed.
            (200 * GB, 10_000 * GB, Intake::Everything, Intake::Everything),
            (GB, 10_000 * GB, Intake::Everything, Intake::NoOptional),
            (GB / 4, 10_000 * GB, Intake::Everything, Intake::Nothing),
            (GB * 6 / 10, 10_000 * GB, Intake::Nothing, Intake::Nothing),
            (GB, 10_000 * GB, Intake::Nothing, Intake::NoOptional),
            (GB / 100, GB / 5, Intake::Everything, Intake::NoOptional),
            (0, GB / 5, Intake::Everything, Intake::Nothing),
            (0, 0, Intake::Everything, Intake::Everything),
        ] {
            assert_eq!(Room { free, total }.intake(before), intake, "{free} of {total} after {before:?}");
        }
        assert_eq!(Room { free: 19, total: 100 }.percent(), 19);
    }
}
