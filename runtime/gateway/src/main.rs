//! `eyotd`, the gateway daemon: arguments, log and signals around [`eyot_gateway::Gateway`].
//!
//! Exit codes: 0 done, 1 the operation failed, 2 bad usage or bad configuration.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use eyot_gateway::config::UplinkAt;
use eyot_gateway::{functions, log, update, Config, ConfigError, Gateway, StartError};
use sd_notify::NotifyState;
use serde::Deserialize;
use tokio::signal::unix::{signal, SignalKind};
use tracing::{error, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// What is logged unless told otherwise. The embedded broker calls every client that leaves an error.
const LOG_LEVEL: &str = "info,rumqttd=off";

const EXAMPLES: &str = "\
Examples:
  eyotd --config /etc/eyot/gateway.toml --check    say everything that is wrong with the configuration
  eyotd --config /etc/eyot/gateway.toml            run until SIGTERM or SIGINT, then commit, sync and end
  eyotd --config gateway.toml --log-level debug,function=trace

Exit codes: 0 done, 1 the operation failed, 2 bad usage or bad configuration.";

/// Run functions for every message of a local MQTT broker, and deliver what they make of it.
#[derive(Parser)]
#[command(name = "eyotd", version, after_help = EXAMPLES)]
struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/eyot/gateway.toml")]
    config: PathBuf,
    /// Check the configuration and the functions it names, and end.
    #[arg(long)]
    check: bool,
    /// Form of the log, which goes to standard error.
    #[arg(long, value_enum, value_name = "FORM", default_value = "human")]
    log: LogForm,
    /// What to log: a level, or target=level pairs with commas. The environment variable EYOT_LOG does the same.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogForm {
    Human,
    Json,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let config = match Config::load(&args.config) {
        Ok(config) => Config { system: std::env::var_os(update::SYSTEM).map(PathBuf::from), ..config },
        Err(error) => return bad_config(error),
    };
    if args.check {
        return check(config, args.config);
    }
    let level = args.log_level.or_else(|| std::env::var("EYOT_LOG").ok());
    if let Err(reason) = start_log(args.log, level.as_deref()) {
        return complain(2, &reason);
    }
    run(config, args.config)
}

fn complain(code: u8, text: &str) -> ExitCode {
    eprintln!("eyotd: {text}");
    ExitCode::from(code)
}

/// Says all that is wrong at once: also with the functions that the file names.
fn bad_config(mut error: ConfigError) -> ExitCode {
    if let Some(spool) = error.spool.take() {
        match functions::check(std::mem::take(&mut error.functions), *spool, error.run) {
            Ok(problems) => error.add(problems),
            Err(failure) => return no_thread(&failure),
        }
    }
    eprintln!("{error}");
    ExitCode::from(2)
}

fn no_thread(error: &std::io::Error) -> ExitCode {
    complain(1, &format!("cannot check the functions: {error}; the system is out of resources"))
}

fn check(config: Config, file: PathBuf) -> ExitCode {
    for warning in &config.warnings {
        eprintln!("warning: {}", warning.in_file(&file));
    }
    match functions::check(config.functions, config.spool, config.run) {
        Ok(problems) if problems.is_empty() => {
            println!("ok");
            ExitCode::SUCCESS
        }
        Ok(problems) => bad_config(ConfigError::new(file, problems)),
        Err(error) => no_thread(&error),
    }
}

fn start_log(form: LogForm, level: Option<&str>) -> Result<(), String> {
    let level = level.unwrap_or_default();
    let filter: Targets = format!("{LOG_LEVEL},{level}").trim_end_matches(',').parse().map_err(|e| {
        format!("--log-level or EYOT_LOG: \"{level}\": {e}; write error, warn, info, debug, trace or target=level")
    })?;
    let terminal = std::io::stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match form {
        LogForm::Human => registry.with(layer.with_ansi(terminal).with_target(false).fmt_fields(log::fields())).init(),
        LogForm::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
    Ok(())
}

fn run(config: Config, file: PathBuf) -> ExitCode {
    for warning in &config.warnings {
        warn!("{}", warning.in_file(&file));
    }
    let (id, data_dir) = (config.id.clone(), config.data_dir.display().to_string());
    let clouds: Vec<String> = clouds(&config).map(str::to_owned).collect();
    // Signals are taken before anything starts, so that none is lost.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return complain(1, "cannot wait for signals; the system is out of resources") };
    runtime.block_on(async {
        let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
            return complain(1, "cannot wait for signals; the system is out of resources");
        };
        let gateway = match Gateway::start(config) {
            Ok(gateway) => gateway,
            Err(StartError::Functions(problems)) => {
                error!("{}", ConfigError::new(file, problems));
                return ExitCode::from(2);
            }
            Err(error) => {
                error!("{error}");
                return ExitCode::from(1);
            }
        };
        info!(%id, %data_dir, version = env!("CARGO_PKG_VERSION"), "running");
        tokio::select! {
            _ = term.recv() => info!("SIGTERM: committing what is here"),
            _ = int.recv() => info!("SIGINT: committing what is here"),
            () = tell_health(&gateway, &clouds) => {}
            () = gateway.ended() => {
                error!("a thread of the gateway ended; this is a bug in eyotd, start it again");
                return ExitCode::from(1);
            }
        }
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        if gateway.stop() {
            info!("stopped");
            ExitCode::SUCCESS
        } else {
            error!("not everything was committed in time; the brokers keep what was not and deliver it again");
            ExitCode::from(1)
        }
    })
}

/// The uplinks that are brokers.
fn clouds(config: &Config) -> impl Iterator<Item = &str> {
    config.uplinks.iter().filter(|uplink| matches!(uplink.at, UplinkAt::Mqtt(_))).map(|uplink| uplink.name.as_str())
}

/// Tells a supervisor, if there is one, that the gateway is ready, and as often as it wants to hear it that the core still
/// answers, and whether it is connected. Never ends. A supervisor that is gone needs to hear nothing.
async fn tell_health(gateway: &Gateway, clouds: &[String]) {
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let Some(timeout) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        tokio::time::sleep(timeout / 2).await;
        if let Some(status) = gateway.answer().await {
            let status = if is_connected(&status, clouds) { "connected" } else { "not connected" };
            let _ = sd_notify::notify(&[NotifyState::Watchdog, NotifyState::Status(status)]);
        }
    }
}

/// What of the status says whether it is connected.
#[derive(Deserialize)]
struct Links {
    subscribed: bool,
    uplinks: Vec<Link>,
}

#[derive(Deserialize)]
struct Link {
    name: String,
    connected: bool,
}

/// To the broker of the sensors, and to one at least of the uplinks that are brokers, if there are any.
fn is_connected(status: &[u8], clouds: &[String]) -> bool {
    let Ok(Links { subscribed, uplinks }) = serde_json::from_slice(status) else { return false };
    let mut clouds = uplinks.iter().filter(|link| clouds.contains(&link.name)).peekable();
    subscribed && (clouds.peek().is_none() || clouds.any(|link| link.connected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connected_is_to_hear_sensors_and_to_reach_a_cloud_if_there_is_one() {
        let status = |subscribed: bool, cloud: bool| {
            format!(
                "{{\"subscribed\":{subscribed},\"uplinks\":[{{\"name\":\"local\",\"connected\":true}},\
                 {{\"name\":\"cloud\",\"connected\":{cloud}}}]}}"
            )
        };
        let clouds = ["cloud".to_owned()];
        assert!(is_connected(status(true, true).as_bytes(), &clouds));
        assert!(!is_connected(status(true, false).as_bytes(), &clouds));
        assert!(!is_connected(status(false, true).as_bytes(), &clouds));
        assert!(is_connected(status(true, false).as_bytes(), &[]), "it is no broker, and says nothing by itself");
        assert!(!is_connected(b"{}", &[]));
    }
}
