use clap::Args;
use littoral_platform::clock;
use littoral_proto::v1 as pb;
use tonic::Request;

use crate::Shell;
use crate::errors::{Result, Tried};
use crate::output::listing::{self, Listed, Value};
use crate::output::{Format, Output};
use crate::views::event::EventView;

/// What happened: changes by operators, and what the fleet did
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  littoral events --last 20
  littoral events -f -o json | jq .message")]
pub(crate) struct Events {
    /// Print those to come as well, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// How many of the past
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    last: u32,
}

/// Columns of a stream keep their places: time, reason, subject, and with -o wide actor and request.
const WIDTHS: [u16; 3] = [20, 16, 28];
const WIDE_WIDTHS: [u16; 5] = [20, 16, 28, 20, 36];

pub(crate) async fn run(events: &Events, shell: &Shell) -> Result<()> {
    let tried = "watch the events";
    let connection = shell.target.connect().await?;
    // Without a deadline: it ends when the other side or the operator ends it.
    let request = Request::new(pb::WatchEventsRequest { follow: events.follow, last: events.last });
    let mut stream = connection.fleet().watch_events(request).await.tried(tried)?.into_inner();
    let mut past = Vec::new();
    while let Some(event) = stream.message().await.tried(tried)? {
        let view = EventView::from(event);
        if events.follow { print(shell.output, &view)? } else { past.push(view) }
    }
    if events.follow { Ok(()) } else { shell.output.list(&past, "events") }
}

fn print(output: Output, event: &EventView) -> Result<()> {
    match output.format {
        Format::Json => output.json_line(event),
        Format::Name => output.line(&event.name()),
        Format::Table => output.line(&row(event, false, &WIDTHS, output.color)),
        Format::Wide => output.line(&row(event, true, &WIDE_WIDTHS, output.color)),
    }
}

fn row(event: &EventView, wide: bool, widths: &[u16], color: bool) -> String {
    let shown = listing::shown(EventView::COLUMNS, wide);
    let values: Vec<Value> = listing::pick(event.values(clock::now()), &shown);
    listing::grid(None, &[values], widths, color)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_stream_stand_in_columns() {
        let event: EventView = pb::Event {
            at_ms: 1_700_000_000_123,
            subject: "function/hello".into(),
            reason: "Applied".into(),
            message: "revision 3".into(),
            actor: "spiffe://edge/user/ada".into(),
            ..Default::default()
        }
        .into();
        assert_eq!(
            row(&event, false, &WIDTHS, false),
            "2023-11-14T22:13:20Z   Applied            function/hello                 revision 3"
        );
        assert!(row(&event, true, &WIDE_WIDTHS, false).contains("user/ada"));
    }
}
