//! Reading bytes from strangers: every read may come up short, none allocates.

/// What is left to read.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// A 32-bit number in LEB128 of at most five bytes. Linkers pad them, so longer ones than needed are taken too.
    pub fn number(&mut self) -> Option<usize> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return usize::try_from(value).ok();
            }
        }
        None
    }

    /// Like [`number`](Self::number), but only in the shortest form.
    pub fn minimal_number(&mut self) -> Option<usize> {
        let before = self.rest.len();
        let value = self.number()?;
        let shortest = (usize::BITS - value.leading_zeros()).div_ceil(7).max(1) as usize;
        (before - self.rest.len() == shortest).then_some(value)
    }

    /// A slice behind its length, in the shortest form.
    pub fn slice(&mut self) -> Option<&'a [u8]> {
        let count = self.minimal_number()?;
        self.bytes(count)
    }
}

/// Appends a number in LEB128, in the shortest form.
pub fn put_number(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a slice behind its length.
pub fn put_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_and_only_the_shortest_form_is_minimal() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff, 0xfff_ffff, u32::MAX as usize] {
            let mut out = Vec::new();
            put_number(&mut out, value);
            assert_eq!(Cursor::new(&out).minimal_number(), Some(value));
            if out.len() < 5 {
                *out.last_mut().unwrap() |= 0x80;
                out.push(0);
                assert_eq!(Cursor::new(&out).number(), Some(value));
                assert_eq!(Cursor::new(&out).minimal_number(), None, "{value}");
            }
        }
        for bad in [&b""[..], b"\x80", b"\xff\xff\xff\xff\x1f", b"\x80\x80\x80\x80\x80\x00"] {
            assert_eq!(Cursor::new(bad).number(), None, "{bad:?}");
        }
    }
}
