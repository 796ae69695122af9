use super::*;

fn streams() -> (InvocationStreams, mpsc::Receiver<Result<v1::InvokeResponse, tonic::Status>>) {
    let (_, down) = mpsc::channel(1);
    let (up, answers) = mpsc::channel(1);
    (InvocationStreams { down, up }, answers)
}

fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

#[tokio::test]
async fn an_invocation_goes_to_the_node_it_was_offered_to_and_to_nobody_else() {
    let invocations = Invocations::default();
    let (parts, _answers) = streams();
    let mut offer = invocations.put("i1", &id("n1"), parts).unwrap();
    assert!(invocations.take("i1", &id("n2")).is_none());
    invocations.refuse(&id("n2"), "i1", "not mine".to_owned());
    assert!(invocations.take("i1", &id("n1")).is_some());
    assert!(invocations.take("i1", &id("n1")).is_none(), "once");
    assert_eq!(offer.accepted().await, Ok(()));
}

#[tokio::test]
async fn a_refusal_and_a_caller_that_left_end_the_offer() {
    let invocations = Invocations::default();
    let (parts, _answers) = streams();
    let mut offer = invocations.put("i1", &id("n1"), parts).unwrap();
    invocations.refuse(&id("n1"), "i1", "busy".to_owned());
    assert_eq!(offer.accepted().await, Err("busy".to_owned()));
    let (parts, _answers) = streams();
    drop(invocations.put("i2", &id("n1"), parts));
    assert!(invocations.take("i2", &id("n1")).is_none());
}
