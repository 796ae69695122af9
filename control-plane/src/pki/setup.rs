//! The CA at the first start and at every other one; the control plane's own certificate; the first operator.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use littoral_model::id::UserName;
use littoral_model::time::Timestamp;
use littoral_platform::ca::{CaError, CertificateAuthority, Subject};
use littoral_platform::clock;
use littoral_platform::error::{ApiError, Chain};
use littoral_platform::files::{self, FileError};
use littoral_platform::identity::{Identity, IdentityError, KeyAndCsr};
use littoral_platform::spiffe::{BadSpiffeId, Kind, SpiffeId};
use littoral_platform::tasks::Tasks;
use littoral_platform::tls::{IdentityHandle, ServerTls, TlsError};
use littoral_platform::trust::{TrustBundle, TrustError};
use littoral_proto::store::ClusterRecord;
use littoral_proto::v1::{Role, TrustedKeys};
use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::sleep;

use super::nonces::Nonces;
use super::users::user_record;
use super::{Lifetimes, Pki};
use crate::audit::{Audit, Change};
use crate::config::Config;
use crate::principal::{Caller, Principal};
use crate::records::{self, RecordError, TxnRecords, key};
use crate::store::{Store, StoreError, Txn};

/// Of the one control plane that a cluster has for now.
const CONTROL_PLANE: &str = "cp-1";
const OPERATOR: &str = "admin";
/// Between two looks at the own certificate and at old tokens. Timers stand still while a machine sleeps, so no sleep
/// is as long as a certificate.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the store is of the cluster {cluster}, and its CA is not in {}: put the file back from a backup", path.display())]
    Missing { cluster: String, path: PathBuf },
    #[error("the CA in {} is of the cluster {ca}, and the store of {store}: they do not belong together", path.display())]
    Mixed { path: PathBuf, ca: String, store: String },
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Name(#[from] BadSpiffeId),
    #[error("`{0}` is not a host name or an address")]
    ServerName(String),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("could not issue the operator's certificate: {0}")]
    Operator(ApiError),
    #[error("the operator's credential cannot be written as TOML")]
    Encode(#[from] toml::ser::Error),
}

/// What `littoral context add --from` reads.
#[derive(Serialize)]
struct Credential<'a> {
    name: &'a str,
    server: String,
    ca_pem: String,
    certificate_pem: String,
    key_pem: &'a str,
}

impl Pki {
    /// Opens the CA in `<data_dir>/pki`, or makes it at the first start; issues a certificate for the listener.
    ///
    /// # Errors
    /// When files or store cannot be read, or do not belong together. A lost CA is never replaced by a new one.
    pub async fn open(
        config: &Config,
        keys: TrustedKeys,
        store: Arc<dyn Store>,
        audit: Audit,
    ) -> Result<Self, PkiError> {
        let path = config.data_dir.join("pki").join("ca.pem");
        let cluster =
            records::get::<ClusterRecord>(store.as_ref(), key::CLUSTER).await?.map(|r| r.value.name);
        let ca = open_ca(&path, config, cluster)?;
        let server_names = server_names(config)?;
        let identity = server_identity(&ca, &server_names, &config.certificates, clock::now())?;
        let trust = TrustBundle::new([ca.certificate().clone()])?;
        let listener = ServerTls::new(IdentityHandle::new(&identity)?, &trust)?;
        let pki = Self {
            pin: ca.pin()?,
            ca,
            trust,
            lifetimes: config.certificates.clone(),
            keys,
            store,
            audit,
            nonces: Mutex::new(Nonces::default()),
            joining: tokio::sync::Mutex::default(),
            revoked: watch::Sender::new(Arc::new(HashSet::new())),
            listener,
            server_names,
        };
        pki.load_revoked().await?;
        Ok(pki)
    }

    /// At the first start: writes the operator's credential and records the cluster, and answers where the credential
    /// is. `server` is the URL that operators use.
    ///
    /// # Errors
    /// When it cannot be issued, written or recorded; the next start tries again.
    pub async fn first_start(&self, config: &Config, server: String) -> Result<Option<PathBuf>, PkiError> {
        if records::get::<ClusterRecord>(self.store.as_ref(), key::CLUSTER).await?.is_some() {
            return Ok(None);
        }
        let now = clock::now();
        let name: UserName = OPERATOR.parse().map_err(|_| PkiError::ServerName(OPERATOR.to_owned()))?;
        let spiffe = self.id(Kind::User(name.clone()));
        let key = KeyAndCsr::generate()?;
        let issued = self.issue(&key.csr_pem(), &spiffe, now, now.plus(self.lifetimes.user));
        let issued = issued.map_err(PkiError::Operator)?;
        let identity = key.into_identity(issued.chain_pem.as_bytes())?;
        // Before the record: a crash in between makes another credential, and not a cluster without an operator.
        write_credential(&config.operator_credential, server, self.ca_pem(), &identity)?;
        let cluster =
            ClusterRecord { name: self.cluster().to_string(), epoch: 1, created_at_ms: now.as_millis() };
        let user = user_record(&name, Role::Admin, &issued.leaf.serial, now, String::new());
        let change = Change {
            subject: format!("cluster/{}", cluster.name),
            reason: "ClusterCreated",
            message: format!("with the CA {}", self.pin),
        };
        let by = Principal::new(Caller::ControlPlane);
        self.audit.commit(Txn::new().create(&cluster).create(&user), &by, change).await?;
        Ok(Some(config.operator_credential.clone()))
    }

    /// Renews the control plane's own certificate in time and deletes old tokens, until `tasks` stop.
    pub async fn upkeep(self: Arc<Self>, tasks: Tasks) {
        let stop = tasks.child();
        let mut renew_at = self.renew_at(clock::now());
        while stop.run_until_cancelled(sleep(UPKEEP_INTERVAL.min(self.lifetimes.server / 6))).await.is_some()
        {
            let now = clock::now();
            if now >= renew_at {
                match self.renew_own(now) {
                    Ok(()) => renew_at = self.renew_at(now),
                    Err(error) => tracing::error!("could not renew the own certificate: {}", Chain(&error)),
                }
            }
            if let Err(error) = self.prune_tokens().await {
                tracing::warn!("could not delete old tokens: {error}");
            }
        }
    }

    fn renew_own(&self, now: Timestamp) -> Result<(), PkiError> {
        let identity = server_identity(&self.ca, &self.server_names, &self.lifetimes, now)?;
        self.listener.identity().set(&identity)?;
        tracing::info!(until = %identity.leaf().not_after, "renewed the own certificate");
        Ok(())
    }

    fn renew_at(&self, issued: Timestamp) -> Timestamp {
        issued.plus(self.lifetimes.server * 2 / 3)
    }
}

fn open_ca(path: &Path, config: &Config, recorded: Option<String>) -> Result<CertificateAuthority, PkiError> {
    let ca = match CertificateAuthority::load(path) {
        Err(CaError::File(error)) if error.is_not_found() => {
            if let Some(cluster) = recorded {
                return Err(PkiError::Missing { cluster, path: path.to_owned() });
            }
            let ca = CertificateAuthority::create(&config.cluster, clock::now())?;
            ca.save(path)?;
            return Ok(ca);
        }
        loaded => loaded?,
    };
    match recorded {
        Some(store) if store != ca.cluster().as_str() => {
            Err(PkiError::Mixed { path: path.to_owned(), ca: ca.cluster().to_string(), store })
        }
        _ => Ok(ca),
    }
}

/// Every name and address that the listener may be called by.
fn server_names(config: &Config) -> Result<Vec<ServerName<'static>>, PkiError> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(config.advertise.iter().cloned());
    if !config.listen.ip().is_unspecified() {
        names.push(config.listen.ip().to_string());
    }
    let mut all = Vec::new();
    for name in names {
        let name = ServerName::try_from(name.clone()).map_err(|_| PkiError::ServerName(name))?;
        if !all.contains(&name) {
            all.push(name);
        }
    }
    // A machine may be called something that no certificate can hold.
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    all.extend(ServerName::try_from(host).ok().filter(|host| !all.contains(host)));
    Ok(all)
}

fn server_identity(
    ca: &CertificateAuthority,
    names: &[ServerName<'static>],
    lifetimes: &Lifetimes,
    now: Timestamp,
) -> Result<Identity, PkiError> {
    let id = SpiffeId::new(ca.cluster(), Kind::ControlPlane(CONTROL_PLANE.parse()?));
    let subject = Subject { id: &id, names, not_before: now, not_after: now.plus(lifetimes.server) };
    Ok(ca.issue_server(&subject)?)
}

fn write_credential(
    path: &Path,
    server: String,
    ca_pem: String,
    identity: &Identity,
) -> Result<(), PkiError> {
    let certificate_pem = identity.chain_pem();
    let whole = identity.to_pem();
    let credential = Credential {
        name: OPERATOR,
        server,
        ca_pem,
        key_pem: whole.strip_prefix(certificate_pem.as_str()).unwrap_or(&whole),
        certificate_pem: certificate_pem.clone(),
    };
    let text = zeroize::Zeroizing::new(toml::to_string_pretty(&credential)?);
    Ok(files::write_atomic(path, text.as_bytes())?)
}
