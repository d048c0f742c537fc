//! Drivers of the embedded-hal ecosystem as [`Sensor`](crate::Sensor)s, each behind the feature of its name. Values are in
//! degrees Celsius, per cent, pascals and volts.

#[cfg(feature = "ads1x1x")]
mod ads1x1x;
#[cfg(feature = "bme280")]
mod bme280;
#[cfg(feature = "sht4x")]
mod sht4x;

#[cfg(feature = "ads1x1x")]
pub use self::ads1x1x::Ads1115;
#[cfg(feature = "bme280")]
pub use self::bme280::Bme280;
#[cfg(feature = "sht4x")]
pub use self::sht4x::Sht4x;
