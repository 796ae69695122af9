//! Who this node is and whom it believes, as it changes while the agent runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use littoral_model::time::Timestamp;
use littoral_platform::channel::{ChannelError, ServerUrl};
use littoral_platform::clock::PersistedClock;
use littoral_platform::files::FileError;
use littoral_platform::identity::{Identity, IdentityError};
use littoral_platform::tls::{ClientTls, IdentityHandle, TlsError};
use tokio::sync::watch;

use crate::data_dir::DataDir;
use crate::membership::{MembershipError, NodeRecord, Trust};

#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error(
        "this node has not joined a cluster: run `littoral-agent join --server URL --token-file F` with the same data directory"
    )]
    NotJoined,
    #[error(transparent)]
    Membership(#[from] MembershipError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Server(#[from] ChannelError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Shared by all that connect or verify.
#[derive(Debug)]
pub(crate) struct Credentials {
    data: DataDir,
    node: NodeRecord,
    server: ServerUrl,
    clock: PersistedClock,
    presented: IdentityHandle,
    identity: Mutex<Arc<Identity>>,
    trust: Mutex<Arc<Trust>>,
    /// Counts changes: a new certificate or a new trust is worth a new connection.
    changes: watch::Sender<u64>,
}

impl Credentials {
    /// Loads what `join` stored. `server` overrides the control plane that was joined.
    ///
    /// # Errors
    /// `NotJoined` when nothing is there; otherwise names what cannot be used.
    pub(crate) fn load(
        data: &DataDir,
        server: Option<&str>,
        clock: PersistedClock,
    ) -> Result<Self, CredentialsError> {
        let node = match NodeRecord::load(&data.node()) {
            Err(MembershipError::File(error)) if error.is_not_found() => {
                return Err(CredentialsError::NotJoined);
            }
            other => other?,
        };
        let identity = Identity::load(&data.identity())?;
        let trust = Trust::load(&data.trust())?;
        Ok(Self {
            server: server.unwrap_or(&node.server).parse()?,
            presented: IdentityHandle::new(&identity)?,
            identity: Mutex::new(Arc::new(identity)),
            trust: Mutex::new(Arc::new(trust)),
            changes: watch::Sender::new(0),
            data: data.clone(),
            node,
            clock,
        })
    }

    pub(crate) fn node(&self) -> &NodeRecord {
        &self.node
    }

    pub(crate) fn server(&self) -> &ServerUrl {
        &self.server
    }

    pub(crate) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&lock(&self.identity))
    }

    pub(crate) fn trust(&self) -> Arc<Trust> {
        Arc::clone(&lock(&self.trust))
    }

    /// For connections as this node.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(crate) fn tls(&self) -> Result<ClientTls, TlsError> {
        Ok(ClientTls::new(&self.trust().cas, Some(self.presented.clone()))?.with_clock(self.clock.clone()))
    }

    /// For a renewal, which works with a certificate that no server accepts any more.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(crate) fn tls_as_nobody(&self) -> Result<ClientTls, TlsError> {
        Ok(ClientTls::new(&self.trust().cas, None)?.with_clock(self.clock.clone()))
    }

    /// Stores a renewed certificate and presents it from the next connection on. Blocks for the disk.
    ///
    /// # Errors
    /// When it cannot be stored; the old one stays then.
    pub(crate) fn set_identity(&self, identity: Identity) -> Result<(), CredentialsError> {
        identity.save(&self.data.identity())?;
        self.presented.set(&identity)?;
        *lock(&self.identity) = Arc::new(identity);
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Stores and uses a new set of CAs and keys. `false`: it is the one that is used already. Blocks for the disk.
    ///
    /// # Errors
    /// When it cannot be stored; the old one stays then.
    pub(crate) fn set_trust(&self, trust: Trust) -> Result<bool, CredentialsError> {
        if *self.trust() == trust {
            return Ok(false);
        }
        trust.save(&self.data.trust())?;
        *lock(&self.trust) = Arc::new(trust);
        self.changes.send_modify(|count| *count += 1);
        Ok(true)
    }

    /// Wakes when a certificate or the trust changed.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Seconds until the certificate ends; negative after.
    pub(crate) fn expires_in_seconds(&self) -> i64 {
        let (end, now) = (self.identity().leaf().not_after, self.clock.now());
        let seconds = |timestamp: Timestamp| i64::try_from(timestamp.as_millis() / 1000).unwrap_or(i64::MAX);
        seconds(end).saturating_sub(seconds(now))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
