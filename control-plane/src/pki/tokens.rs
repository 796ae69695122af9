//! Join tokens: made, listed, withdrawn.

use std::time::Duration;

use littoral_model::label::{Labels, check_labels};
use littoral_platform::clock;
use littoral_platform::error::ApiError;
use littoral_platform::join_token::JoinToken;
use littoral_platform::random;
use littoral_proto::store::TokenRecord;
use littoral_proto::v1::{CreateTokenRequest, CreateTokenResponse, Token};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Pki;
use crate::audit::Change;
use crate::principal::Principal;
use crate::records::{self, TxnRecords, key};
use crate::store::Txn;

const DEFAULT_TTL: Duration = Duration::from_secs(600);
const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// As many nodes as one control plane is built for.
const MAX_USES: u32 = 10_000;

impl Pki {
    /// # Errors
    /// `InvalidArgument` for a life, a number of uses or a label out of range.
    pub async fn create_token(
        &self,
        request: CreateTokenRequest,
        by: &Principal,
    ) -> Result<CreateTokenResponse, ApiError> {
        let ttl = if request.ttl_ms == 0 { DEFAULT_TTL } else { Duration::from_millis(request.ttl_ms) };
        if !(MIN_TTL..=MAX_TTL).contains(&ttl) {
            return Err(ApiError::invalid("a token lives for 1 second to 30 days"));
        }
        let uses = request.uses.max(1);
        if uses > MAX_USES {
            return Err(ApiError::invalid(format!("a token lets at most {MAX_USES} nodes join")));
        }
        let labels: Labels = request.labels;
        check_labels(&labels).map_err(|error| ApiError::invalid(error.to_string()))?;
        let token = JoinToken {
            id: hex::encode(random::bytes::<8>()),
            secret: Zeroizing::new(random::token()),
            pin: self.pin,
        };
        let now = clock::now();
        let record = TokenRecord {
            id: token.id.clone(),
            secret_hash: hash(&token.secret).to_vec(),
            created_at_ms: now.as_millis(),
            expires_at_ms: now.plus(ttl).as_millis(),
            uses_left: uses,
            labels,
            created_by: by.actor(),
        };
        let change = Change {
            subject: format!("token/{}", record.id),
            reason: "TokenCreated",
            message: format!("for {uses} nodes, until {}", now.plus(ttl)),
        };
        self.audit.commit(Txn::new().create(&record), by, change).await?;
        Ok(CreateTokenResponse {
            id: record.id,
            token: token.to_string(),
            expires_at_ms: record.expires_at_ms,
        })
    }

    /// Tokens that can still be used, in the order of their ids.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_tokens(&self) -> Result<Vec<Token>, ApiError> {
        let now = clock::now().as_millis();
        let tokens = records::scan::<TokenRecord>(self.store.as_ref(), key::TOKEN).await?.records;
        let usable = |token: &TokenRecord| token.uses_left > 0 && token.expires_at_ms > now;
        Ok(tokens.into_iter().map(|token| token.value).filter(usable).map(describe).collect())
    }

    /// # Errors
    /// `NotFound` for no such token.
    pub async fn revoke_token(&self, id: &str, by: &Principal) -> Result<(), ApiError> {
        let found = records::get::<TokenRecord>(self.store.as_ref(), &token_key(id)?).await?;
        let Some(token) = found else { return Err(ApiError::not_found(format!("there is no token {id}"))) };
        let change = Change {
            subject: format!("token/{id}"),
            reason: "TokenRevoked",
            message: "withdrawn".to_owned(),
        };
        self.audit.commit(Txn::new().remove(&token), by, change).await?;
        Ok(())
    }

    /// Deletes tokens that ended a week ago: until then their owners are told why they do not work.
    pub(super) async fn prune_tokens(&self) -> Result<(), ApiError> {
        const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
        let now = clock::now();
        let tokens = records::scan::<TokenRecord>(self.store.as_ref(), key::TOKEN).await?.records;
        for token in tokens.iter().filter(|token| token.value.expires_at_ms < now.minus(KEPT).as_millis()) {
            self.store.commit(Txn::new().remove(token)).await?;
        }
        Ok(())
    }
}

/// The key of a token whose id came from outside.
pub(super) fn token_key(id: &str) -> Result<String, ApiError> {
    let digits = id.len() == 16 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if digits { Ok(key::token(id)) } else { Err(ApiError::invalid("a token's id has 16 hexadecimal digits")) }
}

pub(super) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Whether the two are equal, in a time that does not tell where they differ.
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

fn describe(token: TokenRecord) -> Token {
    Token {
        id: token.id,
        created_at_ms: token.created_at_ms,
        expires_at_ms: token.expires_at_ms,
        uses_left: token.uses_left,
        labels: token.labels,
        created_by: token.created_by,
    }
}
