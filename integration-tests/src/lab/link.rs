//! A link: two TUN devices, and a thread that carries packets from one to the other.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_tun::Tun;

use super::direction::{Conditions, Direction};
use super::{Host, ip};

/// Below that of most tunnels and mobile networks, as an edge link has it.
const MTU: usize = 1400;
/// In the place of never: nothing is under way, and whatever comes wakes the thread.
const FAR: Duration = Duration::from_secs(3600);

/// A link between a hub and a node. Gone when dropped.
pub struct Link {
    ways: Arc<Mutex<Ways>>,
    /// Dropped: the thread ends.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Ways {
    /// From the node to the hub.
    up: Direction,
    /// From the hub to the node.
    down: Direction,
}

/// One end: a host, its address, and the name of its interface (15 letters at most).
pub struct End<'a> {
    pub host: &'a Host,
    pub address: Ipv4Addr,
    pub interface: &'a str,
}

impl Link {
    /// A good cable. The seed decides what it will lose.
    pub fn new(hub: &End<'_>, node: &End<'_>, seed: u64) -> Self {
        let now = Instant::now();
        let way = |seed| Direction::new(Conditions::default(), seed, now);
        let ways = Arc::new(Mutex::new(Ways { up: way(seed), down: way(!seed) }));
        let (stop, stopped) = oneshot::channel();
        let carried = ways.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // A device belongs to the host that its maker is on, and this thread shall stay where it is.
        let (at_hub, at_node) = std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                let _inside = runtime.enter();
                (device(hub), device(node))
            });
            made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = carry(&carried, &at_hub, &at_node) => {}
                }
            });
        });
        address(hub, node.address);
        address(node, hub.address);
        Self { ways, stop: Some(stop), thread: Some(thread) }
    }

    /// Both ways the same.
    pub fn set(&self, conditions: Conditions) {
        let mut ways = lock(&self.ways);
        ways.up.conditions = conditions;
        ways.down.conditions = conditions;
    }

    /// From the node to the hub.
    pub fn set_up(&self, change: impl FnOnce(&mut Conditions)) {
        change(&mut lock(&self.ways).up.conditions);
    }

    /// From the hub to the node.
    pub fn set_down(&self, change: impl FnOnce(&mut Conditions)) {
        change(&mut lock(&self.ways).down.conditions);
    }

    /// Nothing comes through, either way; no end is told.
    pub fn cut(&self) {
        self.set_up(|up| up.cut = true);
        self.set_down(|down| down.cut = true);
    }

    /// Ends cuts; everything else stays as it is.
    pub fn heal(&self) {
        self.set_up(|up| up.cut = false);
        self.set_down(|down| down.cut = false);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(self.stop.take());
        // It holds no lock and waits for nothing else.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn device(end: &End<'_>) -> Tun {
    end.host.move_here();
    let mtu = i32::try_from(MTU).unwrap();
    let mut made =
        Tun::builder().name(end.interface).mtu(mtu).up().build().expect("a TUN device (/dev/net/tun)");
    made.remove(0)
}

fn address(end: &End<'_>, peer: Ipv4Addr) {
    let (own, peer) = (end.address.to_string(), format!("{peer}/32"));
    ip(["-n", end.host.namespace(), "address", "add", &own, "peer", &peer, "dev", end.interface]);
}

/// Until a device is gone.
async fn carry(ways: &Mutex<Ways>, at_hub: &Tun, at_node: &Tun) {
    let (mut from_hub, mut from_node) = ([0; MTU + 100], [0; MTU + 100]);
    loop {
        let due = next_due(&lock(ways));
        let due = due.unwrap_or_else(|| Instant::now() + FAR);
        tokio::select! {
            read = at_hub.recv(&mut from_hub) => match read {
                Ok(length) => lock(ways).down.take(&from_hub[..length], Instant::now()),
                Err(_) => return,
            },
            read = at_node.recv(&mut from_node) => match read {
                Ok(length) => lock(ways).up.take(&from_node[..length], Instant::now()),
                Err(_) => return,
            },
            () = tokio::time::sleep_until(due.into()) => {}
        }
        let now = Instant::now();
        loop {
            let (up, down) = {
                let mut ways = lock(ways);
                (ways.up.arrived(now), ways.down.arrived(now))
            };
            if up.is_none() && down.is_none() {
                break;
            }
            // A device that takes no more has lost it, as a full cable does.
            let _ = up.map(|packet| at_hub.try_send(&packet));
            let _ = down.map(|packet| at_node.try_send(&packet));
        }
    }
}

fn next_due(ways: &Ways) -> Option<Instant> {
    ways.up.next_due().into_iter().chain(ways.down.next_due()).min()
}

fn lock(ways: &Mutex<Ways>) -> MutexGuard<'_, Ways> {
    ways.lock().unwrap_or_else(PoisonError::into_inner)
}
