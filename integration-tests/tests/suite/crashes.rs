//! kill -9 and pulled cables: what was acknowledged is there, what was not is whole or absent, and nodes go on serving.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use harness::fleet::{Fleet, everywhere, example};
use harness::http;
use harness::process::{send, wait_for};

#[test]
fn a_node_boots_and_serves_with_no_control_plane_in_reach() {
    let mut fleet = Fleet::start(1);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    fleet.littorald.kill_9();
    fleet.agents[0].program.kill_9();
    let began = Instant::now();
    fleet.agents[0].restart();
    assert_eq!(fleet.agents[0].wait_for_answer("/"), "Hello from Littoral\n");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    fleet.restart_littorald();
    fleet.wait_for_ready(1);
}

#[test]
fn the_control_plane_killed_in_the_middle_keeps_what_it_acknowledged() {
    let mut fleet = Fleet::start(0);
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let module = |n: usize| wat::parse_str(format!("(module (func (export \"f{round}x{n}\")))")).unwrap();
        let pushes: Vec<_> = (0..6)
            .map(|n| {
                let name = format!("m{round}x{n}");
                let file = fleet.write(&format!("{name}.wasm"), module(n));
                let args = ["module", "push", &file, "--name", &name, "--version", "1"];
                (name.clone(), fleet.cli_command(args).spawn().unwrap())
            })
            .collect();
        let mut pushes = pushes.into_iter();
        // The first one is waited for; the others are wherever they are.
        let (name, mut first) = pushes.next().unwrap();
        assert!(first.wait().unwrap().success());
        fleet.littorald.kill_9();
        acknowledged.push(name);
        for (name, mut push) in pushes {
            if push.wait().unwrap().success() {
                acknowledged.push(name);
            }
        }
        fleet.restart_littorald();
        let list = fleet.json(["module", "list"]);
        let names: Vec<&str> = list.as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
        for name in &acknowledged {
            assert!(names.contains(&name.as_str()), "{name} was acknowledged and is not in {names:?}");
        }
        for name in names {
            fleet.cli(["module", "inspect", name]).ok();
        }
    }
}

#[test]
fn an_apply_that_was_acknowledged_survives_a_kill_and_reaches_the_nodes() {
    let mut fleet = Fleet::start(2);
    let wasm = example("hello-http");
    fleet.apply("hello", wasm.to_str().unwrap(), &everywhere("/*"), &[]).ok();
    fleet.littorald.kill_9();
    fleet.restart_littorald();
    for agent in &fleet.agents {
        agent.wait_for_answer("/");
    }
    // Once more in the middle of a change.
    fleet.apply("hello", wasm.to_str().unwrap(), &everywhere("/new/*"), &[]).ok();
    fleet.littorald.kill_9();
    fleet.restart_littorald();
    for agent in &fleet.agents {
        wait_for("the new path", || {
            http::try_send(agent.http, "POST", "/new/x", b"x").is_ok_and(|a| a.status == 200)
        });
    }
}

#[test]
fn a_worker_killed_under_load_is_back_at_once_and_requests_wait() {
    let fleet = Fleet::start(1);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    let agent = &fleet.agents[0];
    let before = agent.worker();
    let load = Load::default();
    std::thread::scope(|scope| {
        scope.spawn(|| load.run(agent.http));
        wait_for("some answers", || load.answered.load(Ordering::Relaxed) > 20);
        send(before, Signal::KILL);
        let answered = load.answered.load(Ordering::Relaxed);
        wait_for("answers again", || load.answered.load(Ordering::Relaxed) > answered + 20);
        load.stop.store(true, Ordering::Relaxed);
    });
    assert_ne!(agent.worker(), before);
    // Only what was in the worker at that moment is lost: the load is one connection at a time.
    assert!(load.failed.load(Ordering::Relaxed) <= 1, "{}", load.failed.load(Ordering::Relaxed));
    wait_for("the restart in the metrics", || agent.metrics().contains("littoral_worker_restarts_total 1"));
}

#[test]
fn an_agent_killed_under_load_takes_its_worker_along_and_comes_back() {
    let mut fleet = Fleet::start(1);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    let worker = fleet.agents[0].worker();
    let load = Load::default();
    let http = fleet.agents[0].http;
    std::thread::scope(|scope| {
        scope.spawn(|| load.run(http));
        wait_for("some answers", || load.answered.load(Ordering::Relaxed) > 20);
        fleet.agents[0].program.kill_9();
        wait_for("the worker's end", || is_gone(worker));
        fleet.agents[0].restart();
        let answered = load.answered.load(Ordering::Relaxed);
        wait_for("answers again", || load.answered.load(Ordering::Relaxed) > answered + 20);
        load.stop.store(true, Ordering::Relaxed);
    });
    fleet.wait_for_ready(1);
}

#[test]
fn an_agent_that_is_asked_to_stop_answers_what_it_was_asked() {
    let mut fleet = Fleet::start(1);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    let http = fleet.agents[0].http;
    let load = Load::default();
    std::thread::scope(|scope| {
        scope.spawn(|| load.run_kept_alive(http));
        wait_for("some answers", || load.answered.load(Ordering::Relaxed) > 50);
        assert!(fleet.agents[0].program.stop().success());
        load.stop.store(true, Ordering::Relaxed);
    });
    // The connection was closed between two answers, not in the middle of one.
    assert_eq!(load.failed.load(Ordering::Relaxed), 0);
}

#[test]
fn one_flipped_bit_on_the_disk_is_found_quarantined_and_fetched_again() {
    let mut fleet = Fleet::start(1);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    fleet.agents[0].program.stop();
    let cache = fleet.agents[0].dir.join("cache");
    let artifact = largest_file(&cache);
    let mut bytes = std::fs::read(&artifact).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::remove_file(&artifact).unwrap();
    std::fs::write(&artifact, &bytes).unwrap();
    fleet.agents[0].restart();
    fleet.agents[0].wait_for_answer("/");
    let metrics = fleet.agents[0].metrics();
    let failures = metrics.lines().find(|l| l.starts_with("littoral_artifact_verify_failures_total"));
    assert!(failures.is_some_and(|line| !line.ends_with(" 0")), "{failures:?}");
    wait_for("the event", || fleet.cli(["events"]).ok().to_lowercase().contains("quarantine"));
    assert_ne!(std::fs::read(&artifact).unwrap(), bytes);
}

fn largest_file(dir: &Path) -> PathBuf {
    let mut all = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => all.push((entry.metadata().unwrap().len(), entry.path())),
            }
        }
    }
    all.into_iter().max().unwrap().1
}

/// Ended, or waiting for somebody to ask how it ended.
fn is_gone(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status")).map_or(true, |status| status.contains("State:\tZ"))
}

/// One request after the other, counted.
#[derive(Default)]
struct Load {
    answered: AtomicUsize,
    failed: AtomicUsize,
    stop: AtomicBool,
}

impl Load {
    /// On one connection, until it is closed; an answer that breaks off is a failure.
    fn run_kept_alive(&self, address: SocketAddr) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut bytes = [0; 4096];
        while !self.stop.load(Ordering::Relaxed) {
            if stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").is_err() {
                return;
            }
            let mut answer = Vec::new();
            while !answer.ends_with(b"0\r\n\r\n") {
                match stream.read(&mut bytes) {
                    Ok(read) if read > 0 => answer.extend(&bytes[..read]),
                    // Closed before the first byte of an answer: it never took the request.
                    _ if answer.is_empty() => return,
                    _ => {
                        self.failed.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                }
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
            if answer.windows(17).any(|part| part.eq_ignore_ascii_case(b"connection: close")) {
                return;
            }
        }
    }

    fn run(&self, address: SocketAddr) {
        while !self.stop.load(Ordering::Relaxed) {
            let good = http::try_send(address, "GET", "/", b"").is_ok_and(|a| a.status == 200);
            let counter = if good { &self.answered } else { &self.failed };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}
