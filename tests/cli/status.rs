//! `fwd status`.

use serde_json::Value;

use crate::instance::Instance;

#[test]
fn status_counts_objects_and_tells_what_is_used() {
    let instance = Instance::up();
    instance.transcript(&[
        "network add a --mode nat --subnet 10.0.0.0/24 --uplink eth0",
        "port add web1 --device tap0 --network a",
    ]);
    let output = instance.run("status -o json").stdout;
    let status: Value = serde_json::from_slice(&output).expect("json");
    let revision = serde_json::json!({"accepted": 2, "applied": 2, "confirmed": 2, "confirm_until": null});
    assert_eq!(status["revision"], revision);
    assert_eq!(status["objects"]["ports"], 1);
    let used: Vec<_> = status["interfaces"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|i| (&i["device"], &i["used_as"]))
        .collect();
    assert!(used.contains(&(&"eth0".into(), &"uplink".into())), "{used:?}");
    assert!(used.contains(&(&"tap0".into(), &"port web1".into())), "{used:?}");
    assert!(used.contains(&(&"tap1".into(), &Value::Null)), "{used:?}");
}

#[test]
fn the_ledgers_of_an_idle_host_are_exact() {
    let instance = Instance::up();
    let output = instance.run("status --check -o json");
    assert_eq!(output.status.code(), Some(0));
    let check: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!((&check["exact"], &check["residue"]), (&true.into(), &0.into()));
}
