//! `cargo run --release -p eyot-test-bench --bin backlog`: a large backlog is made, opened and drained by the real `eyotd`.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use eyot_test_bench::backlog::{measure, Plan};
use eyot_test_e2e::programs;

/// Measures how fast eyotd opens and drains a large backlog to an uplink that acknowledges at once, and its memory.
#[derive(Debug, Parser)]
struct Args {
    /// Megabytes of log
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..=50_000))]
    megabytes: u64,
    /// Bytes of each payload
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u16).range(110..=16_000))]
    payload: u16,
    /// Print JSON in place of Markdown
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let plan = Plan { log_bytes: args.megabytes * 1_000_000, payload_bytes: usize::from(args.payload) };
    let data_dir = programs::bin_dir().parent().unwrap_or(Path::new(".")).join("bench-data");
    match measure(plan, &data_dir, &mut |line| eprintln!("{line}")) {
        Ok(figures) if args.json => match serde_json::to_string_pretty(&figures) {
            Ok(text) => println!("{text}"),
            Err(error) => return failed(&error.to_string()),
        },
        Ok(figures) => print!("{}", figures.markdown()),
        Err(breach) => return failed(&breach),
    }
    ExitCode::SUCCESS
}

fn failed(why: &str) -> ExitCode {
    eprintln!("backlog: {why}");
    ExitCode::FAILURE
}
