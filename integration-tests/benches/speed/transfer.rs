//! A large artifact from the control plane to a node, beside a plain TLS socket with the same bytes.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use littoral_platform::channel::{self, ServerUrl};
use littoral_platform::identity::Identity;
use littoral_platform::tls::{ClientTls, IdentityHandle};
use littoral_platform::trust::TrustBundle;
use littoral_proto::v1::FetchArtifactRequest;
use littoral_proto::v1::node_service_client::NodeServiceClient;
use serde_json::Value;
use tonic::transport::Channel;

use crate::Bench;
use crate::fleet::Fleet;
use crate::guest;
use crate::plain_tls;
use crate::process::Program;
use crate::report::{Goal, Section, Table};
use crate::samples::{Samples, number};

const ROUNDS: usize = 20;
const BYTES: usize = 20_000_000;

/// Something to fetch: its digest and how many bytes it has.
struct Artifact {
    digest: String,
    size: u64,
}

pub(crate) fn measure(bench: &Bench) -> Result<Section> {
    let fleet = Fleet::start(bench, "transfer", 1)?;
    fleet.deploy("large", &guest::large(BYTES)?, "")?;
    let artifact = artifact(&fleet)?;
    let node = &fleet.agents[0].dir;
    let hex = artifact.digest.trim_start_matches("sha256:");
    let folder = bench.work.path().join("plain-tls");
    plain_tls::prepare(&folder, &node.join("cache/sha256").join(hex))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("plain-tls").arg(&folder);
    let mut server = Program::start("plain TLS", command, &bench.work.path().join("plain-tls.log"))?;
    server.wait_until("port", || plain_tls::port(&folder).is_some())?;
    let port = plain_tls::port(&folder).context("the plain server has no port")?;

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = connect(&fleet, node).await?;
        let mut plain = plain_tls::connect(&folder, port).await?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        // The first round is not counted: windows, buffers and the page cache are cold.
        for round in 0..=bench.rounds(ROUNDS) {
            let began = Instant::now();
            fetch(&mut client, &artifact).await?;
            let ours_took = began.elapsed();
            let began = Instant::now();
            plain_tls::fetch(&mut plain, artifact.size).await?;
            let theirs_took = began.elapsed();
            if round > 0 {
                ours.push(rate(&artifact, ours_took));
                theirs.push(rate(&artifact, theirs_took));
            }
        }
        Ok(section(&artifact, &ours, &theirs))
    })
}

fn artifact(fleet: &Fleet) -> Result<Artifact> {
    let function = fleet.json(["function", "describe", "large"])?;
    let module = function["function"]["spec"]["module"].as_str().context("the function has no module")?;
    let module: Value = fleet.json(["module", "inspect", module])?;
    let artifact = &module["artifacts"][0];
    let digest = artifact["digest"].as_str().context("the module has no artifact")?.to_owned();
    let size = artifact["size_bytes"].as_u64().context("the artifact has no size")?;
    ensure!(size >= BYTES as u64, "the artifact has only {size} bytes");
    Ok(Artifact { digest, size })
}

/// As the node whose folder this is.
async fn connect(fleet: &Fleet, node: &Path) -> Result<NodeServiceClient<Channel>> {
    let identity = Identity::load(&node.join("identity.pem"))?;
    let trust: Value = serde_json::from_slice(&std::fs::read(node.join("trust.json"))?)?;
    let cas = trust["ca_pem"].as_str().context("the node trusts no CA")?;
    let tls = ClientTls::new(&TrustBundle::from_pem(cas.as_bytes())?, Some(IdentityHandle::new(&identity)?))?;
    let server: ServerUrl = fleet.server().parse()?;
    Ok(NodeServiceClient::new(channel::connect(&server, &tls).await?))
}

async fn fetch(client: &mut NodeServiceClient<Channel>, artifact: &Artifact) -> Result<()> {
    let request = FetchArtifactRequest { digest: artifact.digest.clone(), offset: 0 };
    let mut stream = client.fetch_artifact(request).await?.into_inner();
    let mut received = 0;
    while let Some(message) = stream.message().await? {
        received += message.chunk.len() as u64;
    }
    ensure!(received == artifact.size, "{received} of {} bytes came", artifact.size);
    Ok(())
}

/// In MB a second.
fn rate(artifact: &Artifact, took: Duration) -> f64 {
    artifact.size as f64 / 1e6 / took.as_secs_f64()
}

fn section(artifact: &Artifact, ours: &[f64], theirs: &[f64]) -> Section {
    let ratio = Samples::ratios(ours, theirs);
    let mut table = Table::new(["", "MB/s"]);
    table.row(["FetchArtifact from `littorald`, mTLS".into(), Samples::new(ours.to_vec()).show(0)]);
    table.row(["plain TLS socket".into(), Samples::new(theirs.to_vec()).show(0)]);
    table.row(["ratio of each round".into(), ratio.show(2)]);
    let bytes = number(artifact.size as f64, 0);
    let notes = vec![format!(
        "{} rounds in turns, {bytes} bytes each, on connections that are there; median (minimum–maximum). The control \
         plane reads its file in each round, the plain socket sends from memory.",
        ratio.count()
    )];
    let goals = vec![Goal {
        what: "20 MB artifact over the mTLS stream, to a plain TLS socket",
        goal: "≥ 0.7",
        measured: number(ratio.median(), 2),
        met: ratio.median() >= 0.7,
    }];
    Section { title: "A 20 MB artifact to a node", table, notes, goals }
}
