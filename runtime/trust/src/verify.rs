//! What a module says of itself, and whose signature fits.

use eyot_wire::manifest::{Manifest, ManifestError};
use eyot_wire::module::{MODULE_MAX_BYTES, SECTION_MANIFEST};
use ring::digest;
use thiserror::Error;

use crate::cursor::Cursor;
use crate::header::{Header, Signature, SECTION_SIGNATURE};
use crate::key::PublicKey;

/// How every core module begins.
pub(crate) const MODULE_HEAD: &[u8] = b"\0asm\x01\0\0\0";

/// Why bytes are not a function that could be signed. The text has reason and remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FormatError {
    /// More than a gateway takes.
    #[error("is {bytes} bytes; at most {MODULE_MAX_BYTES} are accepted, make the function smaller")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// No WebAssembly, or a component.
    #[error("is not a core WebAssembly module; give a .wasm file that `eyot build` wrote")]
    NotAModule,
    /// Sections do not fill the module exactly.
    #[error("is damaged or cut off from byte {at} on; get it again")]
    CutOff {
        /// Where the section begins that does not fit.
        at: usize,
    },
    /// A signature section behind another section.
    #[error("has a signature section that is not its first section; build it again and sign that")]
    Misplaced,
    /// The signature section cannot be read.
    #[error("has a signature section that cannot be read: {0}; get the module again, or build and sign it again")]
    Header(&'static str),
    /// No manifest.
    #[error("has no section {SECTION_MANIFEST}; add function.toml with `eyot build`")]
    NoManifest,
    /// Two manifests.
    #[error("has a second section {SECTION_MANIFEST}; build it again with `eyot build`")]
    SecondManifest,
    /// The manifest is not a valid `function.toml`.
    #[error("has a section {SECTION_MANIFEST} that is no function.toml: {0}; correct it and build again")]
    Manifest(#[from] ManifestError),
}

/// Whether a key signed a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It did: every byte behind the signature section is as the key's owner had it.
    Signed,
    /// A signature names the key, and does not fit: the module, or the signature, was altered.
    Altered,
    /// No signature names the key.
    Absent,
}

/// A module, taken apart as far as signatures need it; nothing of it is believed yet.
pub struct Module<'a> {
    pub(crate) header: Header<'a>,
    /// Everything behind the signature section.
    pub(crate) body: &'a [u8],
    content_sha256: [u8; 32],
    manifest: Manifest,
}

impl<'a> Module<'a> {
    /// Takes `module` apart.
    ///
    /// # Errors
    /// It is not a whole module with one manifest, or its signature section breaks the rules.
    pub fn read(module: &'a [u8]) -> Result<Self, FormatError> {
        if module.len() > MODULE_MAX_BYTES {
            return Err(FormatError::TooLarge { bytes: module.len() });
        }
        let sections = module.strip_prefix(MODULE_HEAD).ok_or(FormatError::NotAModule)?;
        let mut from = Cursor::new(sections);
        let (mut header, mut body, mut manifest) = (Header::default(), sections, None);
        while !from.rest().is_empty() {
            let at = module.len() - from.rest().len();
            let is_first = at == MODULE_HEAD.len();
            let Some(Custom { name, data }) = section(&mut from).ok_or(FormatError::CutOff { at })? else { continue };
            if name == SECTION_SIGNATURE {
                if !is_first {
                    return Err(FormatError::Misplaced);
                }
                header = Header::decode(data).map_err(FormatError::Header)?;
                body = from.rest();
            } else if name == SECTION_MANIFEST.as_bytes() && manifest.replace(data).is_some() {
                return Err(FormatError::SecondManifest);
            }
        }
        let manifest = parse_manifest(manifest.ok_or(FormatError::NoManifest)?)?;
        let mut content_sha256 = [0; 32];
        let hash = digest::digest(&digest::SHA256, body);
        content_sha256.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        Ok(Self { header, body, content_sha256, manifest })
    }

    /// The manifest; covered by every signature that fits.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Identity of what is signed: the SHA-256 of everything behind the signature section. Unlike that of the file it
    /// stays the same when signers are added, by anyone.
    pub fn content_sha256(&self) -> &[u8; 32] {
        &self.content_sha256
    }

    /// Whether anyone at all claims to have signed it.
    pub fn is_signed(&self) -> bool {
        self.header.signatures() > 0
    }

    /// Ids of the keys that signatures name, in hex, as they are; a stranger's can have any length. Signatures that name
    /// none, or of an unknown kind, are left out.
    pub fn claimed_ids(&self) -> Vec<String> {
        let named = self.signatures().filter(|signature| !signature.key_id.is_empty());
        named.map(|signature| hex::encode(signature.key_id)).collect()
    }

    fn signatures(&self) -> impl Iterator<Item = Signature<'a>> + use<'_, 'a> {
        self.header.sets.iter().flat_map(|set| &set.signatures).filter_map(|bytes| Signature::decode(bytes))
    }

    /// Whether `key` signed it, whatever others did.
    pub fn fit(&self, key: &PublicKey) -> Fit {
        let id = key.id();
        let mut fit = Fit::Absent;
        for set in &self.header.sets {
            for signature in set.signatures.iter().filter_map(|bytes| Signature::decode(bytes)) {
                if signature.key_id != id.as_bytes() {
                    continue;
                }
                if set.covers(&self.content_sha256) && key.verifies(&set.message(), signature.bytes) {
                    return Fit::Signed;
                }
                fit = Fit::Altered;
            }
        }
        fit
    }
}

/// A custom section.
struct Custom<'a> {
    name: &'a [u8],
    data: &'a [u8],
}

/// Reads a section, of which only custom ones matter here. `None` if it does not fit into what is left.
fn section<'a>(from: &mut Cursor<'a>) -> Option<Option<Custom<'a>>> {
    let id = from.byte()?;
    let size = from.number()?;
    let mut payload = Cursor::new(from.bytes(size)?);
    if id != 0 {
        return Some(None);
    }
    let name_size = payload.number()?;
    let name = payload.bytes(name_size)?;
    Some(Some(Custom { name, data: payload.rest() }))
}

fn parse_manifest(data: &[u8]) -> Result<Manifest, FormatError> {
    let text = std::str::from_utf8(data).map_err(|_| ManifestError("it is not UTF-8".to_owned()))?;
    Ok(Manifest::parse(text)?)
}
