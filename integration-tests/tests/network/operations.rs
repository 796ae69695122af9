//! docs/operations.md, as it is written: its commands on two machines, from the archives to a fleet and through its life.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use harness::lab::{End, Link};

use crate::machine::Machine;

const NAME: &str = "docs/operations.md";
/// As the document writes it into `LITTORAL_ADVERTISE`.
const CONTROL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SHOP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
/// Where `deploy/package` puts archives: the script that starts this suite says it.
const PACKAGES: &str = "LITTORAL_PACKAGES";

/// Lines of a fenced block, and where they are run.
#[derive(Debug, PartialEq)]
struct Block {
    place: Place,
    /// Of its first command, from 1.
    line: usize,
    text: String,
}

#[derive(Debug, PartialEq)]
enum Place {
    Host(String),
    /// On an operator's machine that reaches both: files are carried over.
    Copy,
}

#[test]
fn the_document_leads_from_bare_hosts_to_a_fleet() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(NAME);
    let blocks = blocks(&std::fs::read_to_string(path).unwrap());
    assert!(blocks.len() >= 20, "{} blocks", blocks.len());
    let machines = [Machine::boot("control"), Machine::boot("shop-1")];
    let [control, shop] = &machines;
    let hub = End { host: &control.host, address: CONTROL, interface: "to-shop-1" };
    let _link = Link::new(&hub, &End { host: &shop.host, address: SHOP, interface: "wan" }, 1);
    for machine in &machines {
        machine.write(
            "/etc/hosts",
            format!("127.0.0.1 localhost\n{CONTROL} control.example.net\n{SHOP} shop-1\n").as_bytes(),
        );
        for archive in archives() {
            let to = format!("/root/{}", archive.file_name().unwrap().to_str().unwrap());
            machine.write(&to, &std::fs::read(&archive).unwrap());
        }
    }
    for block in &blocks {
        match &block.place {
            Place::Host(name) => run(machine(&machines, name), block),
            Place::Copy => block.text.lines().for_each(|line| copy(&machines, line)),
        }
    }
    for (machine, unit, most) in [(control, "littorald", 20), (shop, "littoral-agent", 17)] {
        let verify = "systemd-analyze verify /etc/systemd/system/littoral*.service";
        let security = format!("systemd-analyze security --threshold={most} --no-pager {unit}");
        machine.run(&format!("set -e; {verify}; {security}")).ok();
        let log = machine.run(&format!("journalctl --unit {unit} --no-pager --output cat")).ok();
        let errors: Vec<&str> =
            log.lines().filter(|line| line.contains(" ERROR ") && !expected(line)).collect();
        assert!(errors.is_empty(), "{unit} has logged:\n{}", errors.join("\n"));
    }
}

/// The one that the document provokes.
fn expected(line: &str) -> bool {
    line.contains("this node was revoked")
}

fn run(machine: &Machine, block: &Block) {
    // Empty lines before it, so that the shell's line numbers are the document's; the first line is the shell's own.
    let begin = format!("set -euo pipefail; cd /root; trap 'echo \"{NAME}:$LINENO: $BASH_COMMAND\" >&2' ERR");
    let script = format!("{begin}{}{}", "\n".repeat(block.line - 1), block.text);
    let done = machine.run(&script);
    let shown = format!("{NAME}:{}: on {}\n{}\n{}", block.line, machine.name(), done.stdout, done.stderr);
    if done.code != 0 {
        let journal = machine.run("journalctl --unit 'littoral*' --no-pager --lines 60 --output cat").stdout;
        panic!("exit code {}\n{shown}\n---- its journal ----\n{journal}", done.code);
    }
    println!("{shown}");
}

/// `scp HOST:FILE HOST:FILE`, without a network in between.
fn copy(machines: &[Machine; 2], line: &str) {
    let mut words = line.split_whitespace();
    assert_eq!(words.next(), Some("scp"), "{line}");
    let mut place = || words.next().and_then(|word| word.split_once(':')).unwrap_or_else(|| panic!("{line}"));
    let ((from, source), (to, target)) = (place(), place());
    machine(machines, to).write(target, &machine(machines, from).read(source));
}

fn machine<'a>(machines: &'a [Machine; 2], name: &str) -> &'a Machine {
    machines
        .iter()
        .find(|m| m.name() == name)
        .unwrap_or_else(|| panic!("{NAME}: `{name}` is no host of this test"))
}

/// The archive for this machine, and its checksum.
fn archives() -> [PathBuf; 2] {
    let folder = std::env::var(PACKAGES)
        .unwrap_or_else(|_| panic!("{PACKAGES} says where deploy/package put its archives"));
    let arch = std::env::consts::ARCH;
    let name = format!("littoral-{}-{arch}.tar.gz", env!("CARGO_PKG_VERSION"));
    let archive = Path::new(&folder).join(&name);
    let checksum = Path::new(&folder).join(format!("{name}.sha256"));
    assert!(archive.exists(), "{}: run deploy/package --arch {arch}", archive.display());
    [archive, checksum]
}

/// Blocks of shell commands that are marked with where they run; others are for reading.
fn blocks(document: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = document.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let Some(mark) = line.strip_prefix("```sh ") else { continue };
        let place = match mark.strip_prefix("host=") {
            Some(host) => Place::Host(host.to_owned()),
            None if mark == "copy" => Place::Copy,
            None => panic!("{NAME}:{number}: `{mark}` is no mark of a block: host=NAME or copy"),
        };
        let text = lines.by_ref().map(|(line, _)| line).take_while(|line| *line != "```");
        let text: String = text.flat_map(|line| [line, "\n"]).collect();
        found.push(Block { place, line: number + 1, text });
    }
    found
}

#[test]
fn a_block_knows_its_host_and_its_line() {
    let document =
        "text\n```sh host=a\none\ntwo\n```\n```sh\nunmarked\n```\n```sh copy\nscp a:/x b:/y\n```\n";
    let block = |place, line, text: &str| Block { place, line, text: text.to_owned() };
    let expected =
        [block(Place::Host("a".into()), 3, "one\ntwo\n"), block(Place::Copy, 10, "scp a:/x b:/y\n")];
    assert_eq!(blocks(document), expected);
}
