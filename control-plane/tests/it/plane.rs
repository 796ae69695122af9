//! A control plane to test against, and clients of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use littoral_platform::channel::{self, ServerUrl};
use littoral_platform::identity::Identity;
use littoral_platform::tasks::Tasks;
use littoral_platform::tls::{ClientTls, IdentityHandle};
use littoral_platform::trust::TrustBundle;
use littoral_proto::v1::fleet_client::FleetClient;
use littoral_proto::v1::push_module_request::Part;
use littoral_proto::v1::registry_client::RegistryClient;
use littoral_proto::v1::{PushModuleHeader, PushModuleRequest, PushModuleResponse};
use littorald::config::StoreKind;
use littorald::{ChildCommands, Config, ControlPlane, Ready, RunError};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

/// Longer than anything here takes on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Plane {
    pub(crate) ready: Ready,
    tasks: Tasks,
    serving: JoinSet<Result<(), RunError>>,
}

pub(crate) fn config(dir: &Path) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        http: "127.0.0.1:0".parse().unwrap(),
        store: StoreKind::Sled,
        ..Config::new(dir.to_owned())
    }
}

impl Plane {
    pub(crate) async fn start(config: Config) -> Result<Self, RunError> {
        let tasks = Tasks::new();
        let commands = ChildCommands::from(PathBuf::from(env!("CARGO_BIN_EXE_littorald")));
        let plane = ControlPlane::start(config, commands, tasks.clone()).await?;
        let ready = plane.ready().clone();
        let mut serving = JoinSet::new();
        serving.spawn(plane.serve_until(std::future::pending()));
        Ok(Self { ready, tasks, serving })
    }

    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown(Duration::ZERO).await.ok();
        self.serving.join_next().await.unwrap().unwrap().unwrap();
    }

    /// As whom the credential says, or as nobody.
    pub(crate) async fn connect(&self, credential: &Path, with_identity: bool) -> Channel {
        let credential: toml::Table = toml::from_str(&std::fs::read_to_string(credential).unwrap()).unwrap();
        let text = |key: &str| credential[key].as_str().unwrap().to_owned();
        let identity = Identity::from_pem((text("certificate_pem") + &text("key_pem")).as_bytes()).unwrap();
        let identity = with_identity.then(|| IdentityHandle::new(&identity).unwrap());
        self.channel(&text("ca_pem"), identity).await
    }

    pub(crate) async fn as_user(
        &self,
        ca_pem: &str,
        identity: &Identity,
    ) -> (RegistryClient<Channel>, FleetClient<Channel>) {
        let channel = self.channel(ca_pem, Some(IdentityHandle::new(identity).unwrap())).await;
        (RegistryClient::new(channel.clone()), FleetClient::new(channel))
    }

    async fn channel(&self, ca_pem: &str, identity: Option<IdentityHandle>) -> Channel {
        let trust = TrustBundle::from_pem(ca_pem.as_bytes()).unwrap();
        let url: ServerUrl = format!("https://localhost:{}", self.ready.grpc.port()).parse().unwrap();
        channel::connect(&url, &ClientTls::new(&trust, identity).unwrap()).await.unwrap()
    }

    pub(crate) async fn operator(&self, dir: &Path) -> (RegistryClient<Channel>, FleetClient<Channel>) {
        let channel = self.connect(&dir.join("operator.toml"), true).await;
        (RegistryClient::new(channel.clone()), FleetClient::new(channel))
    }
}

pub(crate) async fn push(
    registry: &mut RegistryClient<Channel>,
    name: &str,
    version: &str,
    wasm: &[u8],
) -> Result<PushModuleResponse, Status> {
    let header = PushModuleHeader {
        name: name.into(),
        version: version.into(),
        message: String::new(),
        size_bytes: wasm.len() as u64,
    };
    let mut parts = vec![PushModuleRequest { part: Some(Part::Header(header)) }];
    let chunk = |bytes: &[u8]| PushModuleRequest { part: Some(Part::Chunk(bytes.to_vec().into())) };
    parts.extend(wasm.chunks(64 * 1024).map(chunk));
    Ok(registry.push_module(futures::stream::iter(parts)).await?.into_inner())
}

pub(crate) fn example(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../examples/{name}/{name}.wasm", env!("CARGO_MANIFEST_DIR"))).unwrap()
}
