//! What each method needs.

use std::fmt;

use littoral_proto::v1::Role;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Anybody who can connect.
    Public,
    /// A node's certificate.
    Node,
    /// A user of at least this role.
    Role(Role),
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("nothing"),
            Self::Node => f.write_str("a node's certificate"),
            Self::Role(role) => write!(f, "the role {}", super::role_name(*role)),
        }
    }
}

const VIEWER: Requirement = Requirement::Role(Role::Viewer);
const DEPLOYER: Requirement = Requirement::Role(Role::Deployer);
const ADMIN: Requirement = Requirement::Role(Role::Admin);

/// Every method there is. What is not here is denied.
const RULES: &[(&str, Requirement)] = &[
    ("/grpc.health.v1.Health/Check", Requirement::Public),
    ("/grpc.health.v1.Health/Watch", Requirement::Public),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", VIEWER),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", VIEWER),
    ("/littoral.v1.NodeService/Join", Requirement::Public),
    ("/littoral.v1.NodeService/RenewChallenge", Requirement::Public),
    ("/littoral.v1.NodeService/Renew", Requirement::Public),
    ("/littoral.v1.NodeService/Session", Requirement::Node),
    ("/littoral.v1.NodeService/FetchArtifact", Requirement::Node),
    ("/littoral.v1.NodeService/ServeInvocation", Requirement::Node),
    ("/littoral.v1.Registry/PushModule", DEPLOYER),
    ("/littoral.v1.Registry/ListModules", VIEWER),
    ("/littoral.v1.Registry/GetModule", VIEWER),
    ("/littoral.v1.Registry/DiffModules", VIEWER),
    ("/littoral.v1.Registry/RemoveModule", DEPLOYER),
    ("/littoral.v1.Registry/CompileModule", DEPLOYER),
    ("/littoral.v1.Fleet/ApplyFunction", DEPLOYER),
    ("/littoral.v1.Fleet/ListFunctions", VIEWER),
    ("/littoral.v1.Fleet/GetFunction", VIEWER),
    ("/littoral.v1.Fleet/DeleteFunction", DEPLOYER),
    ("/littoral.v1.Fleet/ListNodes", VIEWER),
    ("/littoral.v1.Fleet/GetNode", VIEWER),
    ("/littoral.v1.Fleet/RevokeNode", ADMIN),
    ("/littoral.v1.Fleet/CreateToken", ADMIN),
    ("/littoral.v1.Fleet/ListTokens", ADMIN),
    ("/littoral.v1.Fleet/RevokeToken", ADMIN),
    ("/littoral.v1.Fleet/CreateUser", ADMIN),
    ("/littoral.v1.Fleet/ListUsers", ADMIN),
    ("/littoral.v1.Fleet/RevokeUser", ADMIN),
    ("/littoral.v1.Fleet/WatchEvents", VIEWER),
    ("/littoral.v1.Fleet/GetStatus", VIEWER),
    ("/littoral.v1.Invoke/Invoke", DEPLOYER),
];

/// What the method at `path` needs; `None` for a method that does not exist.
pub fn requirement(path: &str) -> Option<Requirement> {
    RULES.iter().find(|(method, _)| *method == path).map(|(_, requirement)| *requirement)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// Methods that the control plane serves, from the descriptors that are generated with it.
    fn described() -> BTreeSet<String> {
        let mut methods = BTreeSet::new();
        let encoded = [
            littoral_proto::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        for file in encoded.iter().flat_map(|set| FileDescriptorSet::decode(*set).unwrap().file) {
            for service in &file.service {
                for method in &service.method {
                    methods.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
        // The worker's socket is on the nodes.
        methods.retain(|method| !method.starts_with("/littoral.worker."));
        methods
    }

    #[test]
    fn every_method_has_one_rule_and_every_rule_a_method() {
        let ruled: Vec<String> = RULES.iter().map(|(method, _)| (*method).to_owned()).collect();
        let unique: BTreeSet<String> = ruled.iter().cloned().collect();
        assert_eq!(unique.len(), ruled.len(), "a method has two rules");
        assert_eq!(unique, described());
    }

    #[test]
    fn only_health_and_joining_are_open_to_everybody() {
        let open: Vec<&str> = RULES
            .iter()
            .filter(|(_, rule)| *rule == Requirement::Public)
            .map(|(method, _)| *method)
            .collect();
        let named = ["Check", "Watch", "Join", "RenewChallenge", "Renew"];
        assert!(open.iter().all(|method| named.contains(&method.rsplit('/').next().unwrap())), "{open:?}");
        assert_eq!(open.len(), named.len());
        assert_eq!(requirement("/littoral.v1.Fleet/DropEverything"), None);
    }
}
