//! A status document as OpenMetrics text.

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::registry::Registry;
use serde_json::Value;

type Labels = Vec<(&'static str, String)>;

/// Metrics of one moment.
#[derive(Default)]
struct Page(Registry);

impl Page {
    /// A counter; its name gets `_total`.
    fn counter<'v>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, Option<&'v Value>)>) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in samples {
            if let Some(value) = value.and_then(Value::as_u64) {
                family.get_or_create(&labels).inc_by(value);
            }
        }
        self.register(name, help, family);
    }

    fn gauge<'v>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, Option<&'v Value>)>) {
        let family = Family::<Labels, Gauge>::default();
        for (labels, value) in samples {
            let number = value.and_then(|value| value.as_i64().or_else(|| value.as_bool().map(i64::from)));
            if let Some(number) = number {
                family.get_or_create(&labels).set(number);
            }
        }
        self.register(name, help, family);
    }

    /// A metric without labels is registered by itself: in a family it would have empty braces behind its name.
    fn register<M>(&mut self, name: &str, help: &str, family: Family<Labels, M>)
    where
        M: EncodeMetric + TypedMetric + Clone + Default + Send + Sync + 'static + std::fmt::Debug,
    {
        let alone = family.get(&Labels::new()).map(|metric| metric.clone());
        match alone {
            Some(metric) => self.0.register(name, help, metric),
            None => self.0.register(name, help, family),
        }
    }

    fn account(&mut self, prefix: &str, what: &str, accounts: &[(Labels, &Value)]) {
        let samples =
            |key: &'static str| accounts.iter().map(move |(labels, account)| (labels.clone(), account.get(key)));
        self.counter(&format!("{prefix}_received"), &format!("{what} that came in"), samples("received"));
        self.counter(&format!("{prefix}_delivered"), &format!("{what} that are done with"), samples("delivered"));
        self.gauge(&format!("{prefix}_pending"), &format!("{what} in the log"), samples("pending"));
        let dropped = accounts.iter().flat_map(|(labels, account)| {
            let reasons = account.get("dropped_by_reason").and_then(Value::as_object).into_iter().flatten();
            reasons.map(move |(reason, count)| {
                let labels = labels.iter().cloned().chain([("reason", reason.clone())]).collect();
                (labels, Some(count))
            })
        });
        self.counter(&format!("{prefix}_dropped"), &format!("{what} that were given up"), dropped);
    }
}

fn wear(page: &mut Page, status: &Value) {
    for (name, help) in [
        ("day_bytes", "Bytes the flash took in this day of 24 hours, by estimate"),
        ("projected_day_bytes", "What this day will come to at the present rate"),
        ("budget_day_bytes", "Most bytes the flash should take in a day"),
        ("commit_window_ms", "How long a message waits for others to share its commit"),
    ] {
        page.gauge(&format!("wear_{name}"), help, [(Labels::new(), status.pointer(&format!("/wear/{name}")))]);
    }
    for (name, help) in [
        ("device_bytes", "Bytes the flash took over the life of the log, by estimate"),
        ("payload_bytes", "Bytes of topics and payloads of messages over the life of the log"),
    ] {
        page.counter(&format!("wear_{name}"), help, [(Labels::new(), status.pointer(&format!("/wear/{name}")))]);
    }
}

/// The numbers of a status document; none if it is no JSON.
pub fn render(status: &[u8]) -> Option<String> {
    let status: Value = serde_json::from_slice(status).ok()?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut page = Page(Registry::with_prefix("eyot"));
    let one = |path: &str| [(Labels::new(), status.pointer(path))];

    let build = [(
        vec![("gateway", text(status.get("gateway"))), ("version", text(status.get("version")))],
        Some(&Value::Bool(true)),
    )];
    page.gauge("build", "The gateway and its version, as labels", build);
    page.gauge("uptime_seconds", "Since the start", one("/uptime_s"));
    page.gauge("subscribed", "1 while the broker of the sensors has our subscriptions", one("/subscribed"));
    page.gauge("messages_in_flight", "Messages that functions are busy with, and those behind them", one("/in_flight"));

    if let Some(ledger) = status.get("ledger") {
        page.account("messages", "Messages", &[(Labels::new(), ledger)]);
        page.counter(
            "messages_without_output",
            "Delivered messages that led to no output",
            one("/ledger/without_output"),
        );
        page.counter("messages_redelivered", "Messages the broker marked as sent before", one("/ledger/redelivered"));
        page.gauge("ledger_balanced", "1 if received = delivered + pending + dropped", one("/ledger/balanced"));
        let streams = ledger.get("streams").and_then(Value::as_object).into_iter().flatten();
        let streams: Vec<_> = streams.map(|(name, account)| (vec![("stream", name.clone())], account)).collect();
        page.account("outputs", "Outputs", &streams);
    }
    for (name, help) in [
        ("bytes", "Size of the log"),
        ("max_bytes", "Quota of the log"),
        ("segments", "Files of the log"),
        ("damaged_frames", "Frames that do not read back"),
    ] {
        page.gauge(&format!("spool_{name}"), help, one(&format!("/spool/{name}")));
    }
    for (name, help) in [
        ("bytes_written", "Bytes written to the log since the start"),
        ("commits", "Commits since the start"),
        ("sync_failures", "Failed syncs since the start"),
        ("removal_failures", "Old segments that the disk did not remove when it was asked, since the start"),
    ] {
        page.counter(&format!("spool_{name}"), help, one(&format!("/spool/{name}")));
    }
    wear(&mut page, &status);
    let spool_state = text(status.pointer("/spool/state"));
    let states = ["ok", "full", "failed"].map(|state| (state, Value::Bool(state == spool_state)));
    page.gauge(
        "spool_state",
        "1 for the state the log is in",
        states.iter().map(|(state, is)| (vec![("state", (*state).to_owned())], Some(is))),
    );
    named(&mut page, &status, "uplinks", "uplink");
    named(&mut page, &status, "functions", "function");
    canaries(&mut page, &status);
    sensors(&mut page, &status);
    page.counter("letters_dropped", "Refused outputs that no dead letter is kept of", one("/letters_dropped"));
    page.counter("log_lines_dropped", "Lines functions logged beyond their rate", one("/log_lines_dropped"));

    let mut out = String::new();
    encode(&mut out, &page.0).ok()?;
    Some(out)
}

/// Sensors at the gateway itself.
fn sensors(page: &mut Page, status: &Value) {
    let sensors: &[Value] = status.get("sensors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let samples = |key: &'static str| {
        sensors.iter().map(move |sensor| {
            let topic = sensor.get("topic").and_then(Value::as_str).unwrap_or_default();
            (vec![("topic", topic.to_owned())], sensor.get(key))
        })
    };
    page.gauge("sensor_answers", "1 if there was a sample when it was asked last", samples("answers"));
    page.counter("sensor_samples", "Samples since the start", samples("samples"));
    page.counter("sensor_errors", "Times it was asked and gave none, since the start", samples("errors"));
}

/// Versions that have a share of a function's messages.
fn canaries(page: &mut Page, status: &Value) {
    let functions: &[Value] = status.get("functions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let samples = |key: &'static str| {
        functions.iter().filter_map(move |function| {
            let canary = function.get("canary")?;
            let labels = vec![("function", text(function.get("name"))), ("version", text(canary.get("version")))];
            Some((labels, canary.get(key)))
        })
    };
    page.counter("canary_invocations", "Messages a canary was invoked with in this run", samples("invocations"));
    page.counter("canary_failures", "Invocations of a canary that failed in this run", samples("failures"));
}

/// Metrics of the members of an array, each with its name as label.
fn named(page: &mut Page, status: &Value, array: &str, label: &'static str) {
    let members: &[Value] = status.get(array).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let samples = |key: &'static str| {
        members.iter().map(move |member| {
            let name = member.get("name").and_then(Value::as_str).unwrap_or_default();
            (vec![(label, name.to_owned())], member.get(key))
        })
    };
    match label {
        "uplink" => {
            page.gauge("uplink_connected", "1 while there is a connection", samples("connected"));
            page.gauge("uplink_in_flight", "Outputs sent and not acknowledged", samples("in_flight"));
        }
        _ => {
            page.counter(
                "function_invocations",
                "Messages it was invoked with since the start",
                samples("invocations"),
            );
            page.counter("function_failures", "Invocations that failed since the start", samples("failures"));
            page.counter(
                "function_retries",
                "Failures after which it ran on the message again, since the start",
                samples("retries"),
            );
            page.counter(
                "function_retries_cut",
                "Messages it did not run on again because nothing more fitted in flight, since the start",
                samples("retries_cut"),
            );
            page.counter(
                "function_passed",
                "Failures whose messages went on without it, since the start",
                samples("passed"),
            );
            page.counter("function_held_back", "Messages it was not run on since the start", samples("held_back"));
            page.gauge("function_quarantined", "1 while it is left alone because it failed", samples("quarantined"));
            page.counter("function_fuel", "Fuel it used since the start", samples("fuel"));
            page.counter("function_worker_milliseconds", "Time it had on workers", samples("worker_ms"));
            page.gauge("function_waiting", "Messages that wait for it", samples("waiting"));
            page.counter("function_emits_refused", "Emits refused since the start", samples("emits_refused"));
            page.gauge("function_state_bytes", "Size of its state", samples("state_bytes"));
        }
    }
}
