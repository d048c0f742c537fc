//! The border to the host: exports, imports, allocator, panic handler. All `unsafe` of the sdk is here.
//!
//! A guest has one thread and is entered by one host call at a time, which is what the `Sync` types here rely on.
#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32;
use core::cell::{Cell, OnceCell};
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::ptr;

use crate::effect::Level;
use crate::error::Error;
use crate::message::Message;

mod import {
    #[link(wasm_import_module = "eyot")]
    extern "C" {
        pub fn emit(topic: *const u8, topic_len: usize, payload: *const u8, payload_len: usize) -> i32;
        pub fn log(level: i32, text: *const u8, text_len: usize);
        pub fn now_ms() -> i64;
        pub fn random(out: *mut u8, out_len: usize) -> i32;
        pub fn state_get(key: *const u8, key_len: usize, out: *mut u8, out_cap: usize) -> i32;
        pub fn state_set(key: *const u8, key_len: usize, value: *const u8, value_len: usize) -> i32;
        pub fn state_delete(key: *const u8, key_len: usize) -> i32;
        pub fn config_get(key: *const u8, key_len: usize, out: *mut u8, out_cap: usize) -> i32;
    }
}

// SAFETY of all calls below: pointer and length come from one live slice, of which the host reads or, where it is
// `&mut`, writes at most the length, and it keeps no pointer.

pub(crate) fn emit(topic: &str, payload: &[u8]) -> i32 {
    unsafe { import::emit(topic.as_ptr(), topic.len(), payload.as_ptr(), payload.len()) }
}

pub(crate) fn log(level: i32, text: &str) {
    unsafe { import::log(level, text.as_ptr(), text.len()) }
}

pub(crate) fn now_ms() -> i64 {
    unsafe { import::now_ms() }
}

pub(crate) fn random(out: &mut [u8]) -> i32 {
    unsafe { import::random(out.as_mut_ptr(), out.len()) }
}

pub(crate) fn state_get(key: &str, out: &mut [u8]) -> i32 {
    unsafe { import::state_get(key.as_ptr(), key.len(), out.as_mut_ptr(), out.len()) }
}

pub(crate) fn state_set(key: &str, value: &[u8]) -> i32 {
    unsafe { import::state_set(key.as_ptr(), key.len(), value.as_ptr(), value.len()) }
}

pub(crate) fn state_delete(key: &str) -> i32 {
    unsafe { import::state_delete(key.as_ptr(), key.len()) }
}

pub(crate) fn config_get(key: &str, out: &mut [u8]) -> i32 {
    unsafe { import::config_get(key.as_ptr(), key.len(), out.as_mut_ptr(), out.len()) }
}

/// Bytes of a page of linear memory.
const PAGE_BYTES: usize = 64 << 10;

/// An arena: memory from the end of the data upwards, given out in order. Only the block given out last can be freed or
/// extended; the host takes back all of it after each message.
struct Arena {
    /// Address of the next free byte; 0 before first use.
    next: Cell<usize>,
}

// SAFETY: one thread, see the module.
unsafe impl Sync for Arena {}

#[global_allocator]
static ARENA: Arena = Arena { next: Cell::new(0) };

impl Arena {
    fn next(&self) -> usize {
        extern "C" {
            /// First byte that neither data nor stack uses; the linker defines it.
            static __heap_base: u8;
        }
        match self.next.get() {
            0 => &raw const __heap_base as usize,
            next => next,
        }
    }

    /// Makes `end` the end of what is given out, growing memory if need be.
    fn reach(&self, end: usize) -> bool {
        let have = wasm32::memory_size::<0>() * PAGE_BYTES;
        if end > have && wasm32::memory_grow::<0>((end - have).div_ceil(PAGE_BYTES)) == usize::MAX {
            return false;
        }
        self.next.set(end);
        true
    }

    /// A block of `len` bytes; null when memory cannot grow.
    fn take(&self, len: usize, align: usize) -> *mut u8 {
        let Some(start) = self.next().checked_add(align - 1) else { return ptr::null_mut() };
        let start = start & !(align - 1);
        match start.checked_add(len) {
            Some(end) if self.reach(end) => start as *mut u8,
            _ => ptr::null_mut(),
        }
    }
}

// SAFETY: a block starts at or after the end of every live block, inside memory, at a multiple of its alignment.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size(), layout.align())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if block as usize + layout.size() == self.next.get() {
            self.next.set(block as usize);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_len: usize) -> *mut u8 {
        let start = block as usize;
        if start + layout.size() == self.next.get() {
            let fits = start.checked_add(new_len).is_some_and(|end| self.reach(end));
            return if fits { block } else { ptr::null_mut() };
        }
        if new_len <= layout.size() {
            return block;
        }
        let new = self.take(new_len, layout.align());
        if !new.is_null() {
            // SAFETY: both blocks are live and apart, and the old one is the shorter.
            unsafe { ptr::copy_nonoverlapping(block, new, layout.size()) };
        }
        new
    }
}

/// The block the host was given for the running message: address and length.
struct Input(Cell<(usize, usize)>);

// SAFETY: one thread, see the module.
unsafe impl Sync for Input {}

static INPUT: Input = Input(Cell::new((0, 0)));

impl Input {
    /// Bytes the host wrote.
    fn slice(&self, (start, len): (usize, usize)) -> Option<&'static [u8]> {
        let (block, block_len) = self.0.get();
        let offset = start.checked_sub(block)?;
        if offset > block_len || len > block_len - offset {
            return None;
        }
        // SAFETY: inside the block from `eyot_alloc`, which the sdk neither frees nor writes.
        Some(unsafe { core::slice::from_raw_parts(start as *const u8, len) })
    }
}

#[no_mangle]
extern "C" fn eyot_abi() -> i32 {
    1
}

#[no_mangle]
extern "C" fn eyot_alloc(len: usize) -> usize {
    let block = ARENA.take(len, 1) as usize;
    INPUT.0.set((block, if block == 0 { 0 } else { len }));
    block
}

/// The body of `eyot_handle`: topic and payload as address and length.
pub fn handle(
    topic: (usize, usize),
    payload: (usize, usize),
    handler: impl FnOnce(&Message<'_>) -> Result<(), Error>,
) -> i32 {
    let topic = INPUT.slice(topic).and_then(|bytes| core::str::from_utf8(bytes).ok());
    let result = match (topic, INPUT.slice(payload)) {
        (Some(topic), Some(payload)) => handler(&Message { topic, payload }),
        _ => Err(Error::BAD_POINTER),
    };
    code(result)
}

/// What an export returns.
pub fn code(result: Result<(), Error>) -> i32 {
    result.map_or_else(Error::code, |()| 0)
}

/// What `init` returned.
pub struct Settings<T>(OnceCell<T>);

// SAFETY: one thread, see the module.
unsafe impl<T> Sync for Settings<T> {}

impl<T> Settings<T> {
    /// Before `eyot_init`.
    pub const fn unset() -> Self {
        Self(OnceCell::new())
    }

    /// The body of `eyot_init`.
    pub fn init(&self, init: fn() -> Result<T, Error>) -> i32 {
        code(init().and_then(|value| self.0.set(value).map_err(|_| Error::NOT_ALLOWED)))
    }

    /// What `init` returned.
    pub fn get(&self) -> Result<&T, Error> {
        self.0.get().ok_or(Error::BAD_CONFIG)
    }
}

/// Longest panic message that is logged.
const PANIC_MAX_BYTES: usize = 256;

/// Text that is cut where its room ends.
struct Line {
    bytes: [u8; PANIC_MAX_BYTES],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            *self.bytes.get_mut(self.len).ok_or(fmt::Error)? = byte;
            self.len += 1;
        }
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut line = Line { bytes: [0; PANIC_MAX_BYTES], len: 0 };
    // A message that is cut says enough.
    let _ = write!(line, "{info}");
    // SAFETY: as above; the host minds where the last character ends.
    unsafe { import::log(Level::Error as i32, line.bytes.as_ptr(), line.len) };
    wasm32::unreachable()
}
