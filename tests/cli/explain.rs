//! `fwd explain`, and what else needs no daemon.

use expect_test::expect;

use crate::instance::Instance;

#[test]
fn codes_and_drop_reasons_are_explained() {
    let instance = Instance::new();
    expect![[r#"
        $ fwd explain FWD-E301
        code:      FWD-E301
        exit_code: 3
        meaning:   There is no object of that name.
        remedy:    List them: fwd NOUN list.
        $ fwd explain nat_exhausted
        code:      nat_exhausted
        exit_code: -
        meaning:   No free L4 port is left for this translation.
        remedy:    Widen nat_l4_ports.
        $ fwd explain FWD-E999
        error: `FWD-E999` is no error code, and no drop reason has that name.
          Codes look like FWD-E301; list drop reasons with fwd drop reasons.
          (FWD-E304; fwd explain FWD-E304)
        [exit code 3]
    "#]]
    .assert_eq(&instance.transcript(&["explain FWD-E301", "explain nat_exhausted", "explain FWD-E999"]));
}

#[test]
fn a_usage_error_is_exit_code_2() {
    let instance = Instance::new();
    for line in ["", "nonsense", "port", "port show", "network add a", "-o xml status"] {
        assert_eq!(instance.run(line).status.code(), Some(2), "{line}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let instance = Instance::new();
    let mut child = instance.command("completion bash");
    let mut child = child.stdout(std::process::Stdio::piped()).spawn().expect("fwd can be started");
    drop(child.stdout.take());
    assert!(child.wait().expect("our own child").success());
}

#[test]
fn every_shell_has_its_completion() {
    let instance = Instance::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = instance.run(&format!("completion {shell}"));
        assert!(output.status.success() && !output.stdout.is_empty(), "{shell}");
    }
}
