//! `littoral.v1.Invoke`: from the caller to a node that runs the function, and back.

use std::sync::Arc;
use std::time::Duration;

use littoral_model::id::NodeId;
use littoral_model::route::{Candidate, pick};
use littoral_platform::clock;
use littoral_platform::error::{ApiCode, ApiError};
use littoral_platform::tasks::Tasks;
use littoral_proto::v1::{self, invocation_down, invoke_request, invoke_response, invoke_server};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::sessions::{InFlight, InvocationStreams, MAX_PAYLOAD, Sessions};
use crate::world::World;

/// Chunks under way in each direction: some MiB at most.
const QUEUE: usize = 8;
/// Of one chunk of a payload.
const MAX_CHUNK: usize = 256 * 1024;
/// A connected node picks an offer up within a round trip.
const PICK_UP: Duration = Duration::from_secs(5);
/// Nodes that are asked before the caller is told that none takes it.
const NODES_TO_TRY: usize = 3;
const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);
/// Functions that run for longer are refused by their own limit first.
const MAX_DEADLINE: Duration = Duration::from_secs(3700);

type Answer = Result<v1::InvokeResponse, Status>;

pub struct InvokeService {
    pub world: watch::Receiver<Arc<World>>,
    pub sessions: Sessions,
    pub tasks: Tasks,
}

#[tonic::async_trait]
impl invoke_server::Invoke for InvokeService {
    type InvokeStream = ReceiverStream<Answer>;

    async fn invoke(
        &self,
        request: Request<Streaming<v1::InvokeRequest>>,
    ) -> Result<Response<Self::InvokeStream>, Status> {
        let mut payload = request.into_inner();
        let arrived = Instant::now();
        let first = timeout_at(arrived + PICK_UP, payload.message());
        let first = first.await.map_err(|_| Status::deadline_exceeded("no message came within 5 s"))??;
        let Some(invoke_request::Part::Start(start)) = first.and_then(|m| m.part) else {
            return Err(ApiError::invalid("the first message of an invocation must be its start").into());
        };
        let deadline = match start.deadline_ms {
            0 => DEFAULT_DEADLINE,
            ms => Duration::from_millis(ms).min(MAX_DEADLINE),
        };
        let deadline = arrived + deadline;
        let placed = self.place(&start, deadline).await?;
        let (answers, receiver) = mpsc::channel(QUEUE);
        let accepted = invoke_response::Part::Accepted(placed.accepted);
        // The queue is empty: it has room for one.
        let _ = answers.try_send(Ok(v1::InvokeResponse { part: Some(accepted) }));
        let name = start.function.clone();
        let up = placed.up;
        let down = placed.down;
        let in_flight = placed.in_flight;
        self.tasks.spawn(format!("invocation of {name}"), async move {
            let _in_flight = in_flight;
            let feed = feed(payload, down);
            let relay = relay(up, answers.clone());
            tokio::pin!(feed, relay);
            let both = async {
                tokio::select! {
                    // A bad payload ends the invocation; a good one leaves the answer to be waited for.
                    fed = &mut feed => match fed {
                        Ok(()) => (&mut relay).await,
                        Err(status) => drop(answers.send(Err(status)).await),
                    },
                    () = &mut relay => {}
                }
            };
            if timeout_at(deadline, both).await.is_err() {
                let message = format!(
                    "{name} did not answer within the caller's deadline; give it more with --deadline"
                );
                let _ = answers.try_send(Err(ApiError::new(ApiCode::DeadlineExceeded, message).into()));
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// An invocation that a node has picked up.
struct Placed {
    accepted: v1::InvokeAccepted,
    down: mpsc::Sender<Result<v1::InvocationDown, Status>>,
    up: mpsc::Receiver<Answer>,
    in_flight: InFlight,
}

impl InvokeService {
    /// Finds a node that takes it.
    async fn place(&self, start: &v1::InvokeStart, deadline: Instant) -> Result<Placed, ApiError> {
        let world = self.world.borrow().clone();
        let mut candidates = self.candidates(&world, start)?;
        let mut refusals = Vec::new();
        for _ in 0..NODES_TO_TRY {
            let Some(best) = pick(&candidates).map(|c| c.node.clone()) else { break };
            candidates.retain(|c| c.node != best);
            match self.offer(&world, start, &best, deadline).await {
                Ok(placed) => return Ok(placed),
                Err(why) => refusals.push(why),
            }
        }
        let message = format!("no node took the invocation of {}; try again", start.function);
        Err(ApiError::unavailable(message).with_details(refusals))
    }

    /// Nodes that are there and report the function Running.
    fn candidates(&self, world: &World, start: &v1::InvokeStart) -> Result<Vec<Candidate>, ApiError> {
        let name = &start.function;
        if !world.functions.contains_key(name) {
            return Err(ApiError::not_found(format!(
                "there is no function `{name}`: `littoral function list` shows all"
            )));
        }
        let asked = match start.node.as_str() {
            "" => None,
            node => Some(world.find_node(node).ok_or_else(|| {
                ApiError::not_found(format!("there is no node `{node}`: `littoral node list` shows all"))
            })?),
        };
        let now = clock::now();
        let mut candidates = Vec::new();
        for (node, _, status) in world.nodes_of(name) {
            if asked.is_some_and(|asked| asked.id != node.id) {
                continue;
            }
            let running = status.is_some_and(|s| s.state() == v1::WorkloadState::Running);
            let Some(observed) = world.observed(&node.id).filter(|o| o.availability(now).is_connected())
            else {
                continue;
            };
            let Some(in_flight) = self.sessions.in_flight(&node.id).filter(|_| running) else { continue };
            let Ok(id) = node.id.parse::<NodeId>() else { continue };
            let median_us = observed.stats.get(name).and_then(|stats| stats.quantile(0.5));
            candidates.push(Candidate { node: id, median_us, in_flight });
        }
        if candidates.is_empty() {
            let place = asked.map_or_else(|| "any node".to_owned(), |node| format!("node {}", node.name));
            return Err(ApiError::unavailable(format!(
                "{name} is not running on {place} that is connected: `littoral function describe {name}` says why"
            )));
        }
        Ok(candidates)
    }

    async fn offer(
        &self,
        world: &World,
        start: &v1::InvokeStart,
        node: &NodeId,
        deadline: Instant,
    ) -> Result<Placed, String> {
        let id = uuid::Uuid::new_v4().to_string();
        let name =
            world.nodes.get(node.as_str()).map_or_else(|| node.to_string(), |row| row.value.name.clone());
        let (down, down_seen) = mpsc::channel(QUEUE);
        let (up_seen, up) = mpsc::channel(QUEUE);
        let begin = v1::InvocationDown { message: Some(invocation_down::Message::Start(start.clone())) };
        // The queue is empty: it has room for one.
        let _ = down.try_send(Ok(begin));
        let streams = InvocationStreams { down: down_seen, up: up_seen };
        let waiting = self.sessions.invocations().put(&id, node, streams);
        let mut offer = waiting.ok_or_else(|| "too many invocations wait for their nodes".to_owned())?;
        let in_flight = self.sessions.offer(node, &id).ok_or_else(|| format!("{name} has just gone"))?;
        let pick_up = deadline.min(Instant::now() + PICK_UP);
        match timeout_at(pick_up, offer.accepted()).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return Err(format!("{name}: {why}")),
            Err(_) => return Err(format!("{name} did not pick it up within {} s", PICK_UP.as_secs())),
        }
        let revision = world
            .nodes_of(&start.function)
            .find(|(n, _, _)| n.id == node.as_str())
            .map(|(_, w, _)| w.revision);
        let accepted = v1::InvokeAccepted {
            node_id: node.to_string(),
            node_name: name,
            revision: revision.unwrap_or_default(),
        };
        Ok(Placed { accepted, down, up, in_flight })
    }
}

/// The caller's payload to the node, within its caps.
async fn feed(
    mut payload: Streaming<v1::InvokeRequest>,
    down: mpsc::Sender<Result<v1::InvocationDown, Status>>,
) -> Result<(), Status> {
    let mut total = 0;
    while let Some(request) = payload.message().await? {
        let Some(invoke_request::Part::Chunk(chunk)) = request.part else {
            return Err(ApiError::invalid("after its start, an invocation has chunks only").into());
        };
        total += chunk.len();
        if chunk.len() > MAX_CHUNK || total > MAX_PAYLOAD {
            let message = format!(
                "the payload is larger than {} MiB: send it to the function's HTTP address instead",
                MAX_PAYLOAD / 1024 / 1024
            );
            return Err(ApiError::new(ApiCode::ResourceExhausted, message).into());
        }
        let message = v1::InvocationDown { message: Some(invocation_down::Message::Chunk(chunk)) };
        if down.send(Ok(message)).await.is_err() {
            // The node has answered without reading all of it.
            return Ok(());
        }
    }
    let end = v1::InvocationDown { message: Some(invocation_down::Message::End(true)) };
    let _ = down.send(Ok(end)).await;
    Ok(())
}

/// The node's answer to the caller. A stream that ends before its last message is an error of its own.
async fn relay(mut up: mpsc::Receiver<Answer>, answers: mpsc::Sender<Answer>) {
    loop {
        let answer = tokio::select! {
            // The caller has gone away: ending here ends the invocation on the node too.
            () = answers.closed() => return,
            answer = up.recv() => answer,
        };
        let Some(answer) = answer else { break };
        let last = match &answer {
            Ok(response) => matches!(response.part, Some(invoke_response::Part::Finished(_))),
            Err(_) => true,
        };
        if answers.send(answer).await.is_err() || last {
            return;
        }
    }
    let message = "the node went away in the middle of the invocation; it may or may not have run";
    let _ = answers.send(Err(ApiError::unavailable(message).into())).await;
}
