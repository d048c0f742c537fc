//! Strings: escapes undone and done.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// The text that `raw` stands for. `None` when an escape is no escape.
pub(crate) fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.as_bytes().contains(&b'\\') {
        return Some(Cow::Borrowed(raw));
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let (&kind, _) = escape.as_bytes().split_first()?;
        rest = escape.get(1..)?;
        out.push(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let (code, after) = code_point(rest)?;
                rest = after;
                code
            }
            _ => return None,
        });
    }
    out.push_str(rest);
    Some(Cow::Owned(out))
}

/// The character of `\uXXXX`, or of two of them that make a surrogate pair.
fn code_point(text: &str) -> Option<(char, &str)> {
    let (high, rest) = unit(text)?;
    if !(0xd800..0xdc00).contains(&high) {
        return Some((char::from_u32(high)?, rest));
    }
    let (low, rest) = unit(rest.strip_prefix("\\u")?)?;
    let low = low.checked_sub(0xdc00).filter(|&low| low < 0x400)?;
    Some((char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)?, rest))
}

fn unit(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    let mut value = 0;
    for byte in digits.bytes() {
        value = value * 16 + char::from(byte).to_digit(16)?;
    }
    Some((value, rest))
}

/// Appends `text` with escapes, without quotes.
pub(crate) fn escape(out: &mut Vec<u8>, text: &str) {
    let mut plain = text.as_bytes();
    while let Some(at) = plain.iter().position(|&byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        let (head, tail) = plain.split_at(at);
        out.extend_from_slice(head);
        if let Some((&byte, rest)) = tail.split_first() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                _ => {
                    let digit = |value: u8| value + if value < 10 { b'0' } else { b'a' - 10 };
                    out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
                }
            }
            plain = rest;
        }
    }
    out.extend_from_slice(plain);
}
