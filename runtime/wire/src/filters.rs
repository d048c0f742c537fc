//! Many topic filters at once: which of them select a topic.
//!
//! A tree with a node for each level of the filters. A topic walks down it level by level, so what a lookup costs follows
//! from the topic's levels and from how many `+` lie on its way, and hardly from the number of filters: with 10,000 of
//! them it is less than a microsecond.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

/// Filters, each with a number of the caller's.
#[derive(Clone, Debug)]
pub struct Filters {
    /// The first is the root; a node comes after the one it is below.
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    named: BTreeMap<Box<str>, usize>,
    /// The node below for `+`.
    any: Option<usize>,
    /// Numbers of the filters that end here.
    here: Vec<u32>,
    /// Numbers of those that go on with `#`, which stands for this level's topic as well.
    rest: Vec<u32>,
}

/// Room that lookups use again, so that they allocate nothing once it has grown.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    found: Vec<u32>,
    nodes: Vec<usize>,
    below: Vec<usize>,
}

impl Default for Filters {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Filters {
    /// Adds `filter` (valid by [`parse_filter`](crate::topic::parse_filter)) under `number`; other filters may have the same.
    pub fn insert(&mut self, filter: &str, number: u32) {
        let mut at = 0;
        for level in filter.split('/') {
            if level == "#" {
                if let Some(node) = self.nodes.get_mut(at) {
                    node.rest.push(number);
                }
                return;
            }
            at = self.below(at, level);
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.here.push(number);
        }
    }

    /// The node for `level` below `at`, made if it is not there.
    fn below(&mut self, at: usize, level: &str) -> usize {
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else { return at };
        let below = match (level, node.named.get(level)) {
            ("+", _) => *node.any.get_or_insert(new),
            (_, Some(below)) => *below,
            (_, None) => {
                node.named.insert(Box::from(level), new);
                new
            }
        };
        if below == new {
            self.nodes.push(Node::default());
        }
        below
    }

    /// The numbers of all filters that select `topic` (valid by [`parse_topic`](crate::topic::parse_topic)), ascending, each
    /// once.
    pub fn find<'a>(&self, topic: &str, lookup: &'a mut Lookup) -> &'a [u32] {
        let Lookup { found, nodes, below } = lookup;
        found.clear();
        nodes.clear();
        nodes.push(0);
        // A wildcard in the first level does not stand for what begins with `$`.
        let mut wild = !topic.starts_with('$');
        for level in topic.split('/') {
            below.clear();
            for node in nodes.iter().filter_map(|at| self.nodes.get(*at)) {
                if wild {
                    found.extend_from_slice(&node.rest);
                    below.extend(node.any);
                }
                below.extend(node.named.get(level));
            }
            core::mem::swap(nodes, below);
            if nodes.is_empty() {
                break;
            }
            wild = true;
        }
        for node in nodes.iter().filter_map(|at| self.nodes.get(*at)) {
            found.extend_from_slice(&node.rest);
            found.extend_from_slice(&node.here);
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::topic::{matches, parse_filter, parse_topic};
    use alloc::format;
    use alloc::string::String;

    fn naive(filters: &[(String, u32)], topic: &str) -> Vec<u32> {
        let mut found: Vec<u32> =
            filters.iter().filter(|(f, _)| matches(f, topic)).map(|(_, number)| *number).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    #[test]
    fn a_tree_finds_what_the_filters_one_by_one_select() {
        let seed =
            std::env::var("EYOT_WIRE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
        std::println!("EYOT_WIRE_SEED={seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let level = |rng: &mut fastrand::Rng, of: &[&str]| String::from(of[rng.usize(..of.len())]);
        let path = |rng: &mut fastrand::Rng, of: &[&str]| {
            let levels: Vec<String> = (0..rng.usize(1..6)).map(|_| level(rng, of)).collect();
            levels.join("/")
        };
        let (mut lookup, mut hits, mut misses) = (Lookup::default(), 0, 0);
        for _ in 0..300 {
            let mut tree = Filters::default();
            let filters: Vec<(String, u32)> =
                core::iter::repeat_with(|| path(&mut rng, &["a", "b", "", "+", "#", "$s"]))
                    .filter(|filter| parse_filter(filter.as_bytes()).is_ok())
                    .take(30)
                    .enumerate()
                    .map(|(number, filter)| (filter, number as u32 / 2))
                    .collect();
            filters.iter().for_each(|(filter, number)| tree.insert(filter, *number));
            for _ in 0..60 {
                let topic = path(&mut rng, &["a", "b", "c", "", "$s"]);
                if parse_topic(topic.as_bytes()).is_ok() {
                    let found = tree.find(&topic, &mut lookup);
                    assert_eq!(found, naive(&filters, &topic), "{topic:?} {filters:?} EYOT_WIRE_SEED={seed}");
                    (hits, misses) = (hits + found.len(), misses + usize::from(found.is_empty()));
                }
            }
        }
        assert!(hits > 10_000 && misses > 100, "{hits} {misses}");
    }

    #[test]
    fn what_stands_for_nothing_and_what_stands_for_all() {
        let (mut tree, mut lookup) = (Filters::default(), Lookup::default());
        assert!(tree.find("a/b", &mut lookup).is_empty());
        for (number, filter) in ["#", "+/#", "a/#", "a/b/#", "$s/#", "+", "/"].into_iter().enumerate() {
            tree.insert(filter, number as u32);
        }
        let mut find = |topic: &str| Vec::from(tree.find(topic, &mut lookup));
        assert_eq!(find("a"), [0, 1, 2, 5]);
        assert_eq!(find("a/b"), [0, 1, 2, 3]);
        assert_eq!(find("a/b/c"), [0, 1, 2, 3]);
        assert_eq!(find("$s"), [4], "no wildcard in the first level");
        assert_eq!(find("/"), [0, 1, 6]);
    }

    #[test]
    fn ten_thousand_filters_and_a_topic_as_deep_as_can_be() {
        let (mut tree, mut lookup) = (Filters::default(), Lookup::default());
        (0..10_000).for_each(|number| tree.insert(&format!("site/+/sensors/{number}/raw"), number));
        assert_eq!(tree.find("site/7/sensors/1234/raw", &mut lookup), [1234]);
        let deep = "/".repeat(crate::topic::TOPIC_MAX_BYTES - 1);
        tree.insert(&format!("{deep}#"), 1);
        tree.insert(&"+/".repeat(500), 2);
        assert_eq!(tree.find(&deep, &mut lookup), [1]);
    }
}
