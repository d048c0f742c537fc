//! `cargo run --release -p eyot-test-bench --bin bench`: Eyot and its peer do the same work, in turn, in one run.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use eyot_test_bench::broker::Kind as BrokerKind;
use eyot_test_bench::gateway::{Kind, Places, MEMORY_DIR};
use eyot_test_bench::peers::Peer;
use eyot_test_bench::report::{Report, Row};
use eyot_test_bench::run::{idle_rss_kib, measure, Case};
use eyot_test_e2e::programs;

/// Measures eyotd against gateways that keep nothing: same broker, same load, medians of alternating rounds. What npm and
/// pip install goes into the target directory.
#[derive(Debug, Parser)]
struct Args {
    /// Messages of each run
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    messages: u64,
    /// Rounds behind each median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Which broker stands in the middle
    #[arg(long, value_enum, default_value_t = Brokers::Both)]
    broker: Brokers,
    /// QoS of sensors, gateway and collector
    #[arg(long, value_enum, default_value_t = Qos::Both)]
    qos: Qos,
    /// MQTT version eyotd speaks: 5, its default, stamps every result for deduplication; 4 cannot
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(4..=5))]
    protocol: u8,
    /// Measure these only
    #[arg(long, value_enum, default_values_t = Gateway::value_variants().to_vec())]
    gateway: Vec<Gateway>,
    /// Another build of eyotd, measured in turn with this one
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write charts to this directory
    #[arg(long, value_name = "DIRECTORY")]
    svg: Option<PathBuf>,
    /// Print JSON in place of Markdown
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Brokers {
    Rumqttd,
    Mosquitto,
    Both,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Qos {
    #[value(name = "0")]
    Zero,
    #[value(name = "1")]
    One,
    Both,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Gateway {
    Eyot,
    /// eyotd with its log in memory
    InMemory,
    Native,
    /// Installed by npm, as are Node-RED and, by pip, paho
    MqttJs,
    NodeRed,
    Paho,
    /// The broker alone
    None,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let report = runtime.and_then(|runtime| runtime.block_on(bench(&args))).and_then(|report| {
        for (file, svg) in report.charts() {
            if let Some(dir) = &args.svg {
                std::fs::write(dir.join(file), svg)?;
            }
        }
        Ok(report)
    });
    match report {
        Ok(report) if args.json => match serde_json::to_string_pretty(&report) {
            Ok(text) => println!("{text}"),
            Err(error) => return failed(&io::Error::other(error)),
        },
        Ok(report) => print!("{}", report.markdown()),
        Err(error) => return failed(&error),
    }
    ExitCode::SUCCESS
}

fn failed(error: &io::Error) -> ExitCode {
    eprintln!("bench: {error}");
    ExitCode::FAILURE
}

async fn bench(args: &Args) -> io::Result<Report> {
    let mut gateways: Vec<Kind> = args.gateway.iter().copied().map(kind).collect();
    gateways.extend(args.baseline.as_ref().map(|_| Kind::Baseline));
    let with_eyot = gateways.iter().any(|kind| kind.is_eyot());
    progress("building the programs in the release profile");
    let packages: &[&str] = if with_eyot { &["eyot-test-bench", "eyot-gateway"] } else { &["eyot-test-bench"] };
    let bin_dir = programs::build(packages, true);
    let target_dir = bin_dir.parent().unwrap_or(Path::new(".")).to_owned();
    let data_dir = target_dir.join("bench-data");
    let places = Places { bin_dir, baseline: args.baseline.clone(), data_dir, target_dir };
    let mut skipped = Skipped::default();
    gateways.retain(|kind| match usable(*kind, &places) {
        Ok(()) => true,
        Err(reason) => skipped.note(*kind, &reason),
    });
    let mut rows = Vec::new();
    for broker in brokers(args.broker) {
        for qos in levels(args.qos) {
            let case = Case { broker, qos, protocol: args.protocol, messages: args.messages };
            rows.extend(measure_case(case, &gateways, args.rounds, &places, &mut skipped).await?);
        }
    }
    let idle_rss_kib = if with_eyot { Some(idle_rss_kib(args.protocol, &places).await?) } else { None };
    Ok(Report { messages: args.messages, rounds: usize::from(args.rounds), rows, idle_rss_kib, skipped: skipped.0 })
}

/// What is left out, and why.
#[derive(Default)]
struct Skipped(Vec<String>);

impl Skipped {
    /// Says it at once, and in the report; false, because it is not measured.
    fn note(&mut self, kind: Kind, reason: &str) -> bool {
        let text = format!("{} is left out: {reason}", kind.name());
        eprintln!("bench: {text}");
        self.0.push(text);
        false
    }
}

/// Whether a gateway can be measured here; installs it if it has to.
fn usable(kind: Kind, places: &Places) -> Result<(), String> {
    match kind {
        Kind::Peer(peer) => {
            progress(&format!("installing {}", kind.name()));
            peer.install(&places.target_dir).map(|_| ())
        }
        Kind::InMemory if !Path::new(MEMORY_DIR).is_dir() => Err(format!("there is no {MEMORY_DIR}")),
        _ => Ok(()),
    }
}

async fn measure_case(
    case: Case,
    gateways: &[Kind],
    rounds: u16,
    places: &Places,
    skipped: &mut Skipped,
) -> io::Result<Vec<Row>> {
    let mut measured: Vec<_> = gateways.iter().map(|kind| (*kind, Vec::new())).collect();
    for round in 1..=rounds {
        // Alternating, so that whatever else the machine does falls on all alike.
        let mut failed = Vec::new();
        for (kind, figures) in &mut measured {
            let what = format!("{}, QoS {}, round {round}/{rounds}: {}", case.broker.name(), case.qos, kind.name());
            progress(&what);
            match measure(*kind, case, places).await {
                Ok(measured) => {
                    progress(&format!("{what}: {:.0} messages/s", measured.rate));
                    figures.push(measured);
                }
                // What others wrote may not run here, and the rest is worth measuring all the same.
                Err(error) if matches!(kind, Kind::Peer(_)) => {
                    skipped.note(*kind, &error.to_string());
                    failed.push(*kind);
                }
                Err(error) => return Err(error),
            }
        }
        measured.retain(|(kind, _)| !failed.contains(kind));
    }
    Ok(measured.iter().map(|(kind, figures)| Row::new(kind.name(), case.broker.name(), case.qos, figures)).collect())
}

fn progress(text: &str) {
    if io::stderr().is_terminal() {
        eprintln!("{text}");
    }
}

const fn kind(gateway: Gateway) -> Kind {
    match gateway {
        Gateway::Eyot => Kind::Eyot,
        Gateway::InMemory => Kind::InMemory,
        Gateway::Native => Kind::Native,
        Gateway::MqttJs => Kind::Peer(Peer::MqttJs),
        Gateway::NodeRed => Kind::Peer(Peer::NodeRed),
        Gateway::Paho => Kind::Peer(Peer::Paho),
        Gateway::None => Kind::None,
    }
}

fn brokers(brokers: Brokers) -> Vec<BrokerKind> {
    match brokers {
        Brokers::Rumqttd => vec![BrokerKind::Rumqttd],
        Brokers::Mosquitto => vec![BrokerKind::Mosquitto],
        Brokers::Both => vec![BrokerKind::Rumqttd, BrokerKind::Mosquitto],
    }
}

fn levels(qos: Qos) -> Vec<u8> {
    match qos {
        Qos::Zero => vec![0],
        Qos::One => vec![1],
        Qos::Both => vec![0, 1],
    }
}
