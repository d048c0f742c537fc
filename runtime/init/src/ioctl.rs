//! Three system calls that no library offers safely, each with what makes it safe.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_longlong, c_void};
use std::fs::File;
use std::io;
use std::time::Duration;

use eyot_card::{Span, DATA, SECTOR_BYTES};
use rustix::ioctl::{ioctl, opcode, Setter, Updater};

const BLKPG: u32 = opcode::none(0x12, 105);
const BLKPG_RESIZE_PARTITION: c_int = 3;
const EXT4_IOC_RESIZE_FS: u32 = opcode::write::<u64>(b'f', 16);
const WDIOC_SETTIMEOUT: u32 = opcode::read_write::<c_int>(b'W', 6);

/// `struct blkpg_partition` of linux/blkpg.h.
#[repr(C)]
struct Partition {
    start: c_longlong,
    length: c_longlong,
    pno: c_int,
    devname: [u8; 64],
    volname: [u8; 64],
}

/// `struct blkpg_ioctl_arg` of linux/blkpg.h.
#[repr(C)]
struct Argument {
    op: c_int,
    flags: c_int,
    datalen: c_int,
    data: *mut c_void,
}

/// Tells the kernel the new size of the data partition of `disk`, which is in use.
pub fn resize_partition(disk: &File, span: Span) -> io::Result<()> {
    let bytes = |sectors: u64| {
        sectors
            .checked_mul(SECTOR_BYTES)
            .and_then(|bytes| c_longlong::try_from(bytes).ok())
            .ok_or(io::ErrorKind::InvalidInput)
    };
    let mut partition = Partition {
        start: bytes(span.start)?,
        length: bytes(span.sectors)?,
        pno: c_int::from(DATA),
        devname: [0; 64],
        volname: [0; 64],
    };
    let argument = Argument {
        op: BLKPG_RESIZE_PARTITION,
        flags: 0,
        datalen: size_of::<Partition>() as c_int,
        data: (&raw mut partition).cast(),
    };
    // SAFETY: BLKPG takes a `blkpg_ioctl_arg`, whose pointer is good for `datalen` bytes and outlives the call.
    unsafe { ioctl(disk, Setter::<BLKPG, Argument>::new(argument)) }?;
    Ok(())
}

/// Makes the mounted ext4 that `directory` is on so many blocks large.
pub fn resize_file_system(directory: &File, blocks: u64) -> io::Result<()> {
    // SAFETY: EXT4_IOC_RESIZE_FS reads a u64.
    unsafe { ioctl(directory, Setter::<EXT4_IOC_RESIZE_FS, u64>::new(blocks)) }?;
    Ok(())
}

/// After how long without a kick the watchdog resets the box; what it takes instead, if it cannot have that.
pub fn set_watchdog_timeout(watchdog: &File, timeout: Duration) -> io::Result<Duration> {
    let mut seconds = c_int::try_from(timeout.as_secs()).unwrap_or(c_int::MAX);
    // SAFETY: WDIOC_SETTIMEOUT reads and writes an int.
    unsafe { ioctl(watchdog, Updater::<WDIOC_SETTIMEOUT, c_int>::new(&mut seconds)) }?;
    Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}
