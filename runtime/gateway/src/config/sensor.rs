//! `[[sensor]]`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use eyot_core::sensor::SENSORS_MAX;
use eyot_wire::control::CONTROL;
use eyot_wire::topic::{overlaps, parse_topic};

use super::read::Walk;
use super::section::{At, Section};
use crate::sensor::{Kind, Sensor, KINDS, RANGES};

const EVERY: Duration = Duration::from_secs(10);
const EVERIES: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(86_400);
/// Where the kernel has the devices of its 1-Wire buses.
const W1_DEVICES: &str = "/sys/bus/w1/devices";
/// No chip of pins has more.
const LINE_MAX: u32 = 1023;

impl Walk<'_> {
    pub(super) fn sensors(&mut self, root: &mut Section<'_, '_>) -> Vec<Sensor> {
        let mut sensors: Vec<Sensor> = Vec::new();
        for (index, mut section) in root.tables(&mut self.reader, "sensor").into_iter().enumerate() {
            if cfg!(not(feature = "sensors")) {
                let remedy = "is not for this eyotd, which was built without; install one with the feature \"sensors\"";
                self.reader.problem(section.span(), "sensor", remedy);
                break;
            }
            if index == SENSORS_MAX {
                self.reader.problem(section.span(), "sensor", format!("one too many; at most {SENSORS_MAX}"));
                break;
            }
            let topic = self.sensor_topic(&mut section, &sensors);
            let every = section.duration(&mut self.reader, "every", EVERY, EVERIES);
            let kind = self.sensor_kind(&mut section);
            let bus = self.sensor_bus(&mut section, kind.as_ref());
            section.finish(&mut self.reader);
            if let (Some(topic), Some(kind), Some(bus)) = (topic, kind, bus) {
                sensors.push(Sensor { topic, every, bus, kind });
            }
        }
        sensors
    }

    /// What is missing, with the remedy.
    fn sensor_lacks(&mut self, section: &Section<'_, '_>, key: &str, remedy: &str) {
        self.reader.problem(section.span(), section.key(key), format!("is missing; {remedy}"));
    }

    fn sensor_topic(&mut self, section: &mut Section<'_, '_>, sensors: &[Sensor]) -> Option<String> {
        let Some(At { value: topic, span }) = section.string(&mut self.reader, "topic") else {
            self.sensor_lacks(section, "topic", "say what its samples are messages on, for example \"barn/climate\"");
            return None;
        };
        let reason = match parse_topic(topic.as_bytes()) {
            Err(error) => error.to_string(),
            // What a sensor says is no command.
            Ok(topic) if overlaps(CONTROL, topic) || topic.starts_with('$') => {
                "is not for sensors; choose one that begins with neither eyot/ nor $".to_owned()
            }
            Ok(topic) if sensors.iter().any(|other| other.topic == topic) => {
                "is the topic of another sensor; choose another".to_owned()
            }
            Ok(topic) => return Some(topic.to_owned()),
        };
        self.reader.problem(&span, section.key("topic"), format!("\"{topic}\" {reason}"));
        None
    }

    fn sensor_kind(&mut self, section: &mut Section<'_, '_>) -> Option<Kind> {
        let Some(At { value: kind, span }) = section.string(&mut self.reader, "kind") else {
            self.sensor_lacks(section, "kind", &format!("write one of {}", KINDS.join(", ")));
            return None;
        };
        match kind {
            "bme280" => Some(Kind::Bme280 { address: self.i2c_address(section, 0x76..=0x77, 0x76) }),
            "sht4x" => Some(Kind::Sht4x { address: self.i2c_address(section, 0x44..=0x46, 0x44) }),
            "ads1115" => {
                let address = self.i2c_address(section, 0x48..=0x4b, 0x48);
                let input = section.parsed(&mut self.reader, "input", 0, |text| {
                    let inputs = ["A0", "A1", "A2", "A3"];
                    let found = (0..).zip(inputs).find(|(_, input)| *input == text).map(|(number, _)| number);
                    found.ok_or_else(|| format!("\"{text}\" is no input; write one of {}", inputs.join(", ")))
                });
                let range_mv = section.parsed(&mut self.reader, "range", 2048, |text| {
                    let found = RANGES.iter().find(|(range, _)| *range == text).map(|(_, mv)| *mv);
                    let all = RANGES.map(|(range, _)| range).join(", ");
                    found.ok_or_else(|| format!("\"{text}\" is no range of the ADS1115; write one of {all}"))
                });
                Some(Kind::Ads1115 { address, input, range_mv })
            }
            "ds18b20" => self.w1_address(section).map(|address| Kind::Ds18b20 { address }),
            "pin" => {
                if !section.has("line") {
                    self.sensor_lacks(section, "line", "write the number of the pin on its chip; gpioinfo shows them");
                }
                Some(Kind::Pin { line: section.whole(&mut self.reader, "line", 0..=LINE_MAX, 0) })
            }
            _ => {
                let reason = format!("\"{kind}\" is no sensor that is known here; write one of {}", KINDS.join(", "));
                self.reader.problem(&span, section.key("kind"), reason);
                None
            }
        }
    }

    fn i2c_address(&mut self, section: &mut Section<'_, '_>, all: RangeInclusive<u8>, usual: u8) -> u8 {
        let all = u32::from(*all.start())..=u32::from(*all.end());
        u8::try_from(section.whole(&mut self.reader, "address", all, u32::from(usual))).unwrap_or(usual)
    }

    fn w1_address(&mut self, section: &mut Section<'_, '_>) -> Option<String> {
        let remedy = "write the name of its directory in /sys/bus/w1/devices, as \"28-0316a2794caa\"";
        let Some(At { value: address, span }) = section.string(&mut self.reader, "address") else {
            if !section.has("address") {
                self.sensor_lacks(section, "address", remedy);
            }
            return None;
        };
        let is_hex = |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit());
        if address.split_once('-').is_some_and(|(family, number)| is_hex(family, 2) && is_hex(number, 12)) {
            return Some(address.to_owned());
        }
        self.reader.problem(&span, section.key("address"), format!("\"{address}\" is no 1-Wire device; {remedy}"));
        None
    }

    fn sensor_bus(&mut self, section: &mut Section<'_, '_>, kind: Option<&Kind>) -> Option<PathBuf> {
        let at = section.string(&mut self.reader, "bus");
        let (usual, example) = match kind? {
            Kind::Ds18b20 { .. } => (Some(W1_DEVICES), W1_DEVICES),
            Kind::Pin { .. } => (None, "/dev/gpiochip0"),
            _ => (None, "/dev/i2c-1"),
        };
        let Some(At { value: bus, span }) = at else {
            if usual.is_none() && !section.has("bus") {
                self.sensor_lacks(section, "bus", &format!("write for example \"{example}\""));
            }
            return usual.map(PathBuf::from);
        };
        if bus.starts_with('/') && !bus.contains('\0') {
            return Some(bus.into());
        }
        let reason = format!("\"{bus}\" is no path; write for example \"{example}\"");
        self.reader.problem(&span, section.key("bus"), reason);
        None
    }
}
