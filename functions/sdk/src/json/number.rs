//! Numbers: decimal text to `f64`, and back with a given number of decimals.

/// Powers of ten that `f64` holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
const LARGEST_POWER: f64 = 1e22;
/// Largest mantissa to which another digit can be added.
const MANTISSA_MAX: u64 = (u64::MAX - 9) / 10;
/// Exponents beyond this give 0 or are refused whatever the mantissa is.
const EXPONENT_MAX: i32 = 400;

/// A number as it stands in a document: `mantissa * 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Decimal {
    pub(crate) negative: bool,
    pub(crate) mantissa: u64,
    pub(crate) exponent: i32,
}

impl Decimal {
    /// Exact to the last bit for up to 15 digits and exponents up to 22; otherwise the last bits may differ from the
    /// nearest `f64`. `None` when there is no such finite number.
    pub(crate) fn to_f64(self) -> Option<f64> {
        let mut value = self.mantissa as f64;
        let mut left = self.exponent.unsigned_abs() as usize;
        while left > 0 && value != 0.0 {
            let step = left.min(POWERS.len() - 1);
            let power = POWERS.get(step).copied().unwrap_or(LARGEST_POWER);
            value = if self.exponent < 0 { value / power } else { value * power };
            left -= step;
        }
        value.is_finite().then_some(if self.negative { -value } else { value })
    }

    /// `None` when it has decimals or is out of range.
    pub(crate) fn to_i64(self) -> Option<i64> {
        if self.exponent != 0 {
            return None;
        }
        let value = i64::try_from(self.mantissa).ok()?;
        Some(if self.negative { -value } else { value })
    }
}

/// Reads the number at `at`, by JSON's grammar; answers it and where it ends.
pub(crate) fn scan(bytes: &[u8], at: usize) -> Option<(Decimal, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    let mut number = Decimal { negative, mantissa: 0, exponent: 0 };
    let start = at + usize::from(negative);
    let mut end = digits(bytes, start, &mut number, 0)?;
    if bytes.get(start) == Some(&b'0') && end > start + 1 {
        return None;
    }
    if bytes.get(end) == Some(&b'.') {
        end = digits(bytes, end + 1, &mut number, -1)?;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = bytes.get(end + 1).copied();
        let signed = matches!(sign, Some(b'+' | b'-'));
        let mut exponent = Decimal { negative: sign == Some(b'-'), mantissa: 0, exponent: 0 };
        end = digits(bytes, end + 1 + usize::from(signed), &mut exponent, 0)?;
        let size = i32::try_from(exponent.mantissa).unwrap_or(EXPONENT_MAX).min(EXPONENT_MAX);
        number.exponent = number.exponent.saturating_add(if exponent.negative { -size } else { size });
    }
    number.exponent = number.exponent.clamp(-EXPONENT_MAX, EXPONENT_MAX);
    Some((number, end))
}

/// Adds digits to `number`, each moving the exponent by `shift`; answers where they end. At least one is needed.
fn digits(bytes: &[u8], start: usize, number: &mut Decimal, shift: i32) -> Option<usize> {
    let mut at = start;
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
        if number.mantissa <= MANTISSA_MAX {
            number.mantissa = number.mantissa * 10 + u64::from(digit);
            number.exponent += shift;
        } else {
            number.exponent += shift + 1;
        }
        at += 1;
    }
    (at > start).then_some(at)
}

/// Reads text that is a number and nothing else.
pub(crate) fn parse(text: &str) -> Option<f64> {
    let (number, end) = scan(text.as_bytes(), 0)?;
    if end == text.len() {
        number.to_f64()
    } else {
        None
    }
}

/// Room for any `i64` with a point in it.
const TEXT_MAX_BYTES: usize = 24;

/// A number as text.
pub(crate) struct Text {
    bytes: [u8; TEXT_MAX_BYTES],
    start: usize,
}

impl Text {
    /// `units / 10^decimals`, without trailing zeros behind the point. `decimals` is below 16.
    pub(crate) fn new(negative: bool, units: u64, decimals: usize) -> Self {
        let mut text = Self { bytes: [0; TEXT_MAX_BYTES], start: TEXT_MAX_BYTES };
        let (mut units, mut left) = (units, decimals);
        while left > 0 && units % 10 == 0 {
            units /= 10;
            left -= 1;
        }
        let has_point = left > 0;
        while left > 0 {
            text.push(b'0' + (units % 10) as u8);
            units /= 10;
            left -= 1;
        }
        if has_point {
            text.push(b'.');
        }
        loop {
            text.push(b'0' + (units % 10) as u8);
            units /= 10;
            if units == 0 {
                break;
            }
        }
        if negative {
            text.push(b'-');
        }
        text
    }

    fn push(&mut self, byte: u8) {
        self.start = self.start.saturating_sub(1);
        if let Some(place) = self.bytes.get_mut(self.start) {
            *place = byte;
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

/// `value` rounded to `decimals`, half away from zero. `None` when it is not finite or has more than 15 digits.
pub(crate) fn format(value: f64, decimals: usize) -> Option<Text> {
    /// Up to here every whole number is an `f64`.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let scaled = value.abs() * POWERS.get(decimals)? + 0.5;
    if scaled < EXACT_MAX {
        let units = scaled as u64;
        Some(Text::new(value < 0.0 && units > 0, units, decimals))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifteen_digits_are_exact() {
        for text in ["0", "-0", "21.37", "-40", "0.1", "1e22", "1.5E-7", "999999999999999", "0.000000000000001", "1e+2"]
        {
            assert_eq!(parse(text).unwrap().to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
        }
    }

    #[test]
    fn more_digits_and_large_exponents_are_close() {
        for text in
            ["3.14159265358979323846264338327950288", "123456789012345678901234567890", "1e-300", "7.7e300", "5e-324"]
        {
            let (got, exact) = (parse(text).unwrap(), text.parse::<f64>().unwrap());
            assert!((got - exact).abs() <= exact * 1e-14, "{text}: {got:e}");
        }
    }

    #[test]
    fn what_json_calls_no_number_is_none() {
        let far = ["1e400", "1e99999999999999999999"];
        let malformed =
            ["", "-", "+1", "01", "-01", ".5", "1.", "1e", "1e+", "1.e2", "0x1", "1 ", "NaN", "inf", "--1", "1.2.3"];
        for text in far.into_iter().chain(malformed) {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("1e-999"), Some(0.0));
        assert_eq!(parse("0e999"), Some(0.0));
    }

    fn text(value: f64, decimals: usize) -> Option<String> {
        format(value, decimals).map(|text| String::from_utf8(text.bytes().to_vec()).unwrap())
    }

    #[test]
    fn numbers_are_written_rounded_and_short() {
        for (value, decimals, expected) in [
            (70.466, 2, "70.47"),
            (-70.466, 2, "-70.47"),
            (40.0, 2, "40"),
            (100.0, 0, "100"),
            (0.5, 1, "0.5"),
            (0.05, 3, "0.05"),
            (-0.004, 2, "0"),
            (2.5, 0, "3"),
            (1.000_001, 6, "1.000001"),
            (9_007_199_254_740_000.0, 0, "9007199254740000"),
        ] {
            assert_eq!(text(value, decimals).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_has_no_exact_text_is_none() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e16, -1e300] {
            assert_eq!(text(value, 0), None, "{value}");
        }
        assert_eq!(text(1.0, 23), None);
    }
}
