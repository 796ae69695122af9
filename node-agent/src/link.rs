//! Whether the control plane can be reached, for all who ask, and the connection for bulk.

use littoral_model::time::Timestamp;
use littoral_proto::v1::node_service_client::NodeServiceClient;
use tonic::transport::Channel;

/// The client that all agent calls use, with the protocol's limits on messages.
pub(crate) type NodeClient = NodeServiceClient<Channel>;

pub(crate) fn client(channel: Channel) -> NodeClient {
    NodeServiceClient::new(channel)
        .max_decoding_message_size(littoral_proto::MAX_MESSAGE)
        .max_encoding_message_size(littoral_proto::MAX_MESSAGE)
}

/// The state of the session, published for everybody.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub state: LinkState,
    pub since: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) enum LinkState {
    /// Not connected; the last reason, empty before the first try.
    Down { reason: String },
    /// Artifacts and invocations go over a second connection, so that they delay no heartbeat.
    Up { epoch: u64, bulk: NodeClient },
    /// The control plane wants no more of this node: it is not dialled again.
    Revoked { reason: String },
}

impl Link {
    pub(crate) fn bulk(&self) -> Option<&NodeClient> {
        match &self.state {
            LinkState::Up { bulk, .. } => Some(bulk),
            LinkState::Down { .. } | LinkState::Revoked { .. } => None,
        }
    }
}
