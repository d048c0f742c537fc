//! Sensors, byte by byte on their bus: `cargo test -p eyot-node --features bme280,sht4x,ads1x1x`.
#![cfg(all(feature = "bme280", feature = "sht4x", feature = "ads1x1x"))]
#![allow(clippy::unwrap_used)]

use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::digital;
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use eyot_node::sensors::pin::Pin;
use eyot_node::sensors::{Address, Ads1115, Analog, Bme280, FullScaleRange, Sht4x, TargetAddr};
use eyot_node::{Sample, Sensor, SensorError};

fn sample(sensor: &mut dyn Sensor) -> Result<String, SensorError> {
    let mut out = Sample::new();
    sensor.sample(&mut out).map(|()| out.to_string())
}

const NOBODY: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);

#[test]
fn sht4x_gives_temperature_and_humidity() {
    let high_precision = vec![0xfd];
    let mut bus = Mock::new(&[
        Transaction::write(0x44, high_precision.clone()),
        Transaction::read(0x44, vec![0x66, 0x66, 0x93, 0x66, 0x66, 0x93]),
        Transaction::write(0x44, high_precision.clone()),
        Transaction::read(0x44, vec![0x66, 0x67, 0x93, 0x66, 0x66, 0x93]),
        Transaction::write(0x44, high_precision).with_error(NOBODY),
    ]);
    let mut sensor = Sht4x::new(bus.clone(), Address::Address0x44, NoopDelay);
    assert_eq!(sample(&mut sensor).as_deref(), Ok(r#"{"t":25.00,"rh":44.00}"#));
    assert_eq!(sample(&mut sensor), Err(SensorError::Invalid), "its checksum is another");
    assert_eq!(sample(&mut sensor), Err(SensorError::Bus));
    bus.done();
}

#[test]
fn ads1115_gives_the_voltage_at_an_input_within_its_range() {
    for (input, range, config, volts) in [
        (Analog::A0, FullScaleRange::Within2_048V, 0xc5, r#"{"v":1.0240}"#),
        (Analog::A3, FullScaleRange::Within4_096V, 0xf3, r#"{"v":2.0480}"#),
    ] {
        let mut bus = Mock::new(&[
            Transaction::write(0x48, vec![1, (config & 0x0f) | 0x80, 0x83]),
            Transaction::write_read(0x48, vec![1], vec![0x85, 0x83]),
            Transaction::write(0x48, vec![1, config, 0x83]),
            Transaction::write_read(0x48, vec![1], vec![config & 0x7f, 0x83]),
            Transaction::write_read(0x48, vec![1], vec![config, 0x83]),
            Transaction::write_read(0x48, vec![0], vec![0x40, 0x00]),
            Transaction::write_read(0x48, vec![1], vec![0, 0]).with_error(NOBODY),
        ]);
        let mut sensor = Ads1115::new(bus.clone(), TargetAddr::Gnd, input, range, NoopDelay);
        assert_eq!(sample(&mut sensor).as_deref(), Ok(volts));
        assert_eq!(sample(&mut sensor), Err(SensorError::Bus));
        bus.done();
    }
}

#[test]
fn a_pin_is_high_or_not() {
    let failed = digital::Transaction::get(digital::State::Low)
        .with_error(embedded_hal_mock::eh1::MockError::Io(std::io::ErrorKind::NotFound));
    let mut pin = digital::Mock::new(&[
        digital::Transaction::get(digital::State::High),
        digital::Transaction::get(digital::State::Low),
        failed,
    ]);
    let mut sensor = Pin(pin.clone());
    assert_eq!(sample(&mut sensor).as_deref(), Ok(r#"{"high":true}"#));
    assert_eq!(sample(&mut sensor).as_deref(), Ok(r#"{"high":false}"#));
    assert_eq!(sample(&mut sensor), Err(SensorError::Bus));
    pin.done();
}

/// Calibration and measurement of the data sheet's example; without humidity, for which there is none.
#[test]
fn bme280_gives_temperature_humidity_and_pressure_and_is_set_up_again_after_a_failure() {
    let words: [i32; 12] = [27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000];
    let mut calibration: Vec<u8> = words.iter().flat_map(|word| (*word as u16).to_le_bytes()).collect();
    calibration.extend([0, 0]);
    let read = |register, bytes| Transaction::write_read(0x76, vec![register], bytes);
    let write = |register, value| Transaction::write(0x76, vec![register, value]);
    let set_up = [
        read(0xd0, vec![0x60]),
        write(0xe0, 0xb6),
        read(0x88, calibration),
        read(0xe1, vec![0; 7]),
        read(0xf4, vec![0]),
        write(0xf2, 1),
        read(0xf4, vec![0]),
        write(0xf4, 0x54),
        read(0xf5, vec![0]),
        write(0xf5, 0x10),
    ];
    let measure = [
        read(0xf4, vec![0x54]),
        read(0xf4, vec![0x54]),
        write(0xf4, 0x55),
        read(0xf7, vec![0x65, 0x5a, 0xc0, 0x7e, 0xed, 0x00, 0, 0]),
    ];
    let unplugged = [read(0xf4, vec![0]).with_error(NOBODY)];
    let other_chip = [read(0xd0, vec![0x55])];
    let mut bus =
        Mock::new(set_up.iter().chain(&measure).chain(&unplugged).chain(&other_chip).chain(&set_up).chain(&measure));
    let mut sensor = Bme280::new(bus.clone(), 0x76, NoopDelay);
    let expected = r#"{"t":25.08,"rh":0.00,"p":100653}"#;
    assert_eq!(sample(&mut sensor).as_deref(), Ok(expected));
    assert_eq!(sample(&mut sensor), Err(SensorError::Bus));
    assert_eq!(sample(&mut sensor), Err(SensorError::Invalid), "another chip is at its address");
    assert_eq!(sample(&mut sensor).as_deref(), Ok(expected));
    bus.done();
}
