//! What a power cut can leave of a tape.
//!
//! A flush makes durable what came before it. Of the writes after it, each sector of the disk holds any one of the
//! contents it was given since, or the durable one: a disk with a volatile cache promises no more.

use serde::{Deserialize, Serialize};

use crate::image::{Image, SECTOR_BYTES};
use crate::tape::{Event, Tape};

/// What happens to the writes that were not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// All reach the disk.
    Kept,
    /// None does.
    Lost,
    /// Each does or does not.
    Mixed,
    /// Each does or does not, in any order.
    Shuffled,
    /// Each does, does not, or does in part, in any order.
    Torn,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Kept, Self::Lost, Self::Mixed, Self::Shuffled, Self::Torn];

    /// As it stands in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Lost => "lost",
            Self::Mixed => "mixed",
            Self::Shuffled => "shuffled",
            Self::Torn => "torn",
        }
    }
}

/// One power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Events before this one happened.
    pub event: usize,
    /// What became of the last of them.
    pub kind: Kind,
    /// Decides which.
    pub seed: u64,
}

/// Makes the images of cuts, which come in order of their events.
#[derive(Debug)]
pub struct Player<'t> {
    tape: &'t Tape,
    durable: Image,
    /// Events before this one are in `durable`.
    flushed: usize,
}

impl<'t> Player<'t> {
    /// Stands at the beginning of `tape`.
    pub fn new(tape: &'t Tape) -> Self {
        Self { tape, durable: tape.base.clone(), flushed: 0 }
    }

    /// What the disk holds after this cut. Events must not go back from one call to the next.
    pub fn image(&mut self, cut: &Cut) -> Image {
        let before = self.tape.events.get(..cut.event).unwrap_or(&self.tape.events);
        let flush = before.iter().rposition(|event| *event == Event::Flush).unwrap_or(0);
        for event in before.get(self.flushed..flush).unwrap_or_default() {
            apply(&mut self.durable, event);
        }
        self.flushed = self.flushed.max(flush);
        let mut image = self.durable.clone();
        leave(&mut image, before.get(flush..).unwrap_or_default(), cut);
        image
    }
}

fn apply(image: &mut Image, event: &Event) {
    if let Event::Write { offset, bytes } = event {
        // The disk refused what lies beyond its end when it was recorded.
        image.write(*offset, bytes);
    }
}

/// Applies what is left of writes that were not flushed.
fn leave(image: &mut Image, events: &[Event], cut: &Cut) {
    let mut rng = fastrand::Rng::with_seed(cut.seed);
    let kept_of_ten = rng.choice([1, 5, 9]).unwrap_or(5);
    let mut order: Vec<&Event> = match cut.kind {
        Kind::Lost => return,
        Kind::Kept | Kind::Torn => events.iter().collect(),
        Kind::Mixed | Kind::Shuffled => events.iter().filter(|_| rng.u32(0..10) < kept_of_ten).collect(),
    };
    if matches!(cut.kind, Kind::Shuffled | Kind::Torn) {
        rng.shuffle(&mut order);
    }
    for event in order {
        match event {
            Event::Write { offset, bytes } if cut.kind == Kind::Torn => match rng.u32(0..4) {
                0 => {}
                1 => apply(image, event),
                _ => tear(image, *offset, bytes, &mut rng),
            },
            _ => apply(image, event),
        }
    }
}

/// Writes some of the sectors: the first ones, the last ones, or any.
fn tear(image: &mut Image, offset: u64, bytes: &[u8], rng: &mut fastrand::Rng) {
    let count = bytes.len().div_ceil(SECTOR_BYTES);
    let at = rng.usize(0..=count);
    let style = rng.u32(0..3);
    let mut keeps = false;
    for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
        let place = offset + (index * SECTOR_BYTES) as u64;
        // The superblock of ext4 is two sectors with one checksum, which no journal guards: its tearing is the end of the
        // file system whatever runs on top of it, and repaired by fsck. Here it is written whole or not at all.
        if place != SUPERBLOCK_SECOND_SECTOR || index == 0 {
            keeps = match style {
                0 => index < at,
                1 => index >= at,
                _ => rng.bool(),
            };
        }
        if keeps {
            image.write(place, sector);
        }
    }
}

const SUPERBLOCK_SECOND_SECTOR: u64 = 1024 + SECTOR_BYTES as u64;

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 64 << 10;

    fn write(sector: usize, fill: u8, sectors: usize) -> Event {
        Event::Write { offset: (sector * SECTOR_BYTES) as u64, bytes: vec![fill; sectors * SECTOR_BYTES] }
    }

    fn tape() -> Tape {
        let events =
            vec![write(8, 1, 8), write(16, 2, 1), Event::Flush, write(8, 3, 8), write(8, 4, 4), write(20, 5, 2)];
        Tape { base: Image::blank(BYTES), events }
    }

    fn fills(image: &Image) -> Vec<u8> {
        image
            .read(0, BYTES)
            .chunks(SECTOR_BYTES)
            .map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "sectors are whole");
                sector[0]
            })
            .collect()
    }

    #[test]
    fn flushed_writes_stay_and_others_are_kept_or_lost() {
        let tape = tape();
        let after = |event, kind| fills(&Player::new(&tape).image(&Cut { event, kind, seed: 1 }));
        assert_eq!(after(0, Kind::Kept), vec![0; BYTES / SECTOR_BYTES]);
        assert_eq!(after(2, Kind::Lost), vec![0; BYTES / SECTOR_BYTES]);
        assert_eq!(after(3, Kind::Lost)[8..18], [1, 1, 1, 1, 1, 1, 1, 1, 2, 0]);
        assert_eq!(after(6, Kind::Lost), after(3, Kind::Lost));
        assert_eq!(after(6, Kind::Kept)[8..22], [4, 4, 4, 4, 3, 3, 3, 3, 2, 0, 0, 0, 5, 5]);
    }

    #[test]
    fn every_sector_holds_something_it_was_given_and_every_content_comes_about() {
        let tape = tape();
        let given: [&[u8]; 4] = [&[1, 3, 4], &[1, 3], &[2], &[0, 5]];
        let mut seen = std::collections::HashSet::new();
        for seed in 0..500 {
            for kind in Kind::ALL {
                let fills = fills(&Player::new(&tape).image(&Cut { event: 6, kind, seed }));
                for (at, may) in [8, 12, 16, 20].into_iter().zip(given) {
                    assert!(may.contains(&fills[at]), "sector {at} holds {}", fills[at]);
                    seen.insert((at, fills[at]));
                }
                if kind != Kind::Torn {
                    assert_eq!(fills[20], fills[21], "only a torn write is in parts");
                }
            }
        }
        assert_eq!(seen.len(), given.iter().map(|may| may.len()).sum::<usize>());
    }

    #[test]
    fn a_player_that_moves_on_makes_the_same_images_as_a_new_one() {
        let tape = tape();
        let mut moving = Player::new(&tape);
        for event in 0..=6 {
            let cut = Cut { event, kind: Kind::Torn, seed: event as u64 };
            assert_eq!(moving.image(&cut), Player::new(&tape).image(&cut));
        }
    }

    #[test]
    fn the_superblock_is_not_torn() {
        let tape = Tape { base: Image::blank(BYTES), events: vec![write(0, 9, 8), write(2, 8, 2)] };
        for seed in 0..300 {
            let fills = fills(&Player::new(&tape).image(&Cut { event: 2, kind: Kind::Torn, seed }));
            assert_eq!(fills[2], fills[3]);
        }
    }
}
