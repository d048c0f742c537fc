//! Holds the program against the board's file: what does not fit its flash and memory does not link.

use eyot_budget::{apply, Origins};

fn main() {
    apply("nrf52840-dk", &Origins { flash: 0, ram: 0x2000_0000 }, "");
}
