//! One run of a program by `BPF_PROG_TEST_RUN`, and the contexts that it takes.

use aya::TestRunResult;
use aya::programs::{TestRun, TestRunOptions};

/// Runs a program once; its code, and the frame that it left.
#[track_caller]
pub fn run<P>(program: &P, device: &str, frame: &[u8], context: &[u8]) -> (i32, Vec<u8>)
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    let mut out = vec![0; frame.len() + 64];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ctx_in: Some(context),
        ..TestRunOptions::new()
    };
    let run = program.test_run(options);
    let run = run.unwrap_or_else(|error| panic!("{device}, {} bytes: {error:?}", frame.len()));
    out.truncate(run.data_size_out as usize);
    (run.return_value.cast_signed(), out)
}

/// `struct xdp_md`.
pub fn xdp_context(ifindex: u32, len: usize) -> Vec<u8> {
    let len = u32::try_from(len).expect("frames are short");
    let (data, meta, queue, egress) = (0, 0, 0, 0);
    [data, len, meta, ifindex, queue, egress].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect()
}

/// `struct __sk_buff`.
pub fn skb_context(ifindex: u32, gso_size: u32) -> Vec<u8> {
    const LEN: usize = 192;
    const IFINDEX: usize = 40;
    const GSO_SIZE: usize = 176;
    let mut context = vec![0; LEN];
    context[IFINDEX..IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
    context[GSO_SIZE..GSO_SIZE + 4].copy_from_slice(&gso_size.to_ne_bytes());
    context
}
