//! A Raspberry Pi 3, as QEMU has it: the image of a 3B+ with its kernel, device tree, SD card and USB.
//!
//! What this does not show: the firmware, which reads `autoboot.txt` and `config.txt` and starts the kernel; the watchdog, which
//! is left out, and with it how such a board starts anew; Ethernet of the board itself, where QEMU has another one at its USB;
//! the radio; and real time.

use crate::board::RASPI;
use crate::{same_image_each_time, takes_functions_and_messages_and_survives_the_plug};

#[test]
fn a_raspberry_pi_takes_functions_and_messages_and_survives_the_plug() {
    takes_functions_and_messages_and_survives_the_plug(&RASPI);
}

#[test]
fn its_image_is_the_same_each_time() {
    same_image_each_time(&RASPI);
}
