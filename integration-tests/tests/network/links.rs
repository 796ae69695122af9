//! The links themselves: without these, a test that passes shows nothing.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use harness::lab::{Conditions, Direction, End, Host, Link};

const HUB: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const NODE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
/// Longer than any answer here takes.
const PATIENCE: Duration = Duration::from_secs(2);

/// Two sockets on two hosts.
struct Pair {
    link: Link,
    at_hub: UdpSocket,
    at_node: UdpSocket,
    _hosts: [Host; 2],
}

impl Pair {
    fn new() -> Self {
        let (hub, node) = (Host::new("hub"), Host::new("node"));
        let hub_end = End { host: &hub, address: HUB, interface: "to-node" };
        let link = Link::new(&hub_end, &End { host: &node, address: NODE, interface: "wan" }, 7);
        let bind = |host: &Host, address| {
            let socket = host.enter(|| UdpSocket::bind(SocketAddr::from((address, 9000)))).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        let (at_hub, at_node) = (bind(&hub, HUB), bind(&node, NODE));
        at_hub.connect((NODE, 9000)).unwrap();
        at_node.connect((HUB, 9000)).unwrap();
        Self { link, at_hub, at_node, _hosts: [hub, node] }
    }

    fn up(&self) -> Option<Duration> {
        crossing(&self.at_node, &self.at_hub)
    }

    fn down(&self) -> Option<Duration> {
        crossing(&self.at_hub, &self.at_node)
    }
}

/// How long a packet takes, if it arrives.
fn crossing(from: &UdpSocket, to: &UdpSocket) -> Option<Duration> {
    let began = Instant::now();
    from.send(b"ahoy").unwrap();
    to.recv(&mut [0; 16]).ok().map(|_| began.elapsed())
}

#[test]
fn a_link_delays_and_is_cut_one_way_at_a_time() {
    let pair = Pair::new();
    assert!(pair.up().unwrap() < Duration::from_millis(100));
    assert!(pair.down().unwrap() < Duration::from_millis(100));

    pair.link.set_up(|up| up.delay = Duration::from_millis(200));
    assert!(pair.up().unwrap() >= Duration::from_millis(200));
    assert!(pair.down().unwrap() < Duration::from_millis(100));

    pair.link.set_up(|up| up.cut = true);
    assert_eq!(pair.up(), None);
    assert!(pair.down().is_some());
    pair.link.heal();
    pair.link.set_down(|down| down.cut = true);
    assert!(pair.up().is_some());
    assert_eq!(pair.down(), None);
    pair.link.heal();
    assert!(pair.up().is_some() && pair.down().is_some());
}

#[test]
fn a_host_that_is_gone_leaves_nothing() {
    let host = Host::new("short");
    let namespace = format!("/run/netns/{}", host.namespace());
    let mut sleeper = host.command("sleep").arg("1000").spawn().unwrap();
    assert!(std::path::Path::new(&namespace).exists());
    drop(host);
    assert!(!std::path::Path::new(&namespace).exists());
    assert!(!sleeper.wait().unwrap().success());
}

#[test]
fn loss_rate_and_order_are_as_told() {
    let now = Instant::now();
    let lossy = Conditions { loss_permille: 50, jitter: Duration::from_millis(50), ..Conditions::default() };
    let mut way = Direction::new(lossy, 1, now);
    for number in 0..2000_u32 {
        way.take(&number.to_le_bytes(), now);
    }
    let late = now + PATIENCE;
    let arrived: Vec<Vec<u8>> = std::iter::from_fn(|| way.arrived(late)).collect();
    assert!((1860..=1940).contains(&arrived.len()), "{} of 2000 came through", arrived.len());
    let numbers = arrived.iter().map(|packet| u32::from_le_bytes(packet[..].try_into().unwrap()));
    assert!(numbers.is_sorted());

    // 1,000 bytes at 256 kbit/s take 31.25 ms; the modem's buffer holds half a second of them.
    let slow = Conditions { bits_per_second: Some(256_000), ..Conditions::default() };
    let mut way = Direction::new(slow, 1, now);
    for _ in 0..100 {
        way.take(&[0; 1000], now);
    }
    let mut times = Vec::new();
    while let Some(due) = way.next_due() {
        times.push(due - now);
        way.arrived(due).unwrap();
    }
    assert_eq!(times[1] - times[0], Duration::from_micros(31_250));
    assert!((16..=18).contains(&times.len()), "{} were sent", times.len());
}
