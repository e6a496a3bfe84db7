//! Frames in and out of live interfaces: packet sockets on a link, and taps opened as a VM would.
//!
//! A [`Wire`] sees what arrives at its interface, never what this machine sends through it. A VLAN tag that
//! the kernel moved to metadata is put back, so a frame reads as it was on the wire.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::frame::{assert_frames_equal, render};
use crate::lab::eventually;
use crate::link::VnetHeader;
use crate::netns::Netns;

/// Long enough for a loaded machine; nothing waits this long unless it fails.
pub const PATIENCE: Duration = Duration::from_secs(3);
const LONGEST_FRAME: usize = 65_600 + 14;
/// `struct virtio_net_hdr`.
const VNET_HEADER_LEN: usize = 10;

/// Something that frames can be sent into and received from.
pub trait Link {
    /// # Errors
    /// What the kernel refuses.
    fn try_send(&self, frame: &[u8]) -> io::Result<()>;

    /// The next frame, or `None` when the time is over.
    fn receive(&self, patience: Duration) -> Option<Vec<u8>>;

    #[track_caller]
    fn send(&self, frame: &[u8]) {
        self.try_send(frame).unwrap_or_else(|error| panic!("{error}: {}", render(frame)));
    }

    /// The first frame that `wanted` accepts.
    ///
    /// # Panics
    /// If none comes: with what came instead.
    #[track_caller]
    fn expect(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let end = Instant::now() + PATIENCE;
        let mut others = vec![];
        while let Some(frame) = self.receive(end.saturating_duration_since(Instant::now())) {
            if wanted(&frame) {
                return frame;
            }
            others.push(render(&frame));
        }
        panic!("the frame did not come; what came:\n{}", others.join("\n"));
    }

    /// Waits for exactly this frame among others.
    ///
    /// # Panics
    /// If it does not come: with the difference to the last frame of the same ethertype.
    #[track_caller]
    fn expect_frame(&self, expected: &[u8]) {
        let end = Instant::now() + PATIENCE;
        let mut closest = None;
        while let Some(frame) = self.receive(end.saturating_duration_since(Instant::now())) {
            if frame == expected {
                return;
            }
            if frame.get(12..14) == expected.get(12..14) {
                closest = Some(frame);
            }
        }
        match closest {
            Some(frame) => assert_frames_equal(expected, &frame),
            None => panic!("nothing like it came: {}", render(expected)),
        }
    }

    /// Watches for `time` and fails if a frame comes that `unwanted` accepts.
    #[track_caller]
    fn expect_none(&self, time: Duration, unwanted: impl Fn(&[u8]) -> bool) {
        let end = Instant::now() + time;
        while let Some(frame) = self.receive(end.saturating_duration_since(Instant::now())) {
            assert!(!unwanted(&frame), "an unwanted frame came: {}", render(&frame));
        }
    }

    /// Takes away what has come so far.
    fn drain(&self) {
        while self.receive(Duration::ZERO).is_some() {}
    }
}

/// A packet socket on one interface.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
}

impl Wire {
    /// # Panics
    /// If the interface does not exist.
    #[must_use]
    #[track_caller]
    pub fn open(netns: &Netns, device: &str) -> Self {
        let index = netns.ifindex(device);
        let socket = netns.inside(|| packet_socket(index));
        Self { socket: socket.unwrap_or_else(|error| panic!("{device}: {error}")) }
    }
}

impl Link for Wire {
    fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        write_all(&self.socket, frame)
    }

    fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        readable(&self.socket, patience)
            .then(|| receive_tagged(&self.socket).expect("the socket is readable"))
    }
}

/// A tap opened from user space, as QEMU does.
#[derive(Debug)]
pub struct Tap {
    file: File,
    header: VnetHeader,
}

impl Tap {
    /// Opens the tap (making it if need be); with a header on it, frames are sent with an empty one and
    /// nothing is offered to the kernel, so what comes out is whole and has its checksums. One that is up
    /// carries frames when this returns.
    ///
    /// # Panics
    /// If it cannot be opened, as when another process has it.
    #[must_use]
    #[track_caller]
    pub fn open(netns: &Netns, name: &str, header: VnetHeader) -> Self {
        let mut file = netns.inside(|| open_tun(name, (libc::IFF_TAP, header)));
        // A process that another test's thread forked has a copy of every descriptor until it runs its program.
        let is_busy =
            |file: &io::Result<File>| matches!(file, Err(e) if e.raw_os_error() == Some(libc::EBUSY));
        _ = eventually(|| {
            if is_busy(&file) {
                file = netns.inside(|| open_tun(name, (libc::IFF_TAP, header)));
            }
            !is_busy(&file)
        });
        let file = file.unwrap_or_else(|error| panic!("{name}: {error}"));
        netns.settle();
        Self { file, header }
    }
}

impl Link for Tap {
    fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        match self.header {
            VnetHeader::Off => write_all(&self.file, frame),
            VnetHeader::On => write_all(&self.file, &[&[0; VNET_HEADER_LEN], frame].concat()),
        }
    }

    fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        if !readable(&self.file, patience) {
            return None;
        }
        let mut bytes = vec![0; LONGEST_FRAME + VNET_HEADER_LEN];
        let length = nix::unistd::read(&self.file, &mut bytes).expect("the tap is readable");
        bytes.truncate(length);
        if self.header == VnetHeader::On {
            bytes.drain(..VNET_HEADER_LEN);
        }
        Some(bytes)
    }
}

/// A tun opened from user space, as a VPN's daemon does. Its packets have no Ethernet header; they read as frames with
/// MACs of zeros.
#[derive(Debug)]
pub struct Tun {
    file: File,
}

impl Tun {
    /// Makes the tun, up.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    #[track_caller]
    pub fn open(netns: &Netns, name: &str) -> Self {
        let file = netns.inside(|| open_tun(name, (libc::IFF_TUN, VnetHeader::Off)));
        let file = file.unwrap_or_else(|error| panic!("{name}: {error}"));
        netns.up(name);
        Self { file }
    }
}

impl Link for Tun {
    fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        write_all(&self.file, &frame[14..])
    }

    fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        if !readable(&self.file, patience) {
            return None;
        }
        let mut bytes = vec![0; LONGEST_FRAME];
        let length = nix::unistd::read(&self.file, &mut bytes[14..]).expect("the tun is readable");
        let is_v6 = bytes[14] >> 4 == 6;
        bytes[12..14].copy_from_slice(if is_v6 { &[0x86, 0xdd] } else { &[0x08, 0] });
        bytes.truncate(14 + length);
        Some(bytes)
    }
}

/// `ARPHRD_PPP`: packets without Ethernet header, before which the kernel puts one of its own.
pub const ARPHRD_PPP: libc::c_int = 512;

/// Gives a tun of this namespace another link-layer type; it is down.
///
/// # Panics
/// If the kernel refuses.
#[track_caller]
pub fn set_link_type(name: &str, link_type: libc::c_int) {
    let file = open_tun(name, (libc::IFF_TUN, VnetHeader::Off));
    let file = file.unwrap_or_else(|error| panic!("{name}: {error}"));
    // SAFETY: the descriptor is open, and the request takes a number.
    unsafe { tun_set_link(file.as_raw_fd(), link_type) }.unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// A tunnel of the same name in two namespaces, of whose packets a thread of this process carries each to the other
/// end: also those that the kernel has yet to cut and to give their checksums, as WireGuard and ipip take them.
#[derive(Debug)]
pub struct Tunnel {
    is_over: Arc<AtomicBool>,
    carrier: Option<JoinHandle<()>>,
}

impl Tunnel {
    /// # Panics
    /// If an end cannot be made.
    #[must_use]
    #[track_caller]
    pub fn between(one: &Netns, other: &Netns, name: &str) -> Self {
        let ends = [one, other].map(|netns| {
            let file = netns.inside(|| {
                let file = open_tun(name, (libc::IFF_TUN, VnetHeader::On))?;
                let offloads = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
                // SAFETY: the descriptor is open, and the request takes a number.
                unsafe { tun_set_offload(file.as_raw_fd(), offloads.cast_signed()) }?;
                Ok::<_, io::Error>(file)
            });
            netns.up(name);
            file.unwrap_or_else(|error| panic!("{name}: {error}"))
        });
        let is_over = Arc::new(AtomicBool::new(false));
        let carrier = thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || carry(&ends, &is_over)
        });
        Self { is_over, carrier: Some(carrier) }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take() {
            _ = carrier.join();
        }
    }
}

/// Carries packets between two ends until it is over. One that an end does not take is lost, as on any way.
fn carry(ends: &[File; 2], is_over: &AtomicBool) {
    let mut bytes = vec![0; LONGEST_FRAME + VNET_HEADER_LEN];
    while !is_over.load(Ordering::Relaxed) {
        let mut files = ends.each_ref().map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
        if !poll(&mut files, 50_u16).is_ok_and(|ready| ready > 0) {
            continue;
        }
        for ([from, to], file) in [[0, 1], [1, 0]].into_iter().zip(files) {
            if file.any() == Some(true)
                && let Ok(length) = nix::unistd::read(&ends[from], &mut bytes)
            {
                _ = nix::unistd::write(&ends[to], &bytes[..length]);
            }
        }
    }
}

fn readable(file: &impl AsFd, patience: Duration) -> bool {
    let timeout = PollTimeout::try_from(patience).expect("no test waits for weeks");
    let mut files = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    let events = poll(&mut files, timeout).expect("poll fails only for bad descriptors");
    events > 0
}

fn write_all(file: &impl AsFd, frame: &[u8]) -> io::Result<()> {
    let written = nix::unistd::write(file, frame)?;
    if written == frame.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn packet_socket(index: u32) -> io::Result<OwnedFd> {
    let every = u16::try_from(libc::ETH_P_ALL).expect("an ethertype has 16 bits").to_be();
    // Protocol 0 until bound, or frames of other interfaces would already queue up.
    // SAFETY: no pointers are passed; a non-negative result is a descriptor that nothing else owns.
    let socket = unsafe {
        let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        OwnedFd::from_raw_fd(check(libc::socket(libc::AF_PACKET, flags, 0))?)
    };
    for (level, option, value) in [
        (libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1),
        (libc::SOL_PACKET, libc::PACKET_AUXDATA, 1),
        (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20),
    ] {
        let (pointer, size) = ((&raw const value).cast(), size_of_val(&value) as libc::socklen_t);
        // SAFETY: the pointer and size describe `value`, which lives through the call.
        check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, pointer, size) })?;
    }
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: every,
        sll_ifindex: i32::try_from(index).expect("interface indexes are positive"),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let (pointer, size) = ((&raw const address).cast(), size_of_val(&address) as libc::socklen_t);
    // SAFETY: the pointer and size describe `address`, which lives through the call.
    check(unsafe { libc::bind(socket.as_raw_fd(), pointer, size) })?;
    Ok(socket)
}

/// Receives one frame and puts a VLAN tag back that the kernel has taken out.
fn receive_tagged(socket: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut frame = vec![0_u8; LONGEST_FRAME];
    let mut control = [0_u64; 16]; // aligned as cmsghdr needs it
    let mut part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
    // SAFETY: msghdr is plain data for which zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: the message points to buffers of the stated sizes that live through the call.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    frame.truncate(length);
    // SAFETY: the kernel filled the control buffer and its length; CMSG_FIRSTHDR checks that one fits.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() };
    if let Some(header) = header
        && (header.cmsg_level, header.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA)
    {
        // SAFETY: a control message of this type holds a tpacket_auxdata, perhaps unaligned.
        let data = unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
        if data.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
            let tpid = if data.tp_vlan_tpid == 0 { 0x8100 } else { data.tp_vlan_tpid };
            let tag = [tpid.to_be_bytes(), data.tp_vlan_tci.to_be_bytes()].concat();
            frame.splice(12..12, tag);
        }
    }
    Ok(frame)
}

nix::ioctl_write_ptr_bad!(tun_set_iff, libc::TUNSETIFF, libc::ifreq);

nix::ioctl_write_int_bad!(tun_set_offload, libc::TUNSETOFFLOAD);
nix::ioctl_write_int_bad!(tun_set_link, libc::TUNSETLINK);

fn open_tun(name: &str, (mode, header): (libc::c_int, VnetHeader)) -> io::Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut flags = mode | libc::IFF_NO_PI;
    if header == VnetHeader::On {
        flags |= libc::IFF_VNET_HDR;
    }
    // SAFETY: ifreq is plain data for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    assert!(name.len() < request.ifr_name.len(), "{name} is too long for an interface");
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(flags).expect("the flags have 16 bits");
    // SAFETY: the descriptor is open and the request lives through the call.
    unsafe { tun_set_iff(file.as_raw_fd(), &raw const request) }?;
    Ok(file)
}
