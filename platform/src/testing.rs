//! Certificates and connections for the tests of this crate.

use std::time::Duration;

use littoral_model::time::Timestamp;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, ServerName};

use crate::ca::{CertificateAuthority, Subject};
use crate::clock;
use crate::identity::Identity;
use crate::spiffe::SpiffeId;
use crate::trust::TrustBundle;

pub(crate) struct TestCa {
    pub(crate) authority: CertificateAuthority,
    pub(crate) now: Timestamp,
}

impl TestCa {
    pub(crate) fn new(cluster: &str) -> Self {
        let now = clock::now();
        Self { authority: CertificateAuthority::create(&cluster.parse().unwrap(), now).unwrap(), now }
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.authority.certificate().clone()
    }

    pub(crate) fn trust(&self) -> TrustBundle {
        TrustBundle::new([self.certificate()]).unwrap()
    }

    /// Valid for a day, for nothing but the id.
    pub(crate) fn subject<'a>(&self, id: &'a SpiffeId) -> Subject<'a> {
        Subject {
            id,
            names: &[],
            not_before: self.now,
            not_after: self.now.plus(Duration::from_secs(86_400)),
        }
    }

    pub(crate) fn node(&self, name: &str) -> Identity {
        self.authority.issue_server(&self.subject(&self.id("node", name))).unwrap()
    }

    /// A node whose certificate ended an hour ago.
    pub(crate) fn lapsed_node(&self, name: &str) -> Identity {
        let id = self.id("node", name);
        let hour = Duration::from_secs(3600);
        let (not_before, not_after) = (self.now.minus(hour * 2), self.now.minus(hour));
        self.authority.issue_server(&Subject { not_before, not_after, ..self.subject(&id) }).unwrap()
    }

    /// A control plane that answers as `localhost` and 127.0.0.1.
    pub(crate) fn server(&self) -> Identity {
        let names = ["localhost", "127.0.0.1"].map(|name| ServerName::try_from(name).unwrap());
        let id = self.id("control-plane", "cp-1");
        self.authority.issue_server(&Subject { names: &names, ..self.subject(&id) }).unwrap()
    }

    fn id(&self, kind: &str, name: &str) -> SpiffeId {
        format!("spiffe://{}/{kind}/{name}", self.authority.cluster()).parse().unwrap()
    }
}

pub(crate) fn self_signed_with_uris(uris: &[&str]) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}
