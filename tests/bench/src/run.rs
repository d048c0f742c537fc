//! One measurement of one gateway with one broker.

use std::io;
use std::time::Instant;

use eyot_test_e2e::site::await_status;
use serde::Serialize;
use tokio::time::{sleep, Duration};

use crate::broker::{Broker, Kind as BrokerKind};
use crate::gateway::{Gateway, Kind, Places};
use crate::load::{Load, Pace};
use crate::process::{cpu_time, peak_rss_kib, rss_kib};

/// Messages before the clock starts: caches, growing buffers, the log's first segment.
const WARM_UP: u64 = 2_000;
/// Messages between publisher and collector, flat out.
const IN_FLIGHT: u64 = 1_000;
/// Pace at which latency is measured, and for how many messages.
const LATENCY_RATE: u64 = 1_000;
const LATENCY_MESSAGES: u64 = 3_000;
/// Time without messages before idle memory is read.
const IDLE: Duration = Duration::from_secs(2);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Which broker.
    pub broker: BrokerKind,
    /// QoS of sensors, gateway and collector.
    pub qos: u8,
    /// MQTT version `eyotd` speaks.
    pub protocol: u8,
    /// Messages flat out.
    pub messages: u64,
}

/// What was measured. CPU and memory are the gateway's, and absent where there is none.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Messages per second, flat out.
    pub rate: f64,
    /// CPU seconds for a million messages, flat out.
    pub cpu_s_per_million: Option<f64>,
    /// Latency at 1,000 messages per second: median.
    pub p50_ms: f64,
    /// The same: 99th percentile.
    pub p99_ms: f64,
    /// Most memory of the whole run.
    pub peak_rss_kib: Option<u64>,
    /// From start of the process to the first result.
    pub start_ms: Option<f64>,
    /// Results that never came.
    pub lost: u64,
    /// Results that came twice, or should not have come.
    pub surplus: u64,
    /// Results that overtook an earlier one of their sensor.
    pub disordered: u64,
}

/// Measures one gateway, once.
///
/// # Errors
/// Broker or gateway ended, or nothing came out.
pub async fn measure(kind: Kind, case: Case, places: &Places) -> io::Result<Figures> {
    let broker = Broker::start(case.broker, &places.bin_dir);
    let mut load = Load::connect(broker.port(5), case.qos, kind == Kind::None).await?;
    let protocol = if kind.is_eyot() { case.protocol } else { 4 };
    let started = Instant::now();
    let gateway = Gateway::start(kind, places, broker.port(protocol), protocol, case.qos);
    let explained = |error: io::Error| {
        let words = gateway.as_ref().map(Gateway::last_words).unwrap_or_default();
        io::Error::other(format!("{} with {}: {error}\n{words}", kind.name(), case.broker.name()))
    };
    let first_result = load.first_result().await.map_err(explained)?;
    let pid = gateway.as_ref().map(Gateway::pid);
    load.run(WARM_UP, Pace::InFlight(IN_FLIGHT)).await.map_err(explained)?;
    let cpu_before = pid.map(cpu_time);
    let messages = (case.messages / kind.one_in()).max(WARM_UP);
    let flat_out = load.run(messages, Pace::InFlight(IN_FLIGHT)).await.map_err(explained)?;
    let cpu = pid.map(cpu_time).zip(cpu_before).map(|(after, before)| after - before);
    let paced = load.run(LATENCY_MESSAGES, Pace::PerSecond(LATENCY_RATE)).await.map_err(explained)?;
    Ok(Figures {
        rate: flat_out.rate(),
        cpu_s_per_million: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / messages as f64),
        p50_ms: paced.latency_ms(50),
        p99_ms: paced.latency_ms(99),
        peak_rss_kib: pid.map(peak_rss_kib),
        start_ms: pid.map(|_| (first_result - started).as_secs_f64() * 1e3),
        lost: flat_out.lost + paced.lost,
        surplus: flat_out.surplus + paced.surplus,
        disordered: flat_out.disordered + paced.disordered,
    })
}

/// Memory of `eyotd` with three functions that have worked and now wait, in KiB.
///
/// # Errors
/// Broker or gateway ended, or nothing came out.
pub async fn idle_rss_kib(protocol: u8, places: &Places) -> io::Result<u64> {
    let broker = Broker::start(BrokerKind::Mosquitto, &places.bin_dir);
    let gateway = Gateway::eyot(
        &places.bin_dir.join("eyotd"),
        &places.data_dir,
        broker.port(protocol),
        protocol,
        &["celsius", "smooth", "alarm"],
    );
    let mut load = Load::connect(broker.port(5), 1, false).await?;
    await_status(broker.port(5), "bench", "three functions", |status| {
        status["functions"].as_array().is_some_and(|functions| functions.len() == 3)
    });
    load.first_result().await?;
    sleep(IDLE).await;
    Ok(rss_kib(gateway.pid()))
}
