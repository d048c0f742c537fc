//! `cargo run --release -p eyot-test-e2e --bin chaos`: the real daemon between two real mosquittos, and all that can go
//! wrong, for as long as you like. Exit 0 only if nothing was lost.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use eyot_test_e2e::chaos::{run, Plan};

/// Kills, cuts, stops and fills up what it can around a real gateway, then heals it and accounts for every message.
#[derive(Debug, Parser)]
struct Args {
    /// How long
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// Decides what goes wrong when; drawn and printed if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Messages a second
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    rate: u32,
    /// Print JSON in place of Markdown
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let Ok(lasts) = Duration::try_from_secs_f64(args.minutes * 60.0) else {
        eprintln!("chaos: --minutes {} is no time; give 20, or 0.5", args.minutes);
        return ExitCode::from(2);
    };
    eprintln!("--seed {seed} --minutes {} --rate {}", args.minutes, args.rate);
    match run(Plan { lasts, seed, rate_per_s: args.rate }, &mut |line| eprintln!("{line}")) {
        Ok(report) if args.json => println!("{:#}", report.json()),
        Ok(report) => print!("{}", report.markdown()),
        Err(breach) => {
            eprintln!("chaos: {breach}; repeat with --seed {seed}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
