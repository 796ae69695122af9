//! Which revision answers, and that changing it loses nothing.

use super::guests::{LOOP, NOTHING, TRAP, http};
use super::*;

fn revision(number: u64, body: &str) -> Sample {
    let mut sample = Sample::new(ModuleKind::Http, &http("1", body));
    sample.revision = number;
    // Otherwise two revisions of one module would have the same digest.
    sample.spec.args = vec![number.to_string()];
    sample
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_route_nothing_answers() {
    let fixture = Fixture::start().await;
    fixture.route(vec![]).await.unwrap();
    let answer = fixture.get("/").await;
    assert_eq!((answer.status, answer.error()), (StatusCode::NOT_FOUND, "no_route"));
    // Loaded is not routed.
    fixture.load(&Sample::hello()).await;
    assert_eq!(fixture.get("/").await.status, StatusCode::NOT_FOUND);
    assert_eq!(fixture.drained().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_before_the_first_routes_waits_for_them() {
    let fixture = Fixture::start().await;
    let sample = Sample::hello();
    let routes = async {
        fixture.load(&sample).await;
        fixture.route(vec![sample.share(100)]).await.unwrap();
    };
    let (answer, ()) = tokio::join!(fixture.get("/"), routes);
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_lead_to_their_functions() {
    let fixture = Fixture::start().await;
    let special = Sample::new(ModuleKind::Http, &http("1", TRAP)).named("special", "/a/*");
    fixture.run(&[Sample::hello(), special]).await;
    assert_eq!(fixture.get("/").await.status, StatusCode::OK);
    assert_eq!(fixture.get("/a/b").await.error(), "trap");
    assert_eq!(fixture.get("/a").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_split_by_weight() {
    let (old, new) = (revision(1, TRAP), revision(2, NOTHING));
    let fixture = Fixture::start().await;
    fixture.run(&[old.clone(), new.clone()]).await;
    fixture.route(vec![old.share(75), new.share(25)]).await.unwrap();
    let mut sender = fixture.connection().await;
    for _ in 0..400 {
        let request = Request::get("/").header("host", "x").body(Full::default()).unwrap();
        sender.ready().await.unwrap();
        answer(sender.send_request(request).await.unwrap()).await;
    }
    let counts = fixture.drained().await;
    let of = |revision| counts.iter().filter(|c| c.0 == revision).map(|c| c.3).sum::<u64>();
    assert_eq!(of(1) + of(2), 400);
    assert!((250..350).contains(&of(1)), "{counts:?}");

    fixture.route(vec![old.share(0), new.share(100)]).await.unwrap();
    for _ in 0..20 {
        assert_eq!(fixture.get("/").await.error(), "guest_error");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_to_what_is_not_loaded_changes_nothing() {
    let fixture = Fixture::running(&Sample::hello()).await;
    let missing = revision(9, TRAP);
    let status = fixture.route(vec![missing.share(100)]).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert_eq!(fixture.get("/").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn loading_twice_is_loading_once() {
    let fixture = Fixture::running(&Sample::hello()).await;
    assert_eq!(fixture.load(&Sample::hello()).await.failure(), LoadFailure::Unspecified);
    assert_eq!(fixture.get("/").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_comes_back_is_counted_under_its_new_revision() {
    let mut sample = Sample::hello();
    let fixture = Fixture::running(&sample).await;
    sample.revision = 3;
    assert_eq!(fixture.load(&sample).await.failure(), LoadFailure::Unspecified);
    assert_eq!(fixture.get("/").await.status, StatusCode::OK);
    assert_eq!(fixture.drained().await, [(3, "http".into(), Outcome::Ok, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unloading_waits_for_requests_and_then_nothing_answers() {
    let sample = revision(1, LOOP).limited(|l| l.timeout_ms = 300);
    let fixture = Fixture::running(&sample).await;
    let mut sender = fixture.connection().await;
    let request = Request::get("/").header("host", "x").body(Full::default()).unwrap();
    let asked = sender.send_request(request);
    let unload = async {
        // Not before the request is under way.
        while fixture.client.clone().drain(DrainRequest {}).await.unwrap().into_inner().in_flight == 0 {
            tokio::task::yield_now().await;
        }
        fixture.unload(&sample).await;
        fixture.drained().await
    };
    let (asked, counts) = futures::join!(asked, unload);
    assert_eq!(asked.unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(counts, [(1, "http".into(), Outcome::Timeout, 1)]);
    assert_eq!(fixture.get("/").await.error(), "no_route");
    // It is gone: unloading again is nothing, and it can come back.
    fixture.unload(&sample).await;
    fixture.run(&[sample]).await;
    assert_eq!(fixture.get("/").await.error(), "timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_under_load_is_counted_once() {
    let fixture = Fixture::running(&Sample::hello().limited(|l| l.concurrency = 4)).await;
    let clients = (0..8).map(|_| async {
        let mut sender = fixture.connection().await;
        let mut answered = 0_u64;
        for _ in 0..25 {
            let request = Request::get("/").header("host", "x").body(Full::default()).unwrap();
            sender.ready().await.unwrap();
            let answer = answer(sender.send_request(request).await.unwrap()).await;
            answered += u64::from(answer.status == StatusCode::OK);
        }
        answered
    });
    let answered: u64 = futures::future::join_all(clients).await.into_iter().sum();
    let counts = fixture.drained().await;
    assert_eq!(answered, 200);
    assert_eq!(counts.iter().map(|c| c.3).sum::<u64>(), 200);
}
