//! What every `[[uplink]]` says about its outputs, whatever it speaks: which it takes, in what order, how fast, how long.

use std::ops::RangeInclusive;
use std::time::Duration;

use eyot_core::config::{Order, Priority, Route, Uplink, WhenFull};
use eyot_core::ledger::STREAMS_MAX;
use eyot_wire::control::CONTROL;
use eyot_wire::topic::{covers, overlaps, parse_filter};

use super::section::{size, within, At, Reader, Section};
use super::SIZE_MAX_BYTES;

const TTLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10 * 365 * 86_400);
const DOWN_MAX: usize = 64;
/// Less than this a single message may exceed.
const BACKLOGS_BYTES: RangeInclusive<u64> = 64 << 10..=SIZE_MAX_BYTES;
/// Keys that do not stand in a route.
const OF_THE_UPLINK: [&str; 7] = ["rate", "max_backlog", "when_full", "order", "down", "control", "url"];
const RATES_PER_S: RangeInclusive<u32> = 1..=1_000_000;

/// Reads the keys of one uplink. `streams` counts those of all uplinks; the first is the local broker's.
pub fn delivery(name: &str, section: &mut Section<'_, '_>, r: &mut Reader<'_>, streams: &mut usize) -> Uplink {
    let rate_max_per_s = section.parsed(r, "rate", None, |text| rate(text).map(Some));
    let ttl_ms = ttl(section, r);
    let mut routes: Vec<Route> = Vec::new();
    let mut taken = Vec::new();
    for mut table in section.tables(r, "route") {
        let name = route_name(&mut table, r, &routes);
        let topics = topics(&mut table, r, true, &mut taken);
        let (priority, ttl_ms) = (priority(&mut table, r), ttl(&mut table, r).or(ttl_ms));
        for key in OF_THE_UPLINK {
            table.refuse(r, key, || "is a key of [[uplink]], for all its routes together; write it there".to_owned());
        }
        table.finish(r);
        routes.push(Route { name, topics, priority, ttl_ms });
    }
    let topics = topics(section, r, routes.is_empty(), &mut taken);
    *streams += routes.len() + usize::from(!topics.is_empty());
    if *streams > usize::from(STREAMS_MAX) {
        let reason = format!(
            "makes {streams} streams with the local broker and what stands above; at most {STREAMS_MAX}. Each \
             uplink's own topics and each route are one: join some"
        );
        r.problem(section.span(), section.key("").trim_end_matches('.'), reason);
    }
    let backlog_max_bytes = section.parsed(r, "max_backlog", None, |text| size(text, &BACKLOGS_BYTES).map(Some));
    let when_full = section.parsed(r, "when_full", None, |text| when_full(text).map(Some));
    let order = section.parsed(r, "order", Order::OldestFirst, |text| match text {
        "oldest-first" => Ok(Order::OldestFirst),
        "live-first" => Ok(Order::LiveFirst),
        _ => Err(format!("\"{text}\" is unknown; write \"oldest-first\" or \"live-first\"")),
    });
    let down = down(section, r, routes.iter().flat_map(|route| &route.topics).chain(&topics));
    let name = name.to_owned();
    // How it sends is for its scheme to say.
    let (batch_max, proven_by_answer, control) = (None, false, false);
    Uplink {
        name,
        topics,
        routes,
        down,
        rate_max_per_s,
        ttl_ms,
        backlog_max_bytes,
        when_full,
        order,
        batch_max,
        proven_by_answer,
        control,
    }
}

fn route_name(section: &mut Section<'_, '_>, r: &mut Reader<'_>, others: &[Route]) -> String {
    let Some(At { value: name, span }) = section.string(r, "name") else {
        r.problem(section.span(), section.key("name"), "is missing; name the route, for example \"alarms\"");
        return String::new();
    };
    if !eyot_wire::manifest::is_name(name) {
        let reason = format!("\"{name}\" is not a name; write 1 to 32 characters of a-z, 0-9 and -");
        r.problem(&span, section.key("name"), reason);
    } else if others.iter().any(|other| other.name == name) {
        let reason = format!("\"{name}\" is the name of another route of this uplink; choose another");
        r.problem(&span, section.key("name"), reason);
    }
    name.to_owned()
}

/// Reads the filters of a route. `taken` are those of the routes that are tried before it.
fn topics(section: &mut Section<'_, '_>, r: &mut Reader<'_>, needed: bool, taken: &mut Vec<String>) -> Vec<String> {
    let topics = section.strings(r, "topics");
    if topics.is_empty() && needed {
        let remedy = "is missing or empty; say which topics go up, for example topics = [\"cloud/#\"]";
        r.problem(&section.span_of("topics"), section.key("topics"), remedy);
    }
    for At { value, span } in &topics {
        if let Err(error) = parse_filter(value.as_bytes()) {
            let reason = format!("topic filter \"{value}\" {error}; see MQTT's rules for filters");
            r.problem(span, section.key("topics"), reason);
        } else if let Some(earlier) = taken.iter().find(|earlier| covers(earlier, value)) {
            let reason = format!(
                "topic filter \"{value}\" gets nothing: a route that is tried before it takes all of \"{earlier}\"; \
                 put this one before that, or remove it"
            );
            r.warning(span, section.key("topics"), reason);
        }
    }
    let topics: Vec<String> = topics.into_iter().map(|at| at.value.to_owned()).collect();
    taken.extend(topics.iter().cloned());
    topics
}

/// What comes down must not be what goes up, or a message could go round for ever: MQTT 3.1.1 has no other means.
fn down<'t>(section: &mut Section<'_, '_>, r: &mut Reader<'_>, up: impl Iterator<Item = &'t String>) -> Vec<String> {
    let up: Vec<&String> = up.collect();
    let down = section.strings(r, "down");
    for (index, At { value: filter, span }) in down.iter().enumerate() {
        let reason = if let Err(error) = parse_filter(filter.as_bytes()) {
            format!("{error}; see MQTT's rules for filters")
        } else if let Some(up) = up.iter().find(|up| overlaps(up, filter)) {
            format!("has topics in common with \"{up}\", which goes up here; a message would go round: choose others")
        } else if overlaps(CONTROL, filter) {
            format!("has topics in common with {CONTROL}, the gateways' own; name what comes down, as \"actuators/#\"")
        } else if filter.starts_with('$') {
            "begins with $, which brokers keep for themselves; choose others".to_owned()
        } else if index >= DOWN_MAX {
            format!("is one too many; at most {DOWN_MAX}")
        } else {
            continue;
        };
        r.problem(span, section.key("down"), format!("topic filter \"{filter}\" {reason}"));
    }
    down.into_iter().map(|at| at.value.to_owned()).collect()
}

fn priority(section: &mut Section<'_, '_>, r: &mut Reader<'_>) -> Priority {
    section.parsed(r, "priority", Priority::Normal, |text| match text {
        "high" => Ok(Priority::High),
        "normal" => Ok(Priority::Normal),
        "low" => Ok(Priority::Low),
        _ => Err(format!("\"{text}\" is unknown; write \"high\", \"normal\" or \"low\"")),
    })
}

fn ttl(section: &mut Section<'_, '_>, r: &mut Reader<'_>) -> Option<u64> {
    let ttl = section.parsed(r, "ttl", None, |text| within(text, &TTLS).map(Some))?;
    u64::try_from(ttl.as_millis()).ok()
}

/// Reads a policy at a quota.
///
/// # Errors
/// It is none: what to write instead.
pub fn when_full(text: &str) -> Result<WhenFull, String> {
    match text {
        "drop-oldest" => Ok(WhenFull::DropOldest),
        "drop-newest" => Ok(WhenFull::DropNewest),
        "block" => Ok(WhenFull::Block),
        _ => Err(format!("\"{text}\" is unknown; write \"drop-oldest\", \"drop-newest\" or \"block\"")),
    }
}

fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").and_then(|number| number.trim_end().parse().ok());
    number.filter(|rate| RATES_PER_S.contains(rate)).ok_or_else(|| {
        let (least, most) = RATES_PER_S.into_inner();
        format!("\"{text}\" is not a rate; write how many publishes a second, {least} to {most}, as \"100/s\"")
    })
}
