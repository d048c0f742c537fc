//! How many messages may still come of one that came of ours: user properties of MQTT 5 tell. See [`eyot_wire::wakes`].

use eyot_wire::wakes::WAKES_MAX;

use super::codec::{varint, GATEWAY};

/// The user property that says it. Where there is only a stamp, it is the first.
pub const WAKES: &[u8] = b"eyot-wakes";

/// What the properties of a PUBLISH say; none of a message that is not ours. Those that are not as MQTT wants them say nothing:
/// they are no concern of ours.
pub fn read(mut properties: &[u8]) -> Option<u32> {
    let (mut is_ours, mut wakes) = (false, None);
    while let Some((id, rest)) = properties.split_first() {
        properties = rest;
        let passed = match id {
            0x01 => skip(&mut properties, 1),
            0x23 => skip(&mut properties, 2),
            0x02 => skip(&mut properties, 4),
            0x03 | 0x08 | 0x09 => string(&mut properties).map(|_| ()),
            0x0b => varint(properties).ok().flatten().and_then(|(_, bytes)| skip(&mut properties, bytes)),
            0x26 => string(&mut properties).zip(string(&mut properties)).map(|(key, value)| match key {
                WAKES => wakes = wakes.or(number(value)),
                GATEWAY => is_ours = true,
                _ => {}
            }),
            _ => None,
        };
        if passed.is_none() {
            break;
        }
    }
    wakes.or(is_ours.then_some(WAKES_MAX - 1)).map(|wakes| wakes.min(WAKES_MAX))
}

fn number(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn skip(bytes: &mut &[u8], count: usize) -> Option<()> {
    *bytes = bytes.get(count..)?;
    Some(())
}

fn string<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *bytes = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(key: &str, value: &str) -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
        [&[0x26][..], &text(key), &text(value)].concat()
    }

    #[test]
    fn it_is_found_among_all_properties() {
        let others = [
            &[0x01, 1][..],
            &[0x02, 0, 0, 0, 9],
            &[0x23, 0, 1],
            &[0x03, 0, 1, b'j'],
            &[0x08, 0, 0],
            &[0x09, 0, 2, 0x26, 0],
            &[0x0b, 0x80, 1],
            &user("other", "9"),
        ]
        .concat();
        assert_eq!(read(&others), None);
        assert_eq!(read(&[&others[..], &user("eyot-gateway", "barn-7")].concat()), Some(WAKES_MAX - 1));
        let both = [&user("eyot-wakes", "12")[..], &others, &user("eyot-gateway", "barn-7")].concat();
        assert_eq!(read(&both), Some(12));
        assert_eq!(read(&user("eyot-wakes", "4000000000")), Some(WAKES_MAX), "nobody gives more than there is");
        assert_eq!(read(&user("eyot-wakes", "many")), None);
    }

    #[test]
    fn what_is_cut_or_unknown_ends_it() {
        let whole = [user("eyot-gateway", "barn-7"), user("eyot-wakes", "5")].concat();
        for cut in 0..whole.len() {
            assert_ne!(read(&whole[..cut]), Some(5));
        }
        assert_eq!(read(&[&[0x7f][..], &whole].concat()), None);
        assert_eq!(read(&[&[0x0b, 0xff, 0xff][..], &whole].concat()), None);
    }
}
