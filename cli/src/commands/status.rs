use littoral_proto::v1 as pb;

use crate::Shell;
use crate::connection::{Connection, call};
use crate::errors::{Result, Tried};
use crate::output::Format;
use crate::views::status::StatusView;

pub(crate) async fn run(shell: &Shell) -> Result<()> {
    let connection = shell.target.connect().await?;
    let view = fetch(&connection).await?;
    match shell.output.format {
        Format::Json => shell.output.json(&view),
        Format::Name => shell.output.line(&view.cluster),
        format => shell.output.line(&view.text(format == Format::Wide, shell.output.color)),
    }
}

pub(crate) async fn fetch(connection: &Connection) -> Result<StatusView> {
    let answer = connection.fleet().get_status(call(pb::GetStatusRequest {})).await;
    let status = answer.tried("ask how the fleet is")?.into_inner();
    Ok(StatusView::new(&connection.context, &connection.server, status))
}
