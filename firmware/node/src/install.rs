//! Modules that come over the link, in chunks: gathered, checked against their SHA-256, and handed over whole.

use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use eyot_wire::link::{Install, TEXT_MAX_BYTES};
use sha2::{Digest, Sha256};

/// When a chunk that was asked for and did not come is asked for again.
pub const ASK_AGAIN_MS: u64 = 1000;

/// A text for the link; what is longer is cut at a character.
pub type Text = heapless::String<TEXT_MAX_BYTES>;

struct Cut(Text);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.0.push(character).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

/// What `arguments` say, as far as it fits.
pub fn cut(arguments: fmt::Arguments<'_>) -> Text {
    let mut cut = Cut(Text::new());
    // Fails where it is cut.
    let _ = cut.write_fmt(arguments);
    cut.0
}

/// What a node says of something that comes in chunks: what became of it, once, and until then where the next chunk begins.
#[derive(Default)]
pub struct Saying {
    /// Of which, and why it was refused if it was.
    answer: Option<([u8; 32], Option<Text>)>,
    ask_due_ms: u64,
}

impl Saying {
    /// A chunk is wanted at once.
    pub fn ask_now(&mut self) {
        self.ask_due_ms = 0;
    }

    /// It runs.
    pub fn done(&mut self, sha256: [u8; 32]) {
        self.answer = Some((sha256, None));
    }

    /// It does not.
    pub fn refuse(&mut self, sha256: [u8; 32], reason: Text) {
        self.answer = Some((sha256, Some(reason)));
    }

    /// Passes what is to be said to `say`; `wanted` is what is coming, and how many bytes of it are here.
    pub fn poll<R>(
        &mut self,
        now_ms: u64,
        wanted: Option<([u8; 32], u32)>,
        say: impl FnOnce(Install<'_>) -> R,
    ) -> Option<R> {
        match self.answer.take() {
            Some((sha256, None)) => return Some(say(Install::Done { sha256 })),
            Some((sha256, Some(reason))) => return Some(say(Install::Refused { sha256, reason: &reason })),
            None => {}
        }
        let (sha256, offset) = wanted.filter(|_| now_ms >= self.ask_due_ms)?;
        self.ask_due_ms = now_ms + ASK_AGAIN_MS;
        Some(say(Install::Wants { sha256, offset }))
    }
}

struct Staging {
    sha256: [u8; 32],
    bytes: Vec<u8>,
    total: usize,
}

/// The module that is coming, if any.
#[derive(Default)]
pub struct Installer {
    staging: Option<Staging>,
    saying: Saying,
    is_removed: bool,
}

impl Installer {
    /// A module is to follow. One that was begun goes on if it is the same, and is given up otherwise.
    pub fn begin(&mut self, sha256: [u8; 32], total_bytes: u32, running: Option<[u8; 32]>, max_bytes: usize) {
        self.saying.ask_now();
        if self.staging.as_ref().is_some_and(|staging| staging.sha256 == sha256) {
            return;
        }
        self.staging = None;
        if running == Some(sha256) {
            return self.done(sha256);
        }
        let total = usize::try_from(total_bytes).unwrap_or(usize::MAX);
        if !(1..=max_bytes).contains(&total) {
            let reason = cut(format_args!(
                "module is {total_bytes} bytes, this node takes 1 to {max_bytes}; build it smaller, or use a larger node"
            ));
            return self.refuse(sha256, reason);
        }
        let mut bytes = Vec::new();
        match bytes.try_reserve_exact(total) {
            Ok(()) => self.staging = Some(Staging { sha256, bytes, total }),
            Err(_) => {
                let reason = "this node has no memory left for the module; lower the limits of its program";
                self.refuse(sha256, cut(format_args!("{reason}")));
            }
        }
    }

    /// A chunk. Returns the module when that was the last one and it is what was announced.
    pub fn chunk(&mut self, sha256: [u8; 32], offset: u32, bytes: &[u8]) -> Option<Vec<u8>> {
        let staging = self.staging.as_mut().filter(|staging| staging.sha256 == sha256)?;
        // One that comes twice was asked for twice.
        if usize::try_from(offset) != Ok(staging.bytes.len()) {
            return None;
        }
        self.saying.ask_now();
        let room = staging.total - staging.bytes.len();
        staging.bytes.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        if staging.bytes.len() < staging.total {
            return None;
        }
        let Staging { bytes, .. } = self.staging.take()?;
        if <[u8; 32]>::from(Sha256::digest(&bytes)) == sha256 {
            return Some(bytes);
        }
        self.refuse(sha256, cut(format_args!("module has another SHA-256 than announced; send it again")));
        None
    }

    /// It runs.
    pub fn done(&mut self, sha256: [u8; 32]) {
        self.saying.done(sha256);
    }

    /// There is none any more, and none is coming.
    pub fn removed(&mut self) {
        *self = Self { is_removed: true, ..Self::default() };
    }

    /// It does not.
    pub fn refuse(&mut self, sha256: [u8; 32], reason: Text) {
        self.saying.refuse(sha256, reason);
    }

    /// Passes what is to be said about it to `say`.
    pub fn poll<R>(&mut self, now_ms: u64, say: impl FnOnce(Install<'_>) -> R) -> Option<R> {
        if core::mem::take(&mut self.is_removed) {
            return Some(say(Install::Removed));
        }
        let here = |staging: &Staging| u32::try_from(staging.bytes.len()).unwrap_or(u32::MAX);
        let wanted = self.staging.as_ref().map(|staging| (staging.sha256, here(staging)));
        self.saying.poll(now_ms, wanted, say)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};

    fn sha(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    fn said(installer: &mut Installer, now_ms: u64) -> Option<String> {
        installer.poll(now_ms, |install| match install {
            Install::Wants { offset, .. } => offset.to_string(),
            Install::Done { .. } => "done".to_string(),
            Install::Refused { reason, .. } => reason.to_string(),
            Install::Removed => "removed".to_string(),
        })
    }

    #[test]
    fn a_module_comes_in_order_whatever_is_lost_or_doubled() {
        let module: Vec<u8> = (0..1000).map(|i| i as u8).collect();
        let (sha256, mut installer) = (sha(&module), Installer::default());
        installer.begin(sha256, 1000, None, 1000);
        assert_eq!(said(&mut installer, 0).as_deref(), Some("0"));
        assert_eq!(said(&mut installer, 999), None, "asked already");
        assert_eq!(said(&mut installer, 1000).as_deref(), Some("0"), "lost");
        assert_eq!(installer.chunk(sha256, 0, &module[..600]), None);
        assert_eq!(installer.chunk(sha256, 0, &module[..600]), None, "twice");
        assert_eq!(installer.chunk([0; 32], 600, &module[600..]), None, "of another module");
        assert_eq!(said(&mut installer, 1000).as_deref(), Some("600"));
        installer.begin(sha256, 1000, None, 1000);
        assert_eq!(said(&mut installer, 1000).as_deref(), Some("600"), "a new connection goes on");
        assert_eq!(installer.chunk(sha256, 600, &module[600..]), Some(module));
        installer.done(sha256);
        assert_eq!((said(&mut installer, 0).as_deref(), said(&mut installer, 5000)), (Some("done"), None));
        installer.begin(sha256, 1000, Some(sha256), 1000);
        assert_eq!(said(&mut installer, 0).as_deref(), Some("done"), "it runs already");
        installer.begin(sha256, 1000, None, 1000);
        installer.removed();
        assert_eq!((said(&mut installer, 0).as_deref(), said(&mut installer, 5000)), (Some("removed"), None));
    }

    #[test]
    fn what_does_not_fit_or_is_not_what_was_announced_is_refused() {
        let mut installer = Installer::default();
        for bytes in [0, 1001, u32::MAX] {
            installer.begin([1; 32], bytes, None, 1000);
            assert!(said(&mut installer, 0).unwrap().contains("1 to 1000"));
        }
        installer.begin([1; 32], 3, None, 1000);
        assert_eq!(installer.chunk([1; 32], 0, b"abcdef"), None, "longer than announced");
        assert!(said(&mut installer, 0).unwrap().contains("SHA-256"));
        installer.begin(sha(b"abc"), 3, None, 1000);
        assert_eq!(
            installer.chunk(sha(b"abc"), 0, b"abcdef").as_deref(),
            Some(&b"abc"[..]),
            "no more than was announced"
        );
    }
}
