//! The power button, where a board has one.

use std::fs::{self, File};
use std::io::Read;
use std::sync::mpsc::Sender;
use std::thread;

use crate::Message;

/// `EV_KEY` and `KEY_POWER` of linux/input-event-codes.h.
const KEY_EVENT: u16 = 1;
const POWER: u16 = 116;
/// `struct input_event`: a time of two words, then type, code and value.
const TIME_BYTES: usize = 2 * size_of::<usize>();
const EVENT_BYTES: usize = TIME_BYTES + 8;

/// Listens to every input there is now.
pub fn listen(messages: &Sender<Message>) {
    for entry in fs::read_dir("/dev/input").into_iter().flatten().flatten() {
        let Ok(mut input) = File::open(entry.path()) else { continue };
        let messages = messages.clone();
        thread::spawn(move || {
            let mut event = [0; EVENT_BYTES];
            while input.read_exact(&mut event).is_ok() {
                if is_press(&event) && messages.send(Message::PowerButton).is_err() {
                    return;
                }
            }
        });
    }
}

fn is_press(event: &[u8; EVENT_BYTES]) -> bool {
    let word = |at: usize| {
        let bytes = event.get(TIME_BYTES + at..TIME_BYTES + at + 2).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u16::from_ne_bytes).unwrap_or_default()
    };
    (word(0), word(2)) == (KEY_EVENT, POWER) && word(4) | word(6) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_power_button_going_down_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut event = [7; EVENT_BYTES];
            event[TIME_BYTES..TIME_BYTES + 2].copy_from_slice(&kind.to_ne_bytes());
            event[TIME_BYTES + 2..TIME_BYTES + 4].copy_from_slice(&code.to_ne_bytes());
            event[TIME_BYTES + 4..].copy_from_slice(&value.to_ne_bytes());
            event
        };
        assert!(is_press(&event(1, 116, 1)));
        assert!(!is_press(&event(1, 116, 0)), "it comes up");
        assert!(!is_press(&event(1, 30, 1)), "another key");
        assert!(!is_press(&event(0, 116, 1)), "no key");
    }
}
