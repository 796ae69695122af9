//! One test for each kind of guest.

use super::guests::{P1_LOOP, TYPED, TYPED_CORE, command, p1_echo};
use super::*;

fn text(invoked: &Invoked) -> &str {
    std::str::from_utf8(&invoked.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_answers_http() {
    let fixture = Fixture::running(&Sample::hello()).await;
    let answer = fixture.get("/").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "Hello from Littoral\n"));
    assert_eq!(answer.headers["littoral-request-id"].len(), 16);
    let echoed = fixture.post("/", vec![b'x'; 500_000]).await;
    assert_eq!(echoed.body.unwrap().len(), 500_000);
    assert_eq!(fixture.get("/nowhere").await.status, StatusCode::NOT_FOUND);
    let head = fixture.http(Request::head("/").body(Full::default()).unwrap()).await;
    assert_eq!(head.status, StatusCode::OK);
    assert_eq!(fixture.drained().await.iter().map(|c| (c.2, c.3)).fold(0, |n, c| n + c.1), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_answers_http_2_and_many_requests_on_one_connection() {
    let fixture = Fixture::running(&Sample::hello()).await;
    let stream = tokio::net::TcpStream::connect(fixture.ingress).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(executor, TokioIo::new(stream))
            .await
            .unwrap();
    fixture.tasks.spawn("client", async move {
        let _ = connection.await;
    });
    let requests = (0..20).map(|_| {
        let mut sender = sender.clone();
        let request = Request::get("http://localhost/").body(Full::default()).unwrap();
        async move { answer(sender.send_request(request).await.unwrap()).await }
    });
    for answer in futures::future::join_all(requests).await {
        assert_eq!(answer.text(), "Hello from Littoral\n");
    }
    assert_eq!(fixture.drained().await.iter().map(|c| c.3).sum::<u64>(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_function_can_be_invoked() {
    let fixture = Fixture::running(&Sample::hello()).await;
    let invoked = fixture.invoke(InvokeStart::default(), b"").await.unwrap();
    assert_eq!((invoked.status, text(&invoked)), (200, "Hello from Littoral\n"));
    assert!(invoked.accepted);
    let invoked = fixture.invoke(InvokeStart::default(), &[b'y'; 300_000]).await.unwrap();
    assert_eq!((invoked.stdout.len(), invoked.finished.outcome()), (300_000, Outcome::Ok));
    assert!(invoked.finished.duration_us > 0);
    assert_eq!(fixture.drained().await, [(1, "invoke".into(), Outcome::Ok, 2)]);
    let status = fixture.call("f()").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_component_prints_and_exits() {
    let fixture = Fixture::running(&Sample::new(ModuleKind::Command, &command(0))).await;
    let invoked = fixture.invoke(InvokeStart::default(), b"").await.unwrap();
    assert_eq!((text(&invoked), invoked.finished.outcome()), ("hello\n", Outcome::Ok));

    let fixture = Fixture::running(&Sample::new(ModuleKind::Command, &command(1))).await;
    let invoked = fixture.invoke(InvokeStart::default(), b"").await.unwrap();
    assert_eq!((text(&invoked), invoked.finished.exit_code), ("hello\n", 1));
    assert_eq!(fixture.outcome().await, Outcome::GuestError);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_1_command_reads_its_payload() {
    let fixture = Fixture::running(&Sample::new(ModuleKind::CommandP1, &p1_echo(0))).await;
    let payload: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    let invoked = fixture.invoke(InvokeStart::default(), &payload).await.unwrap();
    assert_eq!((invoked.stdout, invoked.finished.outcome()), (payload, Outcome::Ok));

    let fixture = Fixture::running(&Sample::new(ModuleKind::CommandP1, &p1_echo(7))).await;
    let invoked = fixture.invoke(InvokeStart::default(), b"abc").await.unwrap();
    assert_eq!((text(&invoked), invoked.finished.exit_code), ("abc", 7));
    assert_eq!(invoked.finished.message, "it exited with 7");
    assert_eq!(fixture.outcome().await, Outcome::GuestError);
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_functions_of_a_component_are_called_in_wave() {
    let fixture = Fixture::running(&Sample::new(ModuleKind::Typed, TYPED)).await;
    for (call, result) in [
        ("add(1, 2)", "3"),
        ("math.add(40, 2)", "42"),
        ("docs:adder/math@0.1.0.add(1, 1)", "2"),
        ("halve(10)", "ok(5)"),
        ("nothing()", ""),
    ] {
        let invoked = fixture.call(call).await.unwrap();
        assert_eq!((text(&invoked), invoked.finished.outcome()), (result, Outcome::Ok), "{call}");
        assert!(invoked.accepted, "{call}");
    }
    let invoked = fixture.call("halve(11)").await.unwrap();
    assert_eq!((text(&invoked), invoked.finished.outcome()), ("err(5)", Outcome::GuestError));
    let invoked = fixture.call("crash()").await.unwrap();
    assert_eq!(invoked.finished.outcome(), Outcome::Trap);
    assert_eq!(fixture.drained().await.iter().map(|c| c.3).sum::<u64>(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_does_not_fit_says_what_would_and_counts_nothing() {
    let fixture = Fixture::running(&Sample::new(ModuleKind::Typed, TYPED)).await;
    for (call, said) in [
        ("", "name one with its arguments"),
        ("add", "write it as NAME(ARGUMENTS)"),
        ("subtract(1, 2)", "there are: math.add, math.halve, nothing, crash"),
        ("add(1)", "`add` do not fit, it is add(u32, u32)"),
        ("add(1, 2, 3)", "`add` do not fit"),
        ("add(1, \"two\")", "`add` do not fit"),
        ("add(1, -2)", "`add` do not fit"),
        ("add(1, 2", "write it as NAME(ARGUMENTS)"),
    ] {
        let status = fixture.call(call).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{call}");
        assert!(status.message().contains(said), "{call}: {}", status.message());
    }
    assert_eq!(fixture.drained().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_a_core_module_are_called_in_wave() {
    let fixture = Fixture::running(&Sample::new(ModuleKind::TypedCore, TYPED_CORE)).await;
    assert_eq!(text(&fixture.call("add_one(-2)").await.unwrap()), "-1");
    assert_eq!(text(&fixture.call("both(9000000000, 1.5)").await.unwrap()), "(9000000000, 1.5)");
    let status = fixture.call("add_one(1.5)").await.unwrap_err();
    assert!(status.message().contains("it is add_one(s32)"), "{}", status.message());
    let status = fixture.call("_initialize()").await.unwrap_err();
    assert!(status.message().contains("there are: add_one, both"), "{}", status.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_stops_the_guest() {
    let fixture = Fixture::running(&Sample::new(ModuleKind::CommandP1, P1_LOOP)).await;
    let start = InvokeStart { function: "f".into(), ..InvokeStart::default() };
    let part = WorkerInvokeRequest { part: Some(RequestPart::Start(start)) };
    let stream = fixture.client.clone().invoke(tokio_stream::once(part)).await.unwrap();
    drop(stream);
    assert_eq!(fixture.outcome().await, Outcome::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_function_is_not_found() {
    let fixture = Fixture::start().await;
    let status = fixture.invoke(InvokeStart::default(), b"").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
}
