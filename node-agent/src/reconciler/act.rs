//! Beginning actions: each becomes a future that ends with what came of it.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use littoral_model::digest::Digest;
use littoral_model::time::Timestamp;
use littoral_proto::worker::{Route, RouteRequest, UnloadRequest};
use tokio::time::timeout;

use super::Reconciler;
use super::decide::{Action, BlobKind, Routes};
use crate::assignment::Workload;
use crate::fetch::{FetchError, fetch};
use crate::load::{LoadError, load};
use crate::supervisor::Worker;

/// The worker changes a table: it answers at once or is stuck.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// The worker waits for up to a minute for a revision's last requests.
const UNLOAD_DEADLINE: Duration = Duration::from_secs(90);

/// What came of an action.
#[derive(Debug)]
pub(super) enum Done {
    Fetched { digest: Digest, result: Result<(), FetchError> },
    Loaded { instance: u64, workload: Workload, result: Result<u64, LoadError> },
    Routed { instance: u64, routes: Routes, result: Result<(), String> },
    Unloaded { instance: u64, spec: Digest, result: Result<(), String> },
}

impl Reconciler {
    /// Marks the action as under way. One whose means went away meanwhile is decided on again at the next look.
    pub(super) fn begin(&mut self, action: Action, now: Timestamp) {
        let worker = self.inputs.worker.borrow().clone().filter(|w| Some(w.instance) == self.instance);
        let future = match action {
            Action::Fetch(digest, kind) => self.fetch(digest, kind),
            Action::Load(workload) => worker.map(|worker| self.load(worker, workload, now)),
            Action::Route(routes) => worker.map(|worker| self.route(worker, routes)),
            Action::Unload(spec) => worker.map(|worker| self.unload(worker, spec)),
        };
        if let Some(future) = future {
            self.running.push(future);
        }
    }

    fn fetch(&mut self, digest: Digest, kind: BlobKind) -> Option<BoxFuture<'static, Done>> {
        let client = self.inputs.link.borrow().bulk()?.clone();
        self.view.busy.fetches.insert(digest);
        let (cache, received) = (self.inputs.cache.clone(), self.inputs.metrics.artifact_bytes.clone());
        let fetching = async move {
            Done::Fetched { digest, result: fetch(client, cache, digest, kind, received).await }
        };
        Some(fetching.boxed())
    }

    fn load(&mut self, worker: Worker, workload: Workload, now: Timestamp) -> BoxFuture<'static, Done> {
        self.view.busy.loads.insert(workload.spec);
        let cache = self.inputs.cache.clone();
        async move {
            let instance = worker.instance;
            let result = load(worker, cache, workload.clone(), now).await;
            Done::Loaded { instance, workload, result }
        }
        .boxed()
    }

    fn route(&mut self, mut worker: Worker, routes: Routes) -> BoxFuture<'static, Done> {
        self.view.busy.routing = true;
        let route = |(spec, (function, weight)): (&Digest, &(_, u32))| Route {
            function: ToString::to_string(function as &littoral_model::id::FunctionName),
            spec_digest: spec.to_string(),
            weight: *weight,
        };
        let request = RouteRequest { routes: routes.iter().map(route).collect() };
        async move {
            let result = call(worker.client.route(request), CALL_DEADLINE).await;
            Done::Routed { instance: worker.instance, routes, result }
        }
        .boxed()
    }

    fn unload(&mut self, mut worker: Worker, spec: Digest) -> BoxFuture<'static, Done> {
        self.view.busy.unloads.insert(spec);
        async move {
            let request = UnloadRequest { spec_digest: spec.to_string() };
            let result = call(worker.client.unload(request), UNLOAD_DEADLINE).await;
            Done::Unloaded { instance: worker.instance, spec, result }
        }
        .boxed()
    }
}

async fn call<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    deadline: Duration,
) -> Result<(), String> {
    match timeout(deadline, call).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err(format!("the worker did not answer within {} s", deadline.as_secs())),
    }
}
