//! Becoming a member: a key made here, a certificate in exchange for a token.

use std::fs;
use std::io::{self, ErrorKind};
use std::time::Duration;

use littoral_platform::channel::{self, ChannelError, ServerUrl};
use littoral_platform::clock::PersistedClock;
use littoral_platform::files::FileError;
use littoral_platform::identity::{IdentityError, KeyAndCsr};
use littoral_platform::join_token::JoinToken;
use littoral_platform::spiffe::Kind;
use littoral_platform::tls::{ClientTls, TlsError};
use littoral_proto::v1::{JoinRequest, JoinResponse};
use tokio::time::timeout;
use tonic::Status;

use crate::data_dir::{DataDir, DataDirError};
use crate::link::client;
use crate::membership::{MembershipError, NodeRecord, Trust};

/// The control plane signs and commits once.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "this data directory belongs to the node {name} ({id}) already: use --force to give that identity up, or another --data-dir"
    )]
    AlreadyJoined { name: String, id: String },
    #[error(
        "there is an identity in this data directory, of a join that did not end or was damaged: use --force to replace it"
    )]
    Leftover,
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Membership(#[from] MembershipError),
    #[error("the control plane refused: {}", .0.message())]
    Refused(Status),
    #[error("the control plane did not answer within {} s; the token may have been used up", CALL_DEADLINE.as_secs())]
    Silent,
    #[error("the control plane's certificate is for {found} and its answer for node {said}")]
    Inconsistent { found: String, said: String },
    #[error("could not remove the old ledger")]
    OldLedger(#[source] io::Error),
}

/// What a join needs.
#[derive(Debug)]
pub(crate) struct Join {
    pub server: ServerUrl,
    pub token: JoinToken,
    /// None: the control plane chooses.
    pub name: Option<String>,
    /// Gives up an identity that is there.
    pub force: bool,
}

/// Exchanges a token for a certificate and stores all that `run` needs; `node.json` last, so that a join that was cut
/// is no membership.
///
/// The secret is sent only to a server whose CA has the token's pin.
///
/// # Errors
/// Says what was refused and what to do. Nothing of an existing identity is touched before the new one is there.
pub(crate) async fn join(data: &DataDir, join: Join) -> Result<NodeRecord, JoinError> {
    let _lock = data.lock()?;
    if !join.force {
        refuse_to_overwrite(data)?;
    }
    let clock = PersistedClock::open(&data.clock())?;
    let key = KeyAndCsr::generate()?;
    let tls = ClientTls::pinned(join.token.pin)?.with_clock(clock.clone());
    let mut client = client(channel::connect(&join.server, &tls).await?);
    let request = JoinRequest {
        token_id: join.token.id.clone(),
        token_secret: join.token.secret.as_str().to_owned(),
        csr_pem: key.csr_pem(),
        requested_name: join.name.unwrap_or_default(),
    };
    let answer = timeout(CALL_DEADLINE, client.join(request)).await.map_err(|_| JoinError::Silent)?;
    let record = store(data, key, answer.map_err(JoinError::Refused)?.into_inner(), &join.server)?;
    clock.persist()?;
    Ok(record)
}

fn refuse_to_overwrite(data: &DataDir) -> Result<(), JoinError> {
    match NodeRecord::load(&data.node()) {
        Ok(node) => Err(JoinError::AlreadyJoined { name: node.name, id: node.id }),
        Err(MembershipError::File(error)) if error.is_not_found() && !data.identity().exists() => Ok(()),
        Err(_) => Err(JoinError::Leftover),
    }
}

fn store(
    data: &DataDir,
    key: KeyAndCsr,
    answer: JoinResponse,
    server: &ServerUrl,
) -> Result<NodeRecord, JoinError> {
    let identity = key.into_identity(answer.certificate_pem.as_bytes())?;
    let own = matches!(identity.leaf().spiffe.kind(), Kind::Node(id) if id.as_str() == answer.node_id);
    if !own {
        let found = identity.leaf().spiffe.to_string();
        return Err(JoinError::Inconsistent { found, said: answer.node_id });
    }
    let trust = Trust::from_proto(&answer.ca_pem, &answer.keys.unwrap_or_default())?;
    let record = NodeRecord {
        id: answer.node_id,
        name: answer.node_name,
        cluster: answer.cluster,
        server: server.to_string(),
    };
    for old in [fs::remove_file(data.node()), fs::remove_dir_all(data.ledger())] {
        old.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
            .map_err(JoinError::OldLedger)?;
    }
    trust.save(&data.trust())?;
    identity.save(&data.identity())?;
    record.save(&data.node())?;
    Ok(record)
}
