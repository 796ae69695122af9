//! `littoral.v1.Registry`.

use std::sync::Arc;

use futures::StreamExt;
use littoral_platform::error::{ApiCode, ApiError};
use littoral_proto::v1::push_module_request::Part;
use littoral_proto::v1::registry_server::Registry as RegistryApi;
use littoral_proto::v1::{
    CompileModuleRequest, CompileModuleResponse, DiffModulesRequest, DiffModulesResponse, GetModuleRequest,
    GetModuleResponse, ListModulesRequest, ListModulesResponse, PushModuleHeader, PushModuleRequest,
    PushModuleResponse, RemoveModuleRequest, RemoveModuleResponse,
};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use crate::principal::Principal;
use crate::registry::{CHUNK_DEADLINE, Registry};

/// The handlers of the registry.
#[derive(Debug)]
pub struct RegistryService {
    registry: Arc<Registry>,
}

impl RegistryService {
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[tonic::async_trait]
impl RegistryApi for RegistryService {
    async fn push_module(
        &self,
        request: Request<Streaming<PushModuleRequest>>,
    ) -> Result<Response<PushModuleResponse>, Status> {
        let by = Principal::of(&request)?;
        let mut stream = request.into_inner();
        let header = first(&mut stream).await?;
        let chunks = stream.map(|message| match message {
            Ok(PushModuleRequest { part: Some(Part::Chunk(bytes)) }) => Ok(bytes),
            Ok(_) => Err(ApiError::invalid("after the header only chunks may come")),
            Err(status) => Err(ApiError::from(&status)),
        });
        Ok(Response::new(self.registry.push(header, chunks, &by).await?))
    }

    async fn list_modules(
        &self,
        request: Request<ListModulesRequest>,
    ) -> Result<Response<ListModulesResponse>, Status> {
        Ok(Response::new(self.registry.list(&request.get_ref().name).await?))
    }

    async fn get_module(
        &self,
        request: Request<GetModuleRequest>,
    ) -> Result<Response<GetModuleResponse>, Status> {
        Ok(Response::new(self.registry.describe(&request.get_ref().module).await?))
    }

    async fn diff_modules(
        &self,
        request: Request<DiffModulesRequest>,
    ) -> Result<Response<DiffModulesResponse>, Status> {
        let DiffModulesRequest { a, b } = request.get_ref();
        Ok(Response::new(self.registry.diff(a, b).await?))
    }

    async fn remove_module(
        &self,
        request: Request<RemoveModuleRequest>,
    ) -> Result<Response<RemoveModuleResponse>, Status> {
        let by = Principal::of(&request)?;
        self.registry.remove(&request.get_ref().module, &by).await?;
        Ok(Response::new(RemoveModuleResponse {}))
    }

    async fn compile_module(
        &self,
        request: Request<CompileModuleRequest>,
    ) -> Result<Response<CompileModuleResponse>, Status> {
        let by = Principal::of(&request)?;
        let CompileModuleRequest { module, targets } = request.get_ref();
        let queued = self.registry.compile(module, targets, &by).await?;
        Ok(Response::new(CompileModuleResponse { queued }))
    }
}

async fn first(stream: &mut Streaming<PushModuleRequest>) -> Result<PushModuleHeader, ApiError> {
    let silent = |_| ApiError::new(ApiCode::DeadlineExceeded, "no header came for 30 seconds");
    let message = timeout(CHUNK_DEADLINE, stream.message()).await.map_err(silent)?;
    match message.map_err(|status| ApiError::from(&status))? {
        Some(PushModuleRequest { part: Some(Part::Header(header)) }) => Ok(header),
        _ => Err(ApiError::invalid("the first message of a push must be its header")),
    }
}
