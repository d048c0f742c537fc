//! Drivers of the embedded-hal ecosystem as [`Sensor`](crate::Sensor)s, each behind the feature of its name. Values are in
//! degrees Celsius, per cent, pascals and volts. What the drivers have no word for is [`pin`].

#[cfg(feature = "ads1x1x")]
mod ads1x1x;
#[cfg(feature = "bme280")]
mod bme280;
pub mod pin;
#[cfg(feature = "sht4x")]
mod sht4x;

#[cfg(feature = "ads1x1x")]
pub use self::ads1x1x::{Ads1115, Analog};
#[cfg(feature = "bme280")]
pub use self::bme280::Bme280;
#[cfg(feature = "sht4x")]
pub use self::sht4x::Sht4x;
#[cfg(feature = "ads1x1x")]
pub use ::ads1x1x::{FullScaleRange, TargetAddr};
#[cfg(feature = "sht4x")]
pub use ::sht4x::Address;
