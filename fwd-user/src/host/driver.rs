//! What a NIC's driver is and can do, by ethtool's ioctl, the one interface that every kernel has.
//!
//! Deliberately not here: whether XDP really attaches, which depends on MTU, queues and offloads and is
//! seen when it is tried.

use std::{
    ffi::{CStr, c_char},
    io,
    os::fd::AsRawFd,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Drivers that run XDP natively (those of kernel 6.12; a newer one is tried by `--hook xdp`).
const NATIVE_XDP: [&str; 38] = [
    "atlantic",
    "bnxt_en",
    "cpsw-switch",
    "dpaa2-eth",
    "dpaa_eth",
    "ena",
    "fec",
    "fsl_enetc",
    "funeth",
    "gve",
    "hv_netvsc",
    "i40e",
    "ice",
    "ice_sriov",
    "igb",
    "igbvf",
    "igc",
    "ionic",
    "ixgbe",
    "ixgbevf",
    "lan966x",
    "macb",
    "mana",
    "mlx4_en",
    "mlx5_core",
    "mtk_soc_eth",
    "mvneta",
    "mvpp2",
    "netsec",
    "nfp",
    "octeontx2",
    "qede",
    "sfc",
    "st_gmac",
    "tsnep",
    "virtio_net",
    "vif",
    "vmxnet3",
];

/// Whether the device's driver is known to run XDP natively.
pub(super) fn has_native_xdp(device: &str) -> bool {
    driver(device).is_ok_and(|driver| NATIVE_XDP.contains(&driver.as_str()))
}

/// Whether the NIC takes VLAN tags out of received frames, which hides them from XDP.
pub(super) fn strips_vlan(device: &str) -> io::Result<bool> {
    let mut value = EthtoolValue { command: ETHTOOL_GFLAGS, data: 0 };
    ethtool(device, &mut value)?;
    Ok(value.data & ETH_FLAG_RXVLAN != 0)
}

/// Sets whether it does.
pub(super) fn set_strips_vlan(device: &str, on: bool) -> io::Result<()> {
    let mut value = EthtoolValue { command: ETHTOOL_GFLAGS, data: 0 };
    ethtool(device, &mut value)?;
    value.command = ETHTOOL_SFLAGS;
    value.data = if on { value.data | ETH_FLAG_RXVLAN } else { value.data & !ETH_FLAG_RXVLAN };
    ethtool(device, &mut value)
}

/// Whether the NIC joins received frames into ones that cannot be sent on (large receive offload).
pub(super) fn has_lro(device: &str) -> io::Result<bool> {
    let mut value = EthtoolValue { command: ETHTOOL_GFLAGS, data: 0 };
    ethtool(device, &mut value)?;
    Ok(value.data & ETH_FLAG_LRO != 0)
}

/// The driver's name.
fn driver(device: &str) -> io::Result<String> {
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 32 * 4 + 12 + 5 * 4] };
    ethtool(device, &mut info)?;
    let bytes = info.driver.map(|c| c as u8);
    let name = CStr::from_bytes_until_nul(&bytes).map_err(io::Error::other)?;
    Ok(name.to_string_lossy().into_owned())
}

// ethtool.h
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
const ETH_FLAG_LRO: u32 = 1 << 15;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [c_char; 32],
    rest: [u8; 32 * 4 + 12 + 5 * 4],
}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// A command of ethtool.h: plain data that starts with the command's number, of the size that it implies.
trait Command {}
impl Command for DriverInfo {}
impl Command for EthtoolValue {}

fn ethtool<C: Command>(device: &str, command: &mut C) -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut name = [0; libc::IFNAMSIZ];
    if device.len() >= name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in name.iter_mut().zip(device.bytes()) {
        *to = from as c_char;
    }
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut *command).cast() },
    };
    // SAFETY: SIOCETHTOOL reads the name and follows `ifru_data` to a struct of the command's size, which
    // `Command` promises; both outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

// sockios.h
const SIOCETHTOOL: libc::Ioctl = 0x8946;
