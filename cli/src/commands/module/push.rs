use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use littoral_model::id::ModuleName;
use littoral_proto::v1::{self as pb, push_module_request::Part};
use serde::Serialize;
use tonic::Request;

use crate::Shell;
use crate::commands::present;
use crate::connection::Connection;
use crate::errors::{Failure, Result, Tried};
use crate::output::sections::Sections;
use crate::output::{Format, units};
use crate::progress::Progress;
use crate::upload::{self, Reader};
use crate::views::module::ModuleView;

/// Few messages, and a bar that moves on a slow link.
const CHUNK: usize = 256 * 1024;
/// A minute for the answer, and a second for each 64 KiB: slower links are not in use.
const PATIENCE: Duration = Duration::from_secs(60);
const SLOWEST_BYTES_PER_SECOND: u64 = 64 * 1024;

pub(super) async fn run(
    shell: &Shell,
    file: &Path,
    name: Option<String>,
    version: String,
    message: String,
) -> Result<()> {
    let name = name.map_or_else(|| name_of(file), Ok)?;
    let pushed = push_file(shell, &shell.target.connect().await?, file, name, version, message).await?;
    match shell.output.format {
        Format::Json => return shell.output.json(&pushed),
        Format::Name => shell.output.line(&pushed.module.reference())?,
        Format::Table | Format::Wide => {
            let mut sections = Sections::new(shell.output.color);
            pushed.module.fields(&mut sections);
            shell.output.line(&sections.finish())?;
        }
    }
    shell.output.note(&pushed.summary());
    Ok(())
}

/// What became of a push.
#[derive(Debug, Serialize)]
pub(crate) struct Pushed {
    pub(crate) module: ModuleView,
    /// False when these bytes were there already under this name and version.
    pub(crate) created: bool,
}

impl Pushed {
    pub(crate) fn summary(&self) -> String {
        let what = if self.created { "pushed" } else { "there already" };
        format!("module/{} {what} ({})", self.module.reference(), units::size(self.module.size_bytes))
    }
}

/// Pushes a file. Its size is told first, so that one too large is refused before it is sent.
///
/// # Errors
/// When the file cannot be read, or the control plane refuses it.
pub(crate) async fn push_file(
    shell: &Shell,
    connection: &Connection,
    file: &Path,
    name: String,
    version: String,
    message: String,
) -> Result<Pushed> {
    let (reader, size_bytes) = upload::open(file).await?;
    if size_bytes == 0 {
        return Err(Failure::error(format!("could not push {}: it is empty", file.display())));
    }
    let what = format!("pushing {} ({})", file.display(), units::size(size_bytes));
    let progress = Progress::bytes(shell.output, &what, size_bytes);
    let header = pb::PushModuleHeader { name, version, message, size_bytes };
    push(connection, header, Box::new(reader), &file.display().to_string(), &progress).await
}

/// Pushes what `reader` holds.
pub(crate) async fn push(
    connection: &Connection,
    header: pb::PushModuleHeader,
    reader: Reader,
    what: &str,
    progress: &Progress,
) -> Result<Pushed> {
    let tried = format!("push {what} as module `{}`", header.name);
    let size = header.size_bytes;
    let (chunks, guard) = upload::chunks(reader, CHUNK, size, what.to_owned());
    let sent = progress.counter();
    let messages = futures::stream::iter([Part::Header(header)])
        .chain(chunks.map(move |chunk| {
            sent(chunk.len() as u64);
            Part::Chunk(chunk)
        }))
        .map(|part| pb::PushModuleRequest { part: Some(part) });
    let mut request = Request::new(messages);
    request.set_timeout(PATIENCE + Duration::from_secs(size / SLOWEST_BYTES_PER_SECOND));
    let mut registry = connection.registry();
    let call = async { registry.push_module(request).await.tried(&tried) };
    let answer = guard.run(call).await?.into_inner();
    Ok(Pushed { module: present(answer.module, &tried)?.into(), created: answer.created })
}

/// A module's name from its file's.
fn name_of(file: &Path) -> Result<String> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-");
    let named: Result<ModuleName, _> = stem.parse();
    match named {
        Ok(_) => Ok(stem),
        Err(error) => {
            Err(Failure::usage(format!("could not name a module after {}: {error}", file.display()))
                .hint("give it one: --name NAME"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Exit;

    #[test]
    fn a_module_is_called_after_its_file() {
        assert_eq!(name_of(Path::new("target/hello.wasm")).unwrap(), "hello");
        assert_eq!(name_of(Path::new("a/hello_http.wasm")).unwrap(), "hello-http");
        for odd in ["Hello.wasm", "a.b.wasm", ".."] {
            assert_eq!(name_of(Path::new(odd)).unwrap_err().exit, Exit::Usage, "{odd}");
        }
    }
}
