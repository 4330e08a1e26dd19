//! The order of layers: what is needed comes before what needs it, otherwise as declared. Finding a
//! layer is the caller's.

use super::super::suggest;
use crate::contract::problem::Problem;

/// More layers than this are a mistake, and the recursion is as deep as they are.
const MAX_LAYERS: usize = 500;

/// A layer as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// What it calls itself.
    pub name: String,
    /// What it needs.
    pub layers: Vec<String>,
    /// Where it was found, for messages.
    pub place: String,
    /// The rest of it.
    pub layer: T,
}

/// Finds everything that is wanted and puts it in order.
///
/// `lookup` is asked once for each name; `None` says that there is none. `known` are names to
/// suggest in place of a missing one, and `wanter` is how messages name whoever wants `wanted`.
///
/// # Errors
/// All missing layers with who wants them, all that `lookup` refuses, cycles, and layers that are
/// called otherwise.
pub fn resolve<T>(
    wanted: &[String],
    wanter: &str,
    known: &[String],
    lookup: impl FnMut(&str) -> Result<Option<Found<T>>, Vec<Problem>>,
) -> Result<Vec<Found<T>>, Vec<Problem>> {
    let mut walk = Walk {
        lookup,
        known,
        path: Vec::new(),
        seen: Vec::new(),
        missing: Vec::new(),
        order: Vec::new(),
        problems: Vec::new(),
    };
    for name in wanted {
        walk.visit(name, wanter);
    }
    let missing = std::mem::take(&mut walk.missing);
    let missing = missing.into_iter().map(|(name, wanters)| {
        let hint = suggest::hint(&name, known.iter().map(String::as_str));
        let wanters = wanters.join(", ");
        Problem::new(format!(
            "layer `{name}` is nowhere (wanted by {wanters}){hint}"
        ))
    });
    walk.problems.extend(missing);
    match walk.problems.is_empty() {
        true => Ok(walk.order),
        false => Err(walk.problems),
    }
}

struct Walk<'a, T, L> {
    lookup: L,
    known: &'a [String],
    /// From a wanted layer down to the one at hand.
    path: Vec<String>,
    seen: Vec<String>,
    missing: Vec<(String, Vec<String>)>,
    order: Vec<Found<T>>,
    problems: Vec<Problem>,
}

impl<T, L: FnMut(&str) -> Result<Option<Found<T>>, Vec<Problem>>> Walk<'_, T, L> {
    fn visit(&mut self, name: &str, wanter: &str) {
        if let Some(start) = self.path.iter().position(|above| above == name) {
            let mut cycle: Vec<&str> = self.path.iter().skip(start).map(String::as_str).collect();
            cycle.push(name);
            self.problems.push(Problem::new(format!(
                "layers need each other in a circle: {}; drop one of these needs",
                cycle.join(" -> ")
            )));
            return;
        }
        if let Some((_, wanters)) = self.missing.iter_mut().find(|(missing, _)| missing == name) {
            let wanter = wanter.to_owned();
            if !wanters.contains(&wanter) {
                wanters.push(wanter);
            }
            return;
        }
        if self.seen.iter().any(|seen| seen == name) {
            return;
        }
        if self.seen.len() == MAX_LAYERS {
            self.problems.push(Problem::new(format!(
                "more than {MAX_LAYERS} layers are needed; that is a mistake"
            )));
        }
        self.seen.push(name.to_owned());
        if self.seen.len() > MAX_LAYERS {
            return;
        }
        match (self.lookup)(name) {
            Err(problems) => self.problems.extend(problems),
            Ok(None) => self
                .missing
                .push((name.to_owned(), vec![wanter.to_owned()])),
            Ok(Some(found)) if found.name != name => {
                let hint = match self.known.contains(&found.name) {
                    true => format!("; ask for `{}`", found.name),
                    false => String::new(),
                };
                self.problems.push(Problem::new(format!(
                    "layer `{name}` (wanted by {wanter}) calls itself `{}` in {}{hint}",
                    found.name, found.place
                )));
            }
            Ok(Some(found)) => {
                self.path.push(name.to_owned());
                for needed in &found.layers {
                    self.visit(needed, &format!("layer `{name}`"));
                }
                self.path.pop();
                self.order.push(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Graph = BTreeMap<String, Vec<String>>;

    fn graph(edges: &[(&str, &[&str])]) -> Graph {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        edges
            .iter()
            .map(|(name, needs)| (name.to_string(), owned(needs)))
            .collect()
    }

    fn order(graph: &Graph, wanted: &[&str]) -> Result<Vec<String>, Vec<String>> {
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        let known: Vec<String> = graph.keys().cloned().collect();
        let mut asked = Vec::new();
        let found = resolve(&wanted, "cake.conf", &known, |name| {
            assert!(
                !asked.contains(&name.to_owned()),
                "{name} is asked for twice"
            );
            asked.push(name.to_owned());
            Ok(graph.get(name).map(|layers| Found {
                name: name.to_owned(),
                layers: layers.clone(),
                place: "here".to_owned(),
                layer: (),
            }))
        });
        let names = |found: Vec<Found<()>>| found.into_iter().map(|found| found.name).collect();
        found.map(names).map_err(|problems| {
            problems
                .into_iter()
                .map(|problem| problem.message)
                .collect()
        })
    }

    #[test]
    fn c15_a_dependency_comes_before_its_dependents_once() {
        let graph = graph(&[
            ("web", &["tls", "env"]),
            ("tls", &["env"]),
            ("env", &[]),
            ("db", &["env"]),
        ]);
        assert_eq!(
            order(&graph, &["web", "db"]).unwrap(),
            ["env", "tls", "web", "db"]
        );
        assert_eq!(
            order(&graph, &["db", "web", "db"]).unwrap(),
            ["env", "db", "tls", "web"]
        );
    }

    #[test]
    fn c33_a_circle_is_named() {
        let graph = graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]);
        assert_eq!(
            order(&graph, &["a"]).unwrap_err(),
            ["layers need each other in a circle: b -> c -> b; drop one of these needs"]
        );
    }

    #[test]
    fn c32_all_missing_are_told_with_who_wants_them() {
        let graph = graph(&[("a", &["mysq", "x"]), ("b", &["x"]), ("mysql", &[])]);
        assert_eq!(
            order(&graph, &["a", "b", "zz"]).unwrap_err(),
            [
                "layer `mysq` is nowhere (wanted by layer `a`); did you mean `mysql`?",
                "layer `x` is nowhere (wanted by layer `a`, layer `b`)",
                "layer `zz` is nowhere (wanted by cake.conf)",
            ]
        );
    }

    #[test]
    fn a_layer_has_to_be_called_what_it_was_asked_for_as() {
        let told = resolve(&["a".to_owned()], "cake.conf", &[], |_| {
            Ok(Some(Found {
                name: "b".to_owned(),
                layers: Vec::new(),
                place: "layers/a".to_owned(),
                layer: (),
            }))
        });
        assert_eq!(
            told.unwrap_err()[0].message,
            "layer `a` (wanted by cake.conf) calls itself `b` in layers/a"
        );
    }

    #[test]
    fn a_chain_without_end_is_a_mistake() {
        let mut next = 0;
        let told = resolve(&["n".to_owned()], "x", &[], |name| {
            next += 1;
            Ok(Some(Found {
                name: name.to_owned(),
                layers: vec![format!("n{next}")],
                place: String::new(),
                layer: (),
            }))
        });
        assert!(told.unwrap_err()[0].message.contains("more than 500"));
    }

    proptest! {
        #[test]
        fn any_graph_is_ordered_or_has_a_circle(
            edges in proptest::collection::vec((0usize..7, 0usize..7), 0..14), forward in any::<bool>()
        ) {
            let mut graph: Graph = (0..7).map(|n| (n.to_string(), Vec::new())).collect();
            for (from, to) in edges {
                // Edges that only go down make no circle.
                if from != to && (!forward || from > to) {
                    graph.get_mut(&from.to_string()).unwrap().push(to.to_string());
                }
            }
            let wanted = ["6", "5", "4", "3", "2", "1", "0"];
            match order(&graph, &wanted) {
                Ok(order) => {
                    prop_assert_eq!(order.len(), 7);
                    for (at, name) in order.iter().enumerate() {
                        for needed in &graph[name] {
                            prop_assert!(order.iter().position(|other| other == needed).unwrap() < at);
                        }
                    }
                }
                Err(told) => {
                    prop_assert!(!forward);
                    prop_assert!(told.iter().all(|told| told.contains("circle")));
                }
            }
        }
    }
}
