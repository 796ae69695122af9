//! Who may join, who may come back, and who may not.

use harness::fleet::{Fleet, everywhere};
use harness::http;
use harness::process::wait_for;

#[test]
fn a_token_works_once() {
    let fleet = Fleet::start(0);
    let token = fleet.token(&[]);
    fleet.join("a", &token).ok();
    fleet.join("b", &token).fails(5, &["token"]);
    fleet.join("c", "nonsense").fails(1, &["token"]);
}

#[test]
fn an_expired_or_revoked_token_does_not_work() {
    let fleet = Fleet::start(0);
    let short = fleet.token(&["--ttl", "2s", "--uses", "1000"]);
    fleet.join("early", &short).ok();
    let mut late = 0;
    wait_for("the token's end", || {
        late += 1;
        let done = fleet.join(&format!("late{late}"), &short);
        assert!(done.code == 0 || done.stderr.contains("expired"), "{}", done.stderr);
        done.code == 5
    });
    let revoked = fleet.token(&[]);
    let id = revoked.split('.').nth(1).unwrap();
    fleet.cli(["token", "revoke", id, "-y"]).ok();
    fleet.join("b", &revoked).fails(5, &["token"]);
}

#[test]
fn an_agent_does_not_tell_its_secret_to_somebody_else() {
    let fleet = Fleet::start(0);
    let token = fleet.token(&[]);
    let (rest, pin) = token.rsplit_once('.').unwrap();
    let other: String = pin.chars().map(|c| if c == '0' { '1' } else { '0' }).collect();
    fleet.join("a", &format!("{rest}.{other}")).fails(9, &["expected the CA sha256:"]);
    fleet.join("a", &token).ok();
}

#[test]
fn a_revoked_node_is_cut_off_and_stays_out() {
    let mut fleet = Fleet::start(2);
    fleet.deploy_example("hello-http", &everywhere("/*"));
    fleet.cli(["node", "revoke", "n1", "-y"]).ok();
    wait_for("the agent being told", || fleet.agents[0].program.log().contains("revoked"));
    let availability = |fleet: &Fleet| fleet.json(["node", "describe", "n1"])["node"]["availability"].clone();
    assert_eq!(availability(&fleet), "Revoked");
    fleet.agents[0].program.kill_9();
    fleet.agents[0].restart();
    fleet.agents[0].wait_for_answer("/");
    wait_for("being refused", || fleet.agents[0].program.log().matches("revoked").count() > 1);
    assert_eq!(availability(&fleet), "Revoked");
    assert_eq!(http::get(fleet.agents[1].http, "/").status, 200);
}

#[test]
fn a_node_of_another_cluster_is_refused() {
    let mut ours = Fleet::start(0);
    let theirs = Fleet::start(0);
    let token = theirs.token(&[]);
    theirs.join("n1", &token).ok();
    let copied = ours.path("n1");
    std::fs::rename(theirs.path("n1"), &copied).unwrap();
    // It is led to us by its configuration, and believes neither side.
    let node = std::fs::read_to_string(copied.join("node.json")).unwrap();
    std::fs::write(copied.join("node.json"), node.replace(&theirs.server(), &ours.server())).unwrap();
    ours.run_agent("n1");
    wait_for("the refusal", || ours.agents[0].program.log().to_lowercase().contains("certificate"));
    assert_eq!(ours.json(["node", "list"]), serde_json::json!([]));
}

#[test]
fn roles_decide_what_an_operator_may_do() {
    let fleet = Fleet::start(0);
    fleet.cli(["user", "create", "vera", "--role", "viewer"]).ok();
    fleet.cli(["--context", "vera", "node", "list"]).ok();
    fleet.cli(["--context", "vera", "token", "create"]).fails(5, &["admin"]);
    fleet.cli(["user", "revoke", "vera", "-y"]).ok();
    fleet.cli(["--context", "vera", "node", "list"]).fails(5, &["vera"]);
}
