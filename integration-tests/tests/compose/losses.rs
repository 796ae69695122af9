//! Volumes that are gone.

use std::path::Path;
use std::process::Command;

use harness::compose::{Compose, NODES, docker};
use harness::process::wait_for;

use super::functions::HELLO;
use super::start::node_ids;

pub fn node_volume(fleet: &Compose) {
    let before = node_ids(fleet);
    fleet.remove("shop-1");
    docker(["volume", "rm", &fleet.volume("shop-1")]);
    fleet.up();
    // Its name is still that of the node whose key was lost: an operator has to say that this one does not come back.
    let refused = "belongs to node";
    let log = || fleet.logs().into_iter().filter(|(s, log)| s == "shop-1" && log.contains(refused)).count();
    wait_for("the refusal", || log() > 0);
    fleet.cli(["node", "revoke", "shop-1", "-y", "--reason", "its volume was lost"]).ok();
    fleet.wait_for_ready(&NODES);
    fleet.wait_for_answer(&NODES, HELLO);
    let after = node_ids(fleet);
    assert_eq!(after.len(), before.len() + 1, "the one that was revoked is kept: {after:?}");
    assert!(before.iter().all(|node| after.contains(node)));
}

/// A cluster without its store and its keys is gone: what comes up is another one, which the nodes do not believe.
/// They go on with what they have until a backup is put back.
pub fn control_volume(fleet: &Compose) {
    let operator = docker(["volume", "inspect", "-f", "{{.Mountpoint}}", &fleet.volume("operator")]);
    let folders = [fleet.disk.path(), Path::new(operator.trim())];
    let backups = ["control.backup", "operator.backup"].map(|name| fleet.disk.path().with_file_name(name));
    fleet.remove("littorald");
    for (folder, backup) in folders.iter().zip(&backups) {
        copy(folder, backup);
        empty(folder);
    }
    let start = || fleet.compose(["up", "-d", "--no-build", "--no-deps", "littorald"]).ok();
    start();
    for node in NODES {
        let status = || docker(["exec", &fleet.container(node), "/usr/bin/littoral-agent", "status"]);
        wait_for(&format!("{node} not believing it"), || status().contains("no trusted connection"));
    }
    fleet.wait_for_answer(&NODES, HELLO);

    fleet.remove("littorald");
    for (folder, backup) in folders.iter().zip(&backups) {
        empty(folder);
        copy(backup, folder);
    }
    start();
    fleet.wait_for_ready(&NODES);
    fleet.wait_for_answer(&NODES, HELLO);
}

/// With owners and modes, as a backup must.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(copied.success(), "{} to {}", from.display(), to.display());
}

fn empty(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        removed.unwrap();
    }
}
