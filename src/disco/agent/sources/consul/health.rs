//! Services as addresses: from the health endpoint's JSON to `services.NAME`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::not_the_json;

/// An instance on the wire: where it runs, what it is, how it is.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EntryRaw {
    node: NodeRaw,
    service: ServiceRaw,
    #[serde(default)]
    checks: Option<Vec<CheckRaw>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NodeRaw {
    node: String,
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceRaw {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    address: Option<String>,
    #[serde(default)]
    port: i64,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CheckRaw {
    #[serde(rename = "CheckID", default)]
    id: String,
    #[serde(default)]
    status: String,
}

/// The order of the instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// By node, then by id: Consul's own order changes from answer to answer.
    ByName,
    /// Consul was asked to sort by distance.
    AsAnswered,
}

/// The tree of a service. The address and port of the first instance stand beside the list, and are
/// missing when there is none.
///
/// # Errors
/// If this is no answer of Consul's.
pub(super) fn decode(body: &[u8], name: &str, order: Order) -> Result<Value, String> {
    let mut entries: Vec<EntryRaw> = serde_json::from_slice(body).map_err(|e| not_the_json(&e))?;
    if order == Order::ByName {
        let key = |entry: &EntryRaw| (entry.node.node.clone(), entry.service.id.clone());
        entries.sort_by_cached_key(key);
    }
    let instances: Vec<Value> = entries.into_iter().map(instance).collect();
    let mut service = Map::new();
    if let Some(first) = instances.first() {
        for field in ["address", "port"] {
            service.insert(field.to_owned(), first[field].clone());
        }
    }
    service.insert("instances".to_owned(), Value::Array(instances));
    Ok(json!({ "services": { name: service } }))
}

fn instance(entry: EntryRaw) -> Value {
    let EntryRaw {
        node,
        service,
        checks,
    } = entry;
    let address = service.address.filter(|address| !address.is_empty());
    let mut tags = service.tags.unwrap_or_default();
    tags.sort();
    json!({
        "id": service.id,
        "address": address.unwrap_or(node.address),
        "port": service.port,
        "tags": tags,
        "meta": service.meta.unwrap_or_default(),
        "node": node.node,
        "status": status(&checks.unwrap_or_default()),
    })
}

/// The worst of the checks. Maintenance is a check of a reserved name.
fn status(checks: &[CheckRaw]) -> &'static str {
    let is_maintenance = |check: &CheckRaw| {
        check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:")
    };
    let has = |status: &str| checks.iter().any(|check| check.status == status);
    if checks.iter().any(is_maintenance) {
        "maintenance"
    } else if has("critical") {
        "critical"
    } else if has("warning") {
        "warning"
    } else {
        "passing"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(node: &str, id: &str, address: &str, port: u16) -> Value {
        json!({
            "Node": {"ID": "x", "Node": node, "Address": "10.0.0.1", "Meta": null},
            "Service": {
                "ID": id, "Service": "db", "Address": address, "Port": port,
                "Tags": ["b", "a"], "Meta": {"v": "1"}, "Weights": {"Passing": 1},
            },
            "Checks": [{"CheckID": "serfHealth", "Status": "passing"}],
        })
    }

    fn tree(entries: Vec<Value>, order: Order) -> Value {
        let body = Value::Array(entries).to_string();
        decode(body.as_bytes(), "db", order).unwrap()["services"]["db"].clone()
    }

    #[test]
    fn the_shape_of_a_service() {
        assert_eq!(
            tree(vec![entry("n", "db1", "10.0.0.2", 3306)], Order::ByName),
            json!({
                "address": "10.0.0.2", "port": 3306,
                "instances": [{
                    "id": "db1", "address": "10.0.0.2", "port": 3306, "tags": ["a", "b"],
                    "meta": {"v": "1"}, "node": "n", "status": "passing",
                }],
            })
        );
    }

    #[test]
    fn no_instance_is_an_empty_list() {
        assert_eq!(tree(Vec::new(), Order::ByName), json!({"instances": []}));
    }

    #[test]
    fn a_service_without_an_address_has_that_of_its_node() {
        let got = tree(vec![entry("n", "db1", "", 1)], Order::ByName);
        assert_eq!(got["address"], "10.0.0.1");
    }

    #[test]
    fn instances_are_sorted_unless_by_distance() {
        let entries = || {
            vec![
                entry("n2", "a", "far", 1),
                entry("n1", "b", "near", 2),
                entry("n1", "a", "x", 3),
            ]
        };
        let ports = |order| {
            let got = tree(entries(), order);
            let list = got["instances"].as_array().unwrap().clone();
            list.iter()
                .map(|i| i["port"].as_u64().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(ports(Order::ByName), [3, 2, 1]);
        assert_eq!(ports(Order::AsAnswered), [1, 2, 3]);
        assert_eq!(tree(entries(), Order::AsAnswered)["address"], "far");
    }

    #[test]
    fn the_worst_check_counts() {
        for (checks, expected) in [
            (vec![], "passing"),
            (vec![("a", "passing"), ("b", "warning")], "warning"),
            (vec![("a", "critical"), ("b", "warning")], "critical"),
            (vec![("_node_maintenance", "critical")], "maintenance"),
            (
                vec![("_service_maintenance:db1", "critical")],
                "maintenance",
            ),
        ] {
            let checks: Vec<_> = checks
                .into_iter()
                .map(|(id, status)| CheckRaw {
                    id: id.to_owned(),
                    status: status.to_owned(),
                })
                .collect();
            assert_eq!(status(&checks), expected);
        }
    }

    #[test]
    fn nulls_where_go_writes_them() {
        let mut entry = entry("n", "db1", "", 1);
        entry["Service"]["Tags"] = Value::Null;
        entry["Service"]["Meta"] = Value::Null;
        entry["Checks"] = Value::Null;
        let got = tree(vec![entry], Order::ByName);
        assert_eq!(got["instances"][0]["tags"], json!([]));
        assert_eq!(got["instances"][0]["meta"], json!({}));
    }

    #[test]
    fn what_is_no_list_of_instances_is_refused() {
        for body in ["", "null", "{}", "[{}]", "[", r#"[{"Node": "hunter2"}]"#] {
            let reason = decode(body.as_bytes(), "db", Order::ByName).unwrap_err();
            assert!(!reason.contains("hunter2"), "{reason}");
        }
    }

    proptest! {
        // A failure is printed, and does not become a file of the repository.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_order_of_an_answer_does_not_matter(
            ids in prop::collection::btree_set(("[a-c]", "[a-z]{1,3}"), 0..6).prop_map(Vec::from_iter)
                .prop_flat_map(|ids| (Just(ids.clone()), Just(ids).prop_shuffle()))
        ) {
            let build = |ids: &[(String, String)]| {
                tree(ids.iter().map(|(node, id)| entry(node, id, "", 1)).collect(), Order::ByName)
            };
            prop_assert_eq!(build(&ids.0), build(&ids.1));
        }
    }
}
