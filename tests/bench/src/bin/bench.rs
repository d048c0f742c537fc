//! `cargo run --release -p eyot-test-bench --bin bench`: Eyot and its peer do the same work, in turn, in one run.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use eyot_test_bench::broker::Kind as BrokerKind;
use eyot_test_bench::gateway::{Kind, Places};
use eyot_test_bench::report::{Report, Row};
use eyot_test_bench::run::{idle_rss_kib, measure, Case};
use eyot_test_e2e::programs;

/// Measures eyotd against a native gateway that keeps nothing: same broker, same load, medians of alternating rounds.
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
    #[arg(long, value_enum, default_values_t = [Gateway::Eyot, Gateway::Native, Gateway::None])]
    gateway: Vec<Gateway>,
    /// Another build of eyotd, measured in turn with this one
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
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
    Native,
    /// The broker alone
    None,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(bench(&args))) {
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
    let with_eyot = gateways.contains(&Kind::Eyot);
    progress("building the programs in the release profile");
    let packages: &[&str] = if with_eyot { &["eyot-test-bench", "eyot-gateway"] } else { &["eyot-test-bench"] };
    let bin_dir = programs::build(packages, true);
    let data_dir = bin_dir.parent().unwrap_or(Path::new(".")).join("bench-data");
    let places = Places { bin_dir, baseline: args.baseline.clone(), data_dir };
    let mut rows = Vec::new();
    for broker in brokers(args.broker) {
        for qos in levels(args.qos) {
            let case = Case { broker, qos, protocol: args.protocol, messages: args.messages };
            rows.extend(measure_case(case, &gateways, args.rounds, &places).await?);
        }
    }
    let idle_rss_kib = if with_eyot { Some(idle_rss_kib(args.protocol, &places).await?) } else { None };
    Ok(Report { messages: args.messages, rounds: usize::from(args.rounds), rows, idle_rss_kib })
}

async fn measure_case(case: Case, gateways: &[Kind], rounds: u16, places: &Places) -> io::Result<Vec<Row>> {
    let mut figures = vec![Vec::new(); gateways.len()];
    for round in 1..=rounds {
        // Alternating, so that whatever else the machine does falls on all alike.
        for (gateway, figures) in gateways.iter().zip(&mut figures) {
            let what = format!("{}, QoS {}, round {round}/{rounds}: {}", case.broker.name(), case.qos, gateway.name());
            progress(&what);
            let measured = measure(*gateway, case, places).await?;
            progress(&format!("{what}: {:.0} messages/s", measured.rate));
            figures.push(measured);
        }
    }
    let rows = gateways.iter().zip(&figures);
    Ok(rows.map(|(gateway, figures)| Row::new(gateway.name(), case.broker.name(), case.qos, figures)).collect())
}

fn progress(text: &str) {
    if io::stderr().is_terminal() {
        eprintln!("{text}");
    }
}

const fn kind(gateway: Gateway) -> Kind {
    match gateway {
        Gateway::Eyot => Kind::Eyot,
        Gateway::Native => Kind::Native,
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
