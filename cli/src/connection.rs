//! Which control plane to talk to, and the connection to it.

pub(crate) mod config;

use std::path::PathBuf;
use std::time::Duration;

use littoral_platform::channel::{self, ServerUrl};
use littoral_platform::identity::Identity;
use littoral_platform::tls::{ClientTls, IdentityHandle};
use littoral_platform::trust::TrustBundle;
use littoral_proto::MAX_MESSAGE;
use littoral_proto::v1::fleet_client::FleetClient;
use littoral_proto::v1::invoke_client::InvokeClient;
use littoral_proto::v1::registry_client::RegistryClient;
use tonic::Request;
use tonic::transport::Channel;

use crate::errors::{Failure, Result};
use config::{Config, Context, Credential};

/// Everything but streams is answered from memory or one commit: half a minute is a control plane in trouble.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Which control plane, from flags and environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    pub(crate) context: Option<String>,
    /// A credential file, instead of a context.
    pub(crate) credential: Option<PathBuf>,
    /// Instead of the context's own; its credential is used.
    pub(crate) server: Option<String>,
    /// The file of contexts, instead of the usual one.
    pub(crate) config: Option<PathBuf>,
}

/// A control plane that answers. The clients share one connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) context: String,
    pub(crate) server: String,
    channel: Channel,
}

impl Target {
    /// Where the contexts are.
    ///
    /// # Errors
    /// When there is no home to look in.
    pub(crate) fn config_path(&self) -> Result<PathBuf> {
        self.config.clone().map_or_else(|| config::default_path(config::variable), Ok)
    }

    /// Connects to the control plane of the chosen context or credential.
    ///
    /// # Errors
    /// When none is chosen, its credential cannot be used, or nobody to be trusted answers.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        if let Some(file) = &self.credential {
            let credential = Credential::load(file)?;
            return self.open(&credential.name.clone(), &credential.into()).await;
        }
        let config = Config::load(&self.config_path()?)?;
        let (name, context) = config.context(self.context.as_deref())?;
        self.open(name, context).await
    }

    async fn open(&self, name: &str, context: &Context) -> Result<Connection> {
        Connection::open(name, self.server.as_deref().unwrap_or(&context.server), context).await
    }
}

impl Connection {
    pub(crate) async fn open(name: &str, server: &str, context: &Context) -> Result<Self> {
        let tried = format!("connect to the control plane of context `{name}`");
        let url: ServerUrl = server.parse().map_err(|error| Failure::unconnected(&tried, &error))?;
        let tls = client_tls(context).map_err(|error| {
            Failure::caused(&tried, error.as_ref())
                .hint("add the context again from a credential file: littoral context add NAME --from FILE")
        })?;
        let channel =
            channel::connect(&url, &tls).await.map_err(|error| Failure::unconnected(&tried, &error))?;
        Ok(Self { context: name.to_owned(), server: url.to_string(), channel })
    }

    pub(crate) fn fleet(&self) -> FleetClient<Channel> {
        FleetClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn registry(&self) -> RegistryClient<Channel> {
        RegistryClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn invoke(&self) -> InvokeClient<Channel> {
        InvokeClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }
}

/// A call with one answer, which has a deadline.
pub(crate) fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

fn client_tls(context: &Context) -> Result<ClientTls, Box<dyn std::error::Error + Send + Sync>> {
    let trust = TrustBundle::from_pem(context.ca_pem.as_bytes())?;
    let identity = identity(context)?;
    Ok(ClientTls::new(&trust, Some(IdentityHandle::new(&identity)?))?)
}

/// Who one is in this context.
pub(crate) fn identity(context: &Context) -> Result<Identity, Box<dyn std::error::Error + Send + Sync>> {
    let pem = format!("{}\n{}", context.certificate_pem.trim_end(), context.key_pem);
    Ok(Identity::from_pem(pem.as_bytes())?)
}
