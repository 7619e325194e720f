//! The order in which steps may run. Pure: names and numbers in, names and numbers out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;

use crate::step::Step;

/// Why a set of steps has no order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disorder {
    /// Two steps have this name.
    Duplicate(String),
    /// A step needs one that there is not.
    UnknownNeed {
        /// The step.
        step: String,
        /// What it needs.
        need: String,
    },
    /// These steps need each other, each the next and the last the first.
    Cycle(Vec<String>),
}

impl fmt::Display for Disorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate(name) => write!(f, "two steps are named {name}"),
            Self::UnknownNeed { step, need } => {
                write!(f, "step {step} needs {need}, which there is not")
            }
            Self::Cycle(names) => {
                let first = names.first().map_or("", String::as_str);
                write!(
                    f,
                    "steps need each other: {} -> {first}",
                    names.join(" -> ")
                )
            }
        }
    }
}

impl std::error::Error for Disorder {}

/// Steps by their index in the list that the graph was made from.
#[derive(Debug)]
pub struct Graph {
    needs: Vec<Vec<usize>>,
    dependents: Vec<Vec<usize>>,
    priorities: Vec<u64>,
    order: Vec<usize>,
}

impl Graph {
    /// The graph of these steps.
    ///
    /// # Errors
    /// When two have one name, one needs what there is not, or some need each other.
    pub fn new(steps: &[Step]) -> Result<Self, Disorder> {
        let mut indexes = HashMap::new();
        for (index, step) in steps.iter().enumerate() {
            if indexes.insert(step.name, index).is_some() {
                return Err(Disorder::Duplicate(step.name.to_owned()));
            }
        }
        let mut needs = vec![Vec::new(); steps.len()];
        let mut dependents = vec![Vec::new(); steps.len()];
        for (index, step) in steps.iter().enumerate() {
            for name in &step.needs {
                let need = *indexes.get(name).ok_or_else(|| Disorder::UnknownNeed {
                    step: step.name.to_owned(),
                    need: (*name).to_owned(),
                })?;
                if !needs[index].contains(&need) {
                    needs[index].push(need);
                    dependents[need].push(index);
                }
            }
        }
        let order = sort(&needs, &dependents);
        if order.len() < steps.len() {
            let names = cycle(&needs, &order);
            let names = names.into_iter().map(|index| steps[index].name.to_owned());
            return Err(Disorder::Cycle(names.collect()));
        }
        // The longest chain that a step begins, itself included: start the longest first.
        let mut priorities = vec![0; steps.len()];
        for &index in order.iter().rev() {
            let behind = dependents[index].iter().map(|&next| priorities[next]);
            priorities[index] = u64::from(steps[index].weight) + behind.max().unwrap_or(0);
        }
        Ok(Self {
            needs,
            dependents,
            priorities,
            order,
        })
    }

    /// What a step needs, each once.
    pub fn needs(&self, index: usize) -> &[usize] {
        &self.needs[index]
    }

    /// What needs a step, directly.
    pub fn dependents(&self, index: usize) -> &[usize] {
        &self.dependents[index]
    }

    /// The weight of the longest chain that begins with a step.
    pub fn priority(&self, index: usize) -> u64 {
        self.priorities[index]
    }

    /// Every step after what it needs, otherwise in the order of the list.
    pub fn order(&self) -> &[usize] {
        &self.order
    }
}

/// Topological order; of several steps that could come next, the one listed first. Shorter than
/// the list when there is a cycle.
fn sort(needs: &[Vec<usize>], dependents: &[Vec<usize>]) -> Vec<usize> {
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let free = (0..needs.len()).filter(|&index| missing[index] == 0);
    let mut ready: BinaryHeap<_> = free.map(Reverse).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &next in &dependents[index] {
            missing[next] -= 1;
            if missing[next] == 0 {
                ready.push(Reverse(next));
            }
        }
    }
    order
}

/// One cycle among the steps that have no place in the order.
fn cycle(needs: &[Vec<usize>], order: &[usize]) -> Vec<usize> {
    let outside = |index: &usize| !order.contains(index);
    let mut path: Vec<usize> = Vec::new();
    let mut next = (0..needs.len()).find(outside);
    // Every step outside the order needs another such step, so the walk must meet itself.
    while let Some(index) = next {
        if let Some(start) = path.iter().position(|&seen| seen == index) {
            return path.split_off(start);
        }
        path.push(index);
        next = needs[index].iter().copied().find(|need| outside(need));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(list: &[(&'static str, &[&'static str], u32)]) -> Vec<Step> {
        let make = |(name, needs, weight): &(&'static str, &[&'static str], u32)| {
            Step::new(name, "")
                .needs(needs.iter().copied())
                .weight(*weight)
        };
        list.iter().map(make).collect()
    }

    fn message(list: &[(&'static str, &[&'static str], u32)]) -> String {
        Graph::new(&steps(list)).unwrap_err().to_string()
    }

    #[test]
    fn the_order_follows_needs_and_else_the_list() {
        let steps = steps(&[
            ("d", &["b", "c"], 1),
            ("c", &["a"], 1),
            ("b", &["a", "a"], 1),
            ("a", &[], 1),
            ("e", &[], 1),
        ]);
        let graph = Graph::new(&steps).unwrap();
        let names: Vec<&str> = graph.order().iter().map(|&i| steps[i].name).collect();
        assert_eq!(names, ["a", "c", "b", "d", "e"]);
        assert_eq!(graph.needs(2), [3]);
        assert_eq!(graph.dependents(3), [1, 2]);
    }

    #[test]
    fn the_priority_is_the_longest_chain_by_weight() {
        let steps = steps(&[
            ("slow", &[], 10),
            ("quick", &[], 1),
            ("long", &["quick"], 20),
            ("end", &["slow", "long"], 5),
        ]);
        let graph = Graph::new(&steps).unwrap();
        let priorities: Vec<u64> = (0..4).map(|index| graph.priority(index)).collect();
        assert_eq!(priorities, [15, 26, 25, 5]);
    }

    #[test]
    fn disorder_is_named() {
        assert_eq!(
            message(&[("a", &[], 1), ("a", &[], 1)]),
            "two steps are named a"
        );
        assert_eq!(
            message(&[("a", &["b"], 1)]),
            "step a needs b, which there is not"
        );
        assert_eq!(
            message(&[("a", &["a"], 1)]),
            "steps need each other: a -> a"
        );
        assert_eq!(
            message(&[
                ("outside", &["a"], 1),
                ("a", &["b"], 1),
                ("b", &["c", "free"], 1),
                ("c", &["a"], 1),
                ("free", &[], 1),
            ]),
            "steps need each other: a -> b -> c -> a"
        );
    }
}
