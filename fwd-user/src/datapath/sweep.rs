//! Flow tables are changed by the kernel only; user space asks a program of the object to do it.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    thread,
    time::Duration,
};

use fwd_common::{
    counter::TableUse,
    map::{self, program},
    sweep::{Command, MAX_SLOTS, Op},
};
use nix::time::{ClockId, clock_gettime};

use super::{
    error::{Error, Result},
    kernel::Kernel,
    pins::Pins,
    sys,
    table::Table,
};
use crate::plan::Admitted;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows that were looked at.
    pub inspected: u64,
    /// Deleted because nobody used them within their timeout.
    pub expired: u64,
    /// Ended because they are no longer permitted, or were to be deleted.
    pub cut: u64,
}

impl Kernel {
    /// Goes through all flows of both families.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub fn sweep_all(&self, op: Op) -> Result<Swept> {
        self.sweep_slots(Command { op: op as u32, ..Command::default() })
    }

    /// Ends flows by what admitted them.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub fn cut(&self, flows: Admitted) -> Result<Swept> {
        let (op, id) = match flows {
            Admitted::ByRule(rule) => (Op::CutRule, rule.0),
            Admitted::ByForward(forward) => (Op::CutForward, forward.0),
            Admitted::AtPort(port) => (Op::CutPort, port.0.into()),
        };
        self.sweep_slots(Command { op: op as u32, id, ..Command::default() })
    }

    fn sweep_slots(&self, command: Command) -> Result<Swept> {
        let mut swept = Swept::default();
        for (family, table) in self.maps.table_use.rows()? {
            for first_slot in (0..table.fresh_slots).step_by(MAX_SLOTS as usize) {
                let slots = MAX_SLOTS.min(table.fresh_slots - first_slot);
                swept += self.sweep(Command { family, first_slot, slots, ..command })?;
            }
        }
        Ok(swept)
    }

    /// Runs one command on a flow table.
    ///
    /// # Errors
    /// If the program cannot be run, or does not know the command.
    pub fn sweep(&self, command: Command) -> Result<Swept> {
        run(open_program(&self.pins)?.as_fd(), command)
    }
}

fn open_program(pins: &Pins) -> Result<OwnedFd> {
    sys::open_pin(&pins.program(program::SWEEP)).map_err(Error::Sweep)
}

fn run(program: BorrowedFd<'_>, command: Command) -> Result<Swept> {
    const LEN: usize = size_of::<Command>();
    // SAFETY: a Command is plain data without uninitialised bytes (`fwd_common::pod`).
    let mut frame: [u8; LEN] = unsafe { std::mem::transmute(command) };
    if sys::run_program(program, &mut frame).map_err(Error::Sweep)? != 0 {
        return Err(Error::Sweep(io::Error::other("it does not know the command")));
    }
    // SAFETY: any bytes are a Command.
    let answer = unsafe { std::mem::transmute::<[u8; LEN], Command>(frame) };
    Ok(Swept { inspected: answer.inspected.into(), expired: answer.expired.into(), cut: answer.cut.into() })
}

/// Deletes expired flows little by little, beside everything else. What it does not come to in time is
/// reclaimed by admissions all the same.
#[derive(Debug)]
pub struct Sweeper {
    program: OwnedFd,
    table_use: Table<u32, TableUse>,
}

/// Slots of one turn: while it runs, its CPU receives no packets.
const TURN: u32 = 1024;
/// A turn is followed by a pause of so many times the CPU's time that it took: half a per cent of one CPU, whatever
/// the tables hold.
const PAUSE: u32 = 200;
/// The same after a turn that found something to delete.
const PAUSE_AT_WORK: u32 = 20;
/// The least time between two rounds.
const REST: Duration = Duration::from_secs(5);

impl Sweeper {
    /// # Errors
    /// If the program or the table's use is not pinned.
    pub fn open(pins: &Pins) -> Result<Self> {
        Ok(Self { program: open_program(pins)?, table_use: Table::open(pins, map::TABLE_USE)? })
    }

    /// Goes round and round: for a thread of its own.
    ///
    /// # Errors
    /// If the program can no longer be run.
    pub fn sweep_for_ever(&self) -> Result<()> {
        loop {
            for (family, table) in self.table_use.rows()? {
                for first_slot in (0..table.fresh_slots).step_by(TURN as usize) {
                    let slots = TURN.min(table.fresh_slots - first_slot);
                    let op = Op::Reclaim as u32;
                    let begun = cpu_time()?;
                    let command = Command { op, family, first_slot, slots, ..Command::default() };
                    let swept = run(self.program.as_fd(), command)?;
                    let pause = if swept.expired == 0 { PAUSE } else { PAUSE_AT_WORK };
                    thread::sleep((cpu_time()? - begun) * pause);
                }
            }
            thread::sleep(REST);
        }
    }
}

/// Time of a CPU that this thread has used.
fn cpu_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_err(|e| Error::Sweep(e.into()))?;
    Ok(time.into())
}

impl std::ops::AddAssign for Swept {
    fn add_assign(&mut self, other: Self) {
        self.inspected += other.inspected;
        self.expired += other.expired;
        self.cut += other.cut;
    }
}
