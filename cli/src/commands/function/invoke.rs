mod answer;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures::StreamExt;
use littoral_proto::convert::outcome_name;
use littoral_proto::v1::{self as pb, invoke_request::Part};
use tonic::{Request, Streaming};

use crate::Shell;
use crate::commands::{duration, millis};
use crate::errors::{Exit, Failure, Result, Tried};
use crate::output::Output;
use crate::upload::{self, Reader};
use answer::{Answer, JsonAnswer, RawAnswer};

/// The protocol's limit for a chunk of a payload.
const CHUNK: usize = 256 * 1024;
/// The protocol's limit for a payload.
const MAX_PAYLOAD: u64 = 16 * 1024 * 1024;
/// The control plane's wait when none is asked for.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);
/// The other side decides when it is too late; this much later the line must be dead.
const GRACE: Duration = Duration::from_secs(10);

/// Run a function once and print its answer
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  littoral function invoke hello --path '/?name=ada'
  littoral function invoke upper --data 'some text'
  littoral function invoke resize --data-file photo.jpg > small.jpg
  littoral function invoke typed --call 'add(1, 2)' -v")]
pub(crate) struct Invoke {
    /// Its name
    name: String,
    /// Payload: body of the request, or stdin of a command
    #[arg(long, value_name = "TEXT", conflicts_with = "data_file")]
    data: Option<String>,
    /// Payload from a file, or from stdin with `-`
    #[arg(long, value_name = "FILE")]
    data_file: Option<PathBuf>,
    /// Call of an exported function, in WAVE syntax
    #[arg(long, value_name = "CALL", conflicts_with_all = ["data", "data_file", "method", "path", "headers"])]
    call: Option<String>,
    /// Run it on this node [default: the one with the best measured latency]
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// HTTP method [default: GET, or POST with a payload]
    #[arg(long)]
    method: Option<String>,
    /// HTTP path with query [default: /]
    #[arg(long)]
    path: Option<String>,
    /// HTTP header; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE", value_parser = header)]
    headers: Vec<pb::Header>,
    /// How long to wait, at most [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    deadline: Option<Duration>,
}

fn header(text: &str) -> Result<pb::Header, String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok(pb::Header { name: name.trim().to_owned(), value: value.trim().as_bytes().to_vec() })
        }
        _ => Err("write it as NAME:VALUE".into()),
    }
}

pub(crate) async fn run(invoke: Invoke, shell: &Shell) -> Result<()> {
    let tried = format!("invoke function `{}`", invoke.name);
    let (reader, what) = invoke.payload().await?;
    let patience = invoke.deadline.unwrap_or(DEFAULT_DEADLINE) + GRACE;
    let start = invoke.start();
    let (chunks, guard) = upload::chunks(reader, CHUNK, MAX_PAYLOAD, what);
    let parts = futures::stream::iter([Part::Start(start)])
        .chain(chunks.map(|chunk| Part::Chunk(chunk.to_vec())))
        .map(|part| pb::InvokeRequest { part: Some(part) });
    let mut request = Request::new(parts);
    request.set_timeout(patience);

    let connection = shell.target.connect().await?;
    let mut client = connection.invoke();
    let call = async {
        let stream = client.invoke(request).await.tried(&tried)?.into_inner();
        if shell.output.is_json() {
            let mut answer = JsonAnswer::new(&invoke.name);
            let finished = receive(stream, &mut answer, &tried).await?;
            shell.output.json(&answer.finish(&finished))?;
            Ok(finished)
        } else {
            let finished = receive(stream, &mut RawAnswer::new(shell.output), &tried).await?;
            // The result of a call is text without a line's end; everything else is the function's own bytes.
            if invoke.call.is_some() && finished.outcome() == pb::Outcome::Ok {
                shell.output.line("")?;
            }
            Ok(finished)
        }
    };
    // The deadline of the request covers its beginning alone: the answer may be long.
    let finished = match tokio::time::timeout(patience, guard.run(call)).await {
        Ok(finished) => finished?,
        Err(_) => return Err(Failure::new(Exit::TimedOut, format!("could not {tried} within {patience:?}"))),
    };
    conclude(shell.output, &invoke.name, &finished)
}

impl Invoke {
    /// What to send, and its name for messages.
    async fn payload(&self) -> Result<(Reader, String)> {
        if let Some(data) = &self.data {
            return Ok((Box::new(std::io::Cursor::new(data.clone().into_bytes())), "--data".into()));
        }
        match &self.data_file {
            None => Ok((Box::new(tokio::io::empty()), "nothing".into())),
            Some(path) if path.as_os_str() == "-" => Ok((Box::new(upload::stdin()?), "stdin".into())),
            Some(path) => {
                let (file, size) = upload::open(path).await?;
                let what = path.display().to_string();
                if size > MAX_PAYLOAD {
                    let message = format!("{what} has {size} bytes: a payload has at most {MAX_PAYLOAD}");
                    return Err(Failure::error(message));
                }
                Ok((Box::new(file), what))
            }
        }
    }

    fn start(&self) -> pb::InvokeStart {
        pb::InvokeStart {
            function: self.name.clone(),
            node: self.node.clone().unwrap_or_default(),
            call: self.call.clone().unwrap_or_default(),
            method: self.method.clone().unwrap_or_default(),
            path: self.path.clone().unwrap_or_default(),
            headers: self.headers.clone(),
            deadline_ms: self.deadline.map_or(0, millis),
        }
    }
}

/// Reads the answer to its end.
async fn receive(
    mut stream: Streaming<pb::InvokeResponse>,
    answer: &mut impl Answer,
    tried: &str,
) -> Result<pb::InvokeFinished> {
    use pb::invoke_response::Part;
    while let Some(message) = stream.message().await.tried(tried)? {
        match message.part {
            Some(Part::Accepted(accepted)) => answer.accepted(accepted),
            Some(Part::Head(head)) => answer.head(head),
            Some(Part::Stdout(bytes)) => answer.stdout(&bytes)?,
            Some(Part::Stderr(bytes)) => answer.stderr(&bytes)?,
            Some(Part::Finished(finished)) => return Ok(finished),
            None => {}
        }
    }
    Err(Failure::error(format!("could not {tried}: the answer ended before it was whole"))
        .hint("the node may have died meanwhile: look at `littoral events`, then try again"))
}

/// A function that failed is a failure of the command.
fn conclude(output: Output, name: &str, finished: &pb::InvokeFinished) -> Result<()> {
    output.detail(&format!(
        "{} after {}",
        outcome_name(finished.outcome()),
        crate::output::units::micros(finished.duration_us)
    ));
    if finished.outcome() == pb::Outcome::Ok {
        return Ok(());
    }
    let mut message = format!("function `{name}` failed: {}", outcome_name(finished.outcome()));
    if finished.exit_code != 0 {
        message.push_str(&format!(", exit code {}", finished.exit_code));
    } else if !finished.message.is_empty() {
        message.push_str(&format!(": {}", finished.message));
    }
    let failure = Failure::error(message);
    Err(match finished.outcome() {
        pb::Outcome::Timeout => failure.hint("raise limits.timeout in its manifest if it needs more time"),
        pb::Outcome::OutOfMemory => failure.hint("raise limits.memory in its manifest if it needs more"),
        pb::Outcome::OutputLimit => failure.hint("raise limits.output in its manifest if it says this much"),
        pb::Outcome::QueueFull => failure.hint("try again in a moment, or raise limits.concurrency"),
        pb::Outcome::HostError if finished.message.is_empty() => failure.hint("the node's log has the cause"),
        _ => failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let header_of = |text| header(text).map(|h| (h.name, String::from_utf8(h.value).unwrap()));
        assert_eq!(header_of("Accept: text/html").unwrap(), ("Accept".into(), "text/html".into()));
        assert_eq!(header_of("X:a:b").unwrap(), ("X".into(), "a:b".into()));
        assert!(header_of("nothing").is_err() && header_of(":x").is_err());
    }

    #[test]
    fn a_failed_function_fails_the_command_with_its_outcome() {
        let output = Output::new(Format::Table, true, false);
        let finished = |outcome: pb::Outcome, exit_code, message: &str| pb::InvokeFinished {
            outcome: outcome.into(),
            exit_code,
            message: message.into(),
            duration_us: 5,
        };
        assert_eq!(conclude(output, "a", &finished(pb::Outcome::Ok, 0, "")), Ok(()));
        let failure = conclude(output, "a", &finished(pb::Outcome::GuestError, 3, "")).unwrap_err();
        assert_eq!(failure.exit, Exit::Error);
        assert_eq!(failure.message, "function `a` failed: guest_error, exit code 3");
        let failure = conclude(output, "a", &finished(pb::Outcome::Timeout, 0, "after 1s")).unwrap_err();
        assert_eq!(failure.message, "function `a` failed: timeout: after 1s");
        assert!(failure.hint.unwrap().contains("limits.timeout"));
    }
}
