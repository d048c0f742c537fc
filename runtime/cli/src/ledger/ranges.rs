//! Sequence numbers that arrived, as ranges: a dump that is mostly in order needs a handful, however long it is.

use std::collections::BTreeMap;

/// A set of numbers from 1.
#[derive(Debug, Default)]
pub struct Ranges {
    /// Last number of each range, by its first. Ranges do not touch.
    lasts: BTreeMap<u64, u64>,
    count: u64,
}

impl Ranges {
    /// Adds `number`; false if it was there.
    pub fn insert(&mut self, number: u64) -> bool {
        let before = self.lasts.range(..=number).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| last >= number) {
            return false;
        }
        // A range before ends below `number`, so one more does not overflow.
        let first = before.filter(|(_, last)| last + 1 == number).map_or(number, |(first, _)| first);
        let after = number.checked_add(1).and_then(|next| self.lasts.remove(&next));
        self.lasts.insert(first, after.unwrap_or(number));
        self.count += 1;
        true
    }

    /// Numbers in the set.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Ranges they form.
    pub fn len(&self) -> usize {
        self.lasts.len()
    }

    /// The least number.
    pub fn first(&self) -> Option<u64> {
        self.lasts.first_key_value().map(|(first, _)| *first)
    }

    /// The greatest number.
    pub fn last(&self) -> Option<u64> {
        self.lasts.last_key_value().map(|(_, last)| *last)
    }

    /// What is missing from 1 to `end`: first and last number of each gap, in order.
    pub fn gaps(&self, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let present = self.lasts.iter().map(|(first, last)| (*first, *last));
        // The next number that may be missing; none beyond the greatest there is.
        let mut next = Some(1);
        present.map(Some).chain([None]).filter_map(move |range| {
            let start = next?;
            let gap_end = match range {
                Some((first, last)) => {
                    next = last.checked_add(1);
                    first - 1
                }
                None => end,
            };
            let gap_end = gap_end.min(end);
            (start <= gap_end).then_some((start, gap_end))
        })
    }

    /// How many numbers are missing from `from` to `to`, both included; `from` is 1 or more.
    pub fn missing(&self, from: u64, to: u64) -> u64 {
        self.gaps(to).filter(|(_, last)| *last >= from).map(|(first, last)| last - first.max(from) + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn of(numbers: &[u64]) -> Ranges {
        let mut ranges = Ranges::default();
        for number in numbers {
            ranges.insert(*number);
        }
        ranges
    }

    #[test]
    fn ranges_join_and_know_their_gaps() {
        let ranges = of(&[3, 1, 7, 2, 8, 3]);
        assert_eq!((ranges.len(), ranges.count(), ranges.first(), ranges.last()), (2, 6 - 1, Some(1), Some(8)));
        assert_eq!(ranges.gaps(10).collect::<Vec<_>>(), [(4, 6), (9, 10)]);
        assert_eq!(ranges.gaps(5).collect::<Vec<_>>(), [(4, 5)]);
        assert_eq!((ranges.missing(1, 10), ranges.missing(5, 9), ranges.missing(7, 8)), (5, 3, 0));
        assert_eq!(Ranges::default().gaps(3).collect::<Vec<_>>(), [(1, 3)]);
        assert_eq!(Ranges::default().gaps(0).count(), 0);
    }

    #[test]
    fn the_greatest_numbers_do_not_overflow() {
        let mut ranges = of(&[u64::MAX, u64::MAX - 1]);
        assert!(!ranges.insert(u64::MAX));
        assert_eq!((ranges.len(), ranges.count(), ranges.last()), (1, 2, Some(u64::MAX)));
        assert_eq!(ranges.missing(1, u64::MAX), u64::MAX - 2);
    }

    #[test]
    fn they_are_the_set_of_numbers() {
        for seed in 0..500 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for _ in 0..rng.usize(..120) {
                let number = rng.u64(1..=90);
                assert_eq!(ranges.insert(number), set.insert(number), "seed {seed}");
            }
            let (from, to) = (rng.u64(1..100), rng.u64(..120));
            let missing = (from..=to).filter(|n| !set.contains(n)).count() as u64;
            assert_eq!(ranges.missing(from, to), missing, "seed {seed}, {from} to {to}: {set:?}");
            let listed: Vec<u64> = ranges.gaps(to).flat_map(|(first, last)| first..=last).collect();
            assert_eq!(listed, (1..=to).filter(|n| !set.contains(n)).collect::<Vec<_>>(), "seed {seed}");
            let starts = set.iter().filter(|n| !set.contains(&(*n - 1))).count();
            assert_eq!((ranges.len(), ranges.count()), (starts, set.len() as u64), "seed {seed}");
        }
    }
}
