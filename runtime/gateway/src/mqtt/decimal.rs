//! Numbers in decimal, on the stack: stamps are written for every output.

/// A number in decimal.
pub(super) struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    pub fn new(mut value: u64) -> Self {
        let mut out = Self { digits: [b'0'; 20], start: 20 };
        for (index, digit) in out.digits.iter_mut().enumerate().rev() {
            *digit = b'0' + (value % 10) as u8;
            out.start = index;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        out
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }
}
