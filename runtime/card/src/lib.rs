//! What is where on a gateway's card: `eyot image` makes it, the first process starts from it, and both ask here. No I/O, and
//! nothing of anybody else's: whatever the first process uses is in every image.
#![no_std]

pub mod table;

pub use table::{Span, Table, CONFIG, DATA, SECTOR_BYTES, SLOTS};

/// On the first partition: which slot is started, whoever reads it.
pub const LOADER_FILE: &str = "autoboot.txt";
/// What the number of the slot's partition follows there.
pub const LOADER_KEY: &str = "boot_partition=";
/// On the first partition, where the boot loader can start a slot once: which one. GRUB's own form, which has a fixed length.
pub const TRIAL_FILE: &str = "trial.env";
/// How that begins; what follows is the number of the slot's partition, or nothing, and then `#` up to the end.
pub const TRIAL_HEAD: &str = "# GRUB Environment Block\ntrial=";
/// On the kernel's command line, with the number of the slot's partition, if the boot loader says there which one it took.
pub const SLOT_ARGUMENT: &str = "eyot.slot=";
/// On the first partition: public keys, one a line. There is no SSH without them.
pub const SSH_KEYS: &str = "authorized_keys";
/// On the first partition: networks, as wpa_supplicant reads them. There is no Wi-Fi without them.
pub const WIFI_NETWORKS: &str = "wifi.conf";
