//! Authorisation, decision by decision.
