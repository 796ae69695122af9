use clap::Subcommand;
use littoral_platform::clock;
use littoral_proto::v1 as pb;

use super::{label, present};
use crate::Shell;
use crate::confirm::Confirm;
use crate::connection::call;
use crate::errors::{Result, Tried};
use crate::views::node::{NodeDetails, NodeView};
use crate::watch;

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List the nodes
    #[command(visible_alias = "ls")]
    List {
        /// Print changes until interrupted
        #[arg(short, long)]
        watch: bool,
        /// Only those with this label; may be repeated
        #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
    },
    /// Show a node: hardware, load, and what it runs
    Describe {
        /// Name or id
        node: String,
    },
    /// End a node's session and refuse its certificates for ever
    Revoke {
        /// Name or id
        node: String,
        /// Why, for the audit log
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        confirm: Confirm,
    },
}

pub(crate) async fn run(command: NodeCommand, shell: &Shell) -> Result<()> {
    match command {
        NodeCommand::List { watch, labels } => list(shell, watch, &labels).await,
        NodeCommand::Describe { node } => describe(shell, &node).await,
        NodeCommand::Revoke { node, reason, confirm } => {
            confirm.ask(&format!("Revoke node `{node}` for ever? It must join anew to come back."))?;
            let mut fleet = shell.target.connect().await?.fleet();
            let request = call(pb::RevokeNodeRequest { node: node.clone(), reason });
            fleet.revoke_node(request).await.tried(format!("revoke node `{node}`"))?;
            shell.output.note(&format!("node/{node} revoked"));
            Ok(())
        }
    }
}

async fn list(shell: &Shell, watch: bool, labels: &[(String, String)]) -> Result<()> {
    let connection = shell.target.connect().await?;
    let fetch = || async {
        let answer = connection.fleet().list_nodes(call(pb::ListNodesRequest {})).await;
        let mut rows: Vec<NodeView> =
            answer.tried("list the nodes")?.into_inner().nodes.into_iter().map(NodeView::from).collect();
        rows.retain(|node| labels.iter().all(|(key, value)| node.has_label(key, value)));
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(rows)
    };
    watch::list(shell.output, watch, "nodes: one joins with a token of `littoral token create`", fetch).await
}

async fn describe(shell: &Shell, node: &str) -> Result<()> {
    let tried = format!("describe node `{node}`");
    let mut fleet = shell.target.connect().await?.fleet();
    let request = call(pb::GetNodeRequest { node: node.to_owned() });
    let answer = fleet.get_node(request).await.tried(&tried)?.into_inner();
    let details = NodeDetails::new(present(answer.node, &tried)?, answer.desired, answer.observed);
    shell.output.object(&details, || details.text(clock::now(), shell.output.color))
}
