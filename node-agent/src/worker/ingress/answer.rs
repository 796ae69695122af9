//! Answers that no guest gave.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{Either, Full};
use littoral_proto::convert::outcome_name;
use littoral_proto::v1::Outcome;

use super::IngressBody;
use crate::worker::runtime::Failure;

const ERROR: HeaderName = HeaderName::from_static("littoral-error");

pub(crate) type AnswerText = Full<Bytes>;

/// A request that reached no function.
pub(super) fn refusal(status: StatusCode, text: &'static str) -> Response<IngressBody> {
    let name = match status {
        StatusCode::NOT_FOUND => "no_route",
        _ => "bad_request",
    };
    plain(status, name, text)
}

/// What the client is told of a failure: which kind, and nothing from inside.
pub(super) fn failure(failure: &Failure) -> Response<IngressBody> {
    let outcome = failure.outcome;
    let (status, text) = match outcome {
        Outcome::Timeout => (StatusCode::GATEWAY_TIMEOUT, "the function took longer than its limit"),
        Outcome::QueueFull => (StatusCode::SERVICE_UNAVAILABLE, "the function is busy; try again"),
        Outcome::OutputLimit => (StatusCode::BAD_GATEWAY, "the function's answer is larger than its limit"),
        Outcome::OutOfMemory => {
            (StatusCode::INTERNAL_SERVER_ERROR, "the function ran out of its memory limit")
        }
        Outcome::StackOverflow => (StatusCode::INTERNAL_SERVER_ERROR, "the function ran out of stack"),
        Outcome::Trap => (StatusCode::INTERNAL_SERVER_ERROR, "the function failed"),
        Outcome::GuestError => (StatusCode::INTERNAL_SERVER_ERROR, "the function gave no answer"),
        Outcome::Ok | Outcome::Unspecified | Outcome::HostError | Outcome::Cancelled => {
            (StatusCode::BAD_GATEWAY, "the node could not run the function")
        }
    };
    let mut response = plain(status, outcome_name(outcome), text);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn plain(status: StatusCode, error: &'static str, text: &'static str) -> Response<IngressBody> {
    let body = Full::from(Bytes::from(format!("{error}: {text}\n")));
    let mut response = Response::new(Either::Right(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(ERROR, HeaderValue::from_static(error));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
