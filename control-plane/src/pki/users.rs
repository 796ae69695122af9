//! Operators, and the programs that act as one.

use littoral_model::id::UserName;
use littoral_model::time::Timestamp;
use littoral_platform::clock;
use littoral_platform::error::{ApiCode, ApiError};
use littoral_platform::spiffe::Kind;
use littoral_proto::store::UserRecord;
use littoral_proto::v1::{CreateUserResponse, Role, User};

use super::Pki;
use crate::audit::Change;
use crate::authorize::role_name;
use crate::principal::Principal;
use crate::records::{self, Record, TxnRecords, key};
use crate::store::{StoreError, Txn};

impl Pki {
    /// Creates a user and issues the one certificate that counts for it.
    ///
    /// # Errors
    /// `AlreadyExists` for a name in use; `InvalidArgument` for a bad name, role or request.
    pub async fn issue_user(
        &self,
        csr_pem: &str,
        name: &str,
        role: Role,
        by: &Principal,
    ) -> Result<CreateUserResponse, ApiError> {
        let name: UserName = name.parse().map_err(|e| ApiError::invalid(format!("{e}")))?;
        if role == Role::Unspecified {
            return Err(ApiError::invalid("a user has a role: viewer, deployer or admin"));
        }
        let now = clock::now();
        let spiffe = self.id(Kind::User(name.clone()));
        let issued = self.issue(csr_pem, &spiffe, now, now.plus(self.lifetimes.user))?;
        let user = user_record(&name, role, &issued.leaf.serial, now, by.actor());
        let change = Change {
            subject: format!("user/{name}"),
            reason: "UserCreated",
            message: format!("as {}", role_name(role)),
        };
        match self.audit.commit(Txn::new().create(&user), by, change).await {
            Err(StoreError::Conflict { .. }) => Err(ApiError::new(
                ApiCode::AlreadyExists,
                format!("there is a user {name}: revoke it first, or choose another name"),
            )),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(CreateUserResponse {
                user: Some(describe(user)),
                certificate_pem: issued.chain_pem,
                ca_pem: self.ca_pem(),
            }),
        }
    }

    /// # Errors
    /// When the store cannot be read.
    pub async fn list_users(&self) -> Result<Vec<User>, ApiError> {
        let users = records::scan::<UserRecord>(self.store.as_ref(), key::USER).await?.records;
        Ok(users.into_iter().map(|user| describe(user.value)).collect())
    }

    /// From now on the user's certificate is refused.
    ///
    /// # Errors
    /// `NotFound` for no such user; `FailedPrecondition` for the last admin, who could not be replaced.
    pub async fn revoke_user(&self, name: &str, by: &Principal) -> Result<(), ApiError> {
        let users = records::scan::<UserRecord>(self.store.as_ref(), key::USER).await?.records;
        let Some(user) = users.iter().find(|user| user.value.name == name) else {
            return Err(ApiError::not_found(format!(
                "there is no user {}",
                name.chars().take(80).collect::<String>()
            )));
        };
        let mut txn = Txn::new().remove(user);
        if user.value.role() == Role::Admin {
            let other =
                users.iter().find(|other| other.value.role() == Role::Admin && other.value.name != name);
            let Some(other) = other else {
                let message = format!("{name} is the last admin: create another first");
                return Err(ApiError::new(ApiCode::FailedPrecondition, message));
            };
            // Two admins who revoke each other: one of them stays.
            txn = txn.revision(other.value.key(), other.revision);
        }
        let change = Change {
            subject: format!("user/{name}"),
            reason: "UserRevoked",
            message: "withdrawn".to_owned(),
        };
        self.audit.commit(txn, by, change).await?;
        Ok(())
    }
}

pub(super) fn user_record(
    name: &UserName,
    role: Role,
    serial: &str,
    now: Timestamp,
    by: String,
) -> UserRecord {
    UserRecord {
        name: name.to_string(),
        role: role.into(),
        created_at_ms: now.as_millis(),
        certificate_serial: serial.to_owned(),
        created_by: by,
    }
}

fn describe(user: UserRecord) -> User {
    User { role: user.role, name: user.name, created_at_ms: user.created_at_ms }
}
