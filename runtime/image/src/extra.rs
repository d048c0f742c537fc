//! What an image has only if it is asked for.

use crate::initramfs::Initramfs;
use crate::libraries;
use crate::package::{named, Files};
use crate::Error;

/// It.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// A shell over SSH, for whoever has one of the keys in [`SSH_KEYS`].
    Ssh,
}

/// Public keys on the first partition, one a line. There is no SSH without them.
pub const SSH_KEYS: &str = "authorized_keys";
/// Of Debian's, what [`Extra::Ssh`] is made of.
const SSH_PACKAGES: [&str; 7] =
    ["dropbear-bin", "libc6", "libcrypt1", "libgmp10", "libtomcrypt1", "libtommath1", "zlib1g"];
/// There is one user, whom no password lets in.
const USERS: &[u8] = b"root:*:0:0:root:/root:/bin/sh\n";

impl Extra {
    /// All there are.
    pub const ALL: [Self; 1] = [Self::Ssh];

    /// The packages that it takes.
    pub fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Ssh => &SSH_PACKAGES,
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Ssh => "dropbear",
        }
    }
}

/// Adds programs, what they need of the system, and their libraries.
pub(crate) fn add(extras: &[Extra], files: &Files, root: &mut Initramfs) -> Result<(), Error> {
    if extras.is_empty() {
        return Ok(());
    }
    let mut programs = Vec::new();
    for extra in extras {
        let name = extra.program();
        let program = named(files, name).ok_or_else(|| Error::package(name, "no package has this program"))?;
        root.program(&format!("bin/{name}"), program);
        programs.push(program);
        match extra {
            Extra::Ssh => {
                root.directories(&["root"]);
                root.link("bin/sh", "/bin/busybox");
                root.file("etc/passwd", USERS);
                root.file("etc/shells", b"/bin/sh\n");
                // Its keys are made at the first connection, and kept.
                root.link("etc/dropbear", "/var/lib/ssh");
            }
        }
    }
    // A program names the one that loads it by its path, which differs between processors.
    root.link("lib64", "/lib");
    for (name, library) in libraries::select(files, &programs)? {
        root.program(&format!("lib/{name}"), library);
    }
    Ok(())
}
