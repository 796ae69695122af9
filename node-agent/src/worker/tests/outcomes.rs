//! Every way in which a request ends badly, and that it is told and counted as what it is.

use http_body_util::StreamBody;
use hyper::body::Frame;

use super::guests::{GROW, LOOP, NOTHING, P1_YES, RECURSE, TRAP, http};
use super::*;

/// Asks once and compares status, header and count.
async fn ends(sample: Sample, status: StatusCode, error: &str, outcome: Outcome) {
    let fixture = Fixture::running(&sample).await;
    let answer = fixture.get("/").await;
    assert_eq!((answer.status, answer.error()), (status, error), "{}", answer.text());
    assert!(answer.text().starts_with(error));
    assert!(answer.headers.contains_key("littoral-request-id"));
    assert_eq!(fixture.outcome().await, outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_times_out() {
    let sample = Sample::new(ModuleKind::Http, &http("1", LOOP)).limited(|l| l.timeout_ms = 100);
    ends(sample, StatusCode::GATEWAY_TIMEOUT, "timeout", Outcome::Timeout).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_a_trap() {
    let sample = Sample::new(ModuleKind::Http, &http("1", TRAP));
    ends(sample, StatusCode::INTERNAL_SERVER_ERROR, "trap", Outcome::Trap).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_recursion_overflows_the_guests_stack_alone() {
    let sample = Sample::new(ModuleKind::Http, &http("1", RECURSE));
    ends(sample, StatusCode::INTERNAL_SERVER_ERROR, "stack_overflow", Outcome::StackOverflow).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn growing_without_end_runs_out_of_memory() {
    let sample = Sample::new(ModuleKind::Http, &http("1", GROW));
    ends(sample, StatusCode::INTERNAL_SERVER_ERROR, "oom", Outcome::OutOfMemory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_the_guests_error() {
    let sample = Sample::new(ModuleKind::Http, &http("1", NOTHING));
    ends(sample, StatusCode::INTERNAL_SERVER_ERROR, "guest_error", Outcome::GuestError).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_its_limit_is_cut_off() {
    let fixture = Fixture::running(&Sample::hello().limited(|l| l.output_bytes = 100_000)).await;
    let answer = fixture.post("/", vec![b'x'; 400_000]).await;
    assert!(answer.body.is_none() || answer.status == StatusCode::BAD_GATEWAY);
    assert_eq!(fixture.outcome().await, Outcome::OutputLimit);
    let exact = fixture.post("/", vec![b'x'; 100_000]).await;
    assert_eq!(exact.body.unwrap().len(), 100_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn output_of_a_command_over_its_limit_stops_it() {
    let sample = Sample::new(ModuleKind::CommandP1, P1_YES).limited(|l| l.output_bytes = 50_000);
    let fixture = Fixture::running(&sample).await;
    let invoked = fixture.invoke(InvokeStart::default(), b"").await.unwrap();
    assert_eq!(invoked.finished.outcome(), Outcome::OutputLimit, "{}", invoked.finished.message);
    assert!(invoked.stdout.len() <= 50_000);
    assert_eq!(fixture.outcome().await, Outcome::OutputLimit);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_is_bounded_by_its_caller_too() {
    let fixture = Fixture::running(&Sample::new(ModuleKind::Http, &http("1", LOOP))).await;
    let start = InvokeStart { deadline_ms: 50, ..InvokeStart::default() };
    let invoked = fixture.invoke(start, b"").await.unwrap();
    assert_eq!(invoked.finished.outcome(), Outcome::Timeout);
    assert_eq!(invoked.finished.message, "it ran for longer than its limit of 50 ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_body_that_never_ends_ends_with_the_limit() {
    let fixture = Fixture::running(&Sample::hello().limited(|l| l.timeout_ms = 200)).await;
    let (body, frames) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, io::Error>>(4);
    body.send(Ok(Frame::data(Bytes::from_static(b"begun")))).await.unwrap();
    let stream = tokio::net::TcpStream::connect(fixture.ingress).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    fixture.tasks.spawn("client", async move {
        let _ = connection.await;
    });
    let frames = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(frames));
    let request = Request::post("/").header("host", "x").body(frames).unwrap();
    let answer = answer(sender.send_request(request).await.unwrap()).await;
    // It had begun to answer: the client sees that the rest is missing.
    assert_eq!((answer.status, answer.body), (StatusCode::OK, None));
    assert_eq!(fixture.outcome().await, Outcome::Timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_cancels() {
    let fixture = Fixture::running(&Sample::new(ModuleKind::Http, &http("1", LOOP))).await;
    let mut sender = fixture.connection().await;
    let request = Request::get("/").header("host", "x").body(Full::default()).unwrap();
    let asked = sender.send_request(request);
    assert!(tokio::time::timeout(Duration::from_millis(50), asked).await.is_err());
    drop(sender);
    assert_eq!(fixture.outcome().await, Outcome::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_function_refuses_more_than_its_queue() {
    // One runs until its limit; sixteen wait, for less than a second; the rest is refused.
    let sample = Sample::new(ModuleKind::Http, &http("1", LOOP)).limited(|l| {
        l.concurrency = 1;
        l.timeout_ms = 2000;
    });
    let fixture = Fixture::running(&sample).await;
    let answers = futures::future::join_all((0..30).map(|_| fixture.get("/"))).await;
    let busy: Vec<&Answer> = answers.iter().filter(|a| a.error() == "queue_full").collect();
    assert!(
        busy.iter()
            .all(|a| a.status == StatusCode::SERVICE_UNAVAILABLE && a.headers.contains_key("retry-after"))
    );
    let counts = fixture.drained().await;
    let count = |outcome| counts.iter().filter(|c| c.2 == outcome).map(|c| c.3).sum::<u64>();
    assert_eq!((count(Outcome::Timeout), count(Outcome::QueueFull)), (1, 29));
    assert_eq!(busy.len(), 29);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_computes_lets_others_run() {
    let slow = Sample::new(ModuleKind::Http, &http("1", LOOP)).named("slow", "/slow");
    let fast = Sample::hello().named("fast", "/*").limited(|l| l.timeout_ms = 5000);
    let fixture = Fixture::start().await;
    fixture.run(&[slow.limited(|l| l.timeout_ms = 3000), fast]).await;
    let busy = futures::future::join_all((0..8).map(|_| fixture.get("/slow")));
    let others = async {
        let mut answered = 0;
        for _ in 0..20 {
            answered += u32::from(fixture.get("/").await.status == StatusCode::OK);
        }
        answered
    };
    let (busy, answered) = futures::join!(busy, others);
    assert_eq!(answered, 20);
    assert!(busy.iter().all(|a| a.error() == "timeout"));
}
