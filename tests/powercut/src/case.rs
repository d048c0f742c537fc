//! One cut, as a file: to judge it again.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::image::{Image, Packed};
use crate::recorder::Recorder;
use crate::subject::Subject;
use crate::Error;

/// What a cut left, and what was promised before it.
#[derive(Clone, Debug)]
pub struct Case<S> {
    /// The disk.
    pub image: Image,
    /// Whose promises it must keep.
    pub subject: S,
    /// Decides what is done after the cut.
    pub seed: u64,
}

#[derive(Serialize, Deserialize)]
struct Kept<S> {
    name: String,
    control: Control,
    image: Packed,
    subject: S,
    seed: u64,
}

impl<S: Subject> Case<S> {
    /// Writes it to a file.
    pub fn save(&self, control: Control, path: &Path) -> Result<(), Error> {
        let Self { image, subject, seed } = self;
        let (name, subject) = (S::NAME.to_owned(), subject.clone());
        let kept = Kept { name, control, image: Packed::from(image), subject, seed: *seed };
        let bytes = postcard::to_stdvec(&kept).map_err(|error| Error::Setup(format!("{}: {error}", path.display())))?;
        std::fs::write(path, bytes).map_err(Error::io(path))
    }
}

/// Whose case a file holds, and what was left undone in it.
pub fn peek(path: &Path) -> Result<(String, Control), Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    postcard::take_from_bytes(&bytes).map(|(head, _)| head).map_err(|error| foreign(path, &error))
}

/// Judges the case in a file again.
pub fn replay<S: Subject>(path: &Path, recorder: &Recorder) -> Result<(), Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let kept: Kept<S> = postcard::from_bytes(&bytes).map_err(|error| foreign(path, &error))?;
    kept.subject.judge(recorder, &Image::from(&kept.image), kept.seed).map(|_| ())
}

fn foreign(path: &Path, error: &postcard::Error) -> Error {
    Error::Setup(format!("{} is no case of this rig ({error}); name a file that a sweep kept", path.display()))
}
