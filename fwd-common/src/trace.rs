//! What the slow steps of the pipeline answer while a packet is traced, through `TRACES`.

/// A step of the pipeline.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Other = 1,
    Group = 2,
    Revisit = 3,
    Recheck = 4,
    Guard = 5,
    Related = 6,
    First = 7,
    Admit = 8,
    /// A drop was counted.
    Dropped = 9,
}

impl Step {
    pub const fn from_number(n: u16) -> Option<Self> {
        Some(match n {
            1 => Self::Other,
            2 => Self::Group,
            3 => Self::Revisit,
            4 => Self::Recheck,
            5 => Self::Guard,
            6 => Self::Related,
            7 => Self::First,
            8 => Self::Admit,
            9 => Self::Dropped,
            _ => return None,
        })
    }
}

/// One record of `TRACES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The step's [`Outcome`](crate::verdict::Outcome) as a word.
    pub word: u64,
    /// The port on which the frame came in.
    pub port: u32,
    /// [`Step`] as a number.
    pub step: u16,
    /// 0 (XDP), 1 (ingress), 2 (egress).
    pub program: u16,
}
