//! An answer as it comes in: straight to the streams, or collected into one object.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use littoral_proto::convert::outcome_name;
use littoral_proto::v1 as pb;
use serde::Serialize;

use crate::errors::{Failure, Result};
use crate::output::{Output, say};

/// One object is held in memory, encoded: longer answers are for files.
const MAX_COLLECTED: usize = 64 * 1024 * 1024;

pub(super) trait Answer {
    fn accepted(&mut self, accepted: pb::InvokeAccepted);
    fn head(&mut self, head: pb::HttpHead);
    fn stdout(&mut self, bytes: &[u8]) -> Result<()>;
    fn stderr(&mut self, bytes: &[u8]) -> Result<()>;
}

/// Bytes to where they belong, the rest to stderr when asked for.
pub(super) struct RawAnswer {
    output: Output,
    /// The node as well as the control plane may say who runs it.
    said_where: bool,
}

impl RawAnswer {
    pub(super) fn new(output: Output) -> Self {
        Self { output, said_where: false }
    }
}

impl Answer for RawAnswer {
    fn accepted(&mut self, accepted: pb::InvokeAccepted) {
        if !std::mem::replace(&mut self.said_where, true) {
            self.output.detail(&format!("on node {}, revision {}", accepted.node_name, accepted.revision));
        }
    }

    fn head(&mut self, head: pb::HttpHead) {
        self.output.detail(&format!("HTTP status {}", head.status));
        for header in head.headers {
            self.output.detail(&format!("{}: {}", header.name, header.value.escape_ascii()));
        }
        if !self.output.verbose && head.status >= 400 {
            say(&format!("HTTP status {}", head.status));
        }
    }

    fn stdout(&mut self, bytes: &[u8]) -> Result<()> {
        self.output.bytes(bytes)
    }

    fn stderr(&mut self, bytes: &[u8]) -> Result<()> {
        use std::io::Write;
        // A guest's words on stderr are no reason to lose its answer.
        let _ = std::io::stderr().lock().write_all(bytes);
        Ok(())
    }
}

/// The whole answer as one object.
#[derive(Debug, Default, Serialize)]
pub(super) struct JsonAnswer {
    function: String,
    node: String,
    node_id: String,
    revision: u64,
    outcome: &'static str,
    message: String,
    exit_code: i32,
    duration_us: u64,
    /// Of HTTP functions.
    status: Option<u32>,
    headers: Vec<(String, String)>,
    body: Body,
    stderr: Body,
}

/// Text when it is UTF-8, base64 when it is not.
#[derive(Debug, Default, Serialize)]
struct Body {
    encoding: &'static str,
    content: String,
    #[serde(skip)]
    bytes: Vec<u8>,
}

impl Body {
    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        if self.bytes.len() + bytes.len() > MAX_COLLECTED {
            let message =
                format!("the answer has more than {MAX_COLLECTED} bytes, which is the most for -o json");
            return Err(Failure::error(message).hint("leave -o json out and write it to a file: > FILE"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn encode(&mut self) {
        (self.encoding, self.content) = match String::from_utf8(std::mem::take(&mut self.bytes)) {
            Ok(text) => ("text", text),
            Err(error) => ("base64", STANDARD.encode(error.as_bytes())),
        };
    }
}

impl JsonAnswer {
    pub(super) fn new(function: &str) -> Self {
        Self { function: function.to_owned(), ..Self::default() }
    }

    pub(super) fn finish(mut self, finished: &pb::InvokeFinished) -> Self {
        self.outcome = outcome_name(finished.outcome());
        self.message.clone_from(&finished.message);
        self.exit_code = finished.exit_code;
        self.duration_us = finished.duration_us;
        self.body.encode();
        self.stderr.encode();
        self
    }
}

impl Answer for JsonAnswer {
    fn accepted(&mut self, accepted: pb::InvokeAccepted) {
        self.node = accepted.node_name;
        self.node_id = accepted.node_id;
        self.revision = accepted.revision;
    }

    fn head(&mut self, head: pb::HttpHead) {
        self.status = Some(head.status);
        let text = |header: pb::Header| (header.name, String::from_utf8_lossy(&header.value).into_owned());
        self.headers = head.headers.into_iter().map(text).collect();
    }

    fn stdout(&mut self, bytes: &[u8]) -> Result<()> {
        self.body.add(bytes)
    }

    fn stderr(&mut self, bytes: &[u8]) -> Result<()> {
        self.stderr.add(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_holds_text_as_text_and_bytes_as_base64() {
        let mut answer = JsonAnswer::new("hello");
        answer.accepted(pb::InvokeAccepted { node_id: "1".into(), node_name: "n".into(), revision: 3 });
        answer.head(pb::HttpHead {
            status: 200,
            headers: vec![pb::Header { name: "a".into(), value: b"b".to_vec() }],
        });
        answer.stdout(b"h\xc3").unwrap();
        answer.stdout(b"\xa9").unwrap();
        answer.stderr(&[0xff]).unwrap();
        let finished =
            pb::InvokeFinished { outcome: pb::Outcome::Ok.into(), duration_us: 7, ..Default::default() };
        let json = serde_json::to_value(answer.finish(&finished)).unwrap();
        assert_eq!(json["body"], serde_json::json!({ "encoding": "text", "content": "hé" }));
        assert_eq!(json["stderr"], serde_json::json!({ "encoding": "base64", "content": "/w==" }));
        assert_eq!(json["status"], 200);
        assert_eq!(json["headers"], serde_json::json!([["a", "b"]]));
        assert_eq!((json["outcome"].as_str(), json["revision"].as_u64()), (Some("ok"), Some(3)));
    }

    #[test]
    fn an_answer_too_long_for_one_object_is_refused() {
        let mut answer = JsonAnswer::new("a");
        let half = vec![0; MAX_COLLECTED / 2 + 1];
        answer.stdout(&half).unwrap();
        assert!(answer.stdout(&half).unwrap_err().hint.is_some());
    }
}
