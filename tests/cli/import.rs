//! `fwd import`.

use std::fs;

use expect_test::expect;

use crate::instance::Instance;

const NETWORK: &str = "<network><name>default</name><forward mode='nat'/><bridge name='virbr0'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.122.100' end='192.168.122.254'/></dhcp></ip></network>";
const WEB: &str = "<domstatus><domain type='kvm'><name>web</name><devices>
  <interface type='network'><mac address='52:54:00:00:00:0b'/><source network='default'/><target dev='vnet0'/></interface>
  </devices></domain></domstatus>";

#[test]
fn a_network_of_libvirts_is_printed_as_a_document_that_is_valid() {
    let instance = Instance::new();
    let [run, config] = ["run/qemu", "config/qemu/networks"].map(|folder| instance.folder().join(folder));
    for (folder, name, text) in
        [(&run, "web.xml", WEB), (&config, "default.xml", NETWORK), (&config, "odd.xml", "<domain/>")]
    {
        fs::create_dir_all(folder).expect("our own folder");
        fs::write(folder.join(name), text).expect("our own folder");
    }
    let from = "--run-dir DIR/run --config-dir DIR/config";
    let transcript = instance.transcript(&[
        &format!("import libvirt default --uplink eth0 {from}"),
        &format!("import libvirt none {from}"),
        &format!("import libvirt odd {from}"),
    ]);
    expect![[r#"
        $ fwd import libvirt default --uplink eth0 --run-dir DIR/run --config-dir DIR/config
        api: fwd/v1
        settings: {}
        uplinks:
          - device: eth0
            hook: auto
        networks:
          - name: default
            mode: nat
            subnets:
              - 192.168.122.0/24
            gateways:
              - 192.168.122.1
            uplink: eth0
            dhcp: 192.168.122.100-192.168.122.254
            dns: true
            mtu: 1500
            default_policy: open
            private: false
            isolate_ports: false
        ports:
          - name: web
            libvirt: web/0
            network: default
            mac: ~
            ips: []
            allow_addresses: []
            labels: {}
            hook: auto
            trust: false
            take_over: true
        forwards: []
        nats: []
        groups: []
        sets: []
        policies: []
        note: libvirt serves default until it is ended: virsh net-destroy default; virsh net-autostart --disable default.
        $ fwd import libvirt none --run-dir DIR/run --config-dir DIR/config
        error: libvirt has no network none here.
          List them: virsh net-list --all.
          (FWD-E301; fwd explain FWD-E301)
        [exit code 3]
        $ fwd import libvirt odd --run-dir DIR/run --config-dir DIR/config
        error: The network of DIR/config/qemu/networks/odd.xml cannot be imported: it is no network's XML.
          See the message for what is.
          (FWD-E603; fwd explain FWD-E603)
        [exit code 6]
    "#]]
    .assert_eq(&transcript);
    let document = instance.run(&format!("import libvirt default {from} -o json"));
    let notes = String::from_utf8(document.stderr).expect("it is text");
    assert!(notes.contains("name it, as --uplink eth0"), "{notes}");
    let quiet = instance.run(&format!("import libvirt default {from} -o json -q"));
    assert!(quiet.stderr.is_empty() && quiet.stdout == document.stdout);
    let text = String::from_utf8(document.stdout).expect("it is text");
    assert_eq!(instance.feed("config check -", &text), "$ fwd config check -\n<stdin>: valid.\n");
}
