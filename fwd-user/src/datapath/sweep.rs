//! Flow tables are changed by the kernel only; user space asks a program of the object to do it.

use std::{io, os::fd::AsFd};

use fwd_common::{
    map::program,
    sweep::{Command, MAX_SLOTS, Op},
};

use super::{
    error::{Error, Result},
    kernel::Kernel,
    sys,
};

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
        let mut swept = Swept::default();
        for (family, table) in self.maps.table_use.rows()? {
            for first_slot in (0..table.fresh_slots).step_by(MAX_SLOTS as usize) {
                let slots = MAX_SLOTS.min(table.fresh_slots - first_slot);
                let command = Command { op: op as u32, family, first_slot, slots, ..Command::default() };
                swept += self.sweep(command)?;
            }
        }
        Ok(swept)
    }

    /// Runs one command on a flow table.
    ///
    /// # Errors
    /// If the program cannot be run, or does not know the command.
    pub fn sweep(&self, command: Command) -> Result<Swept> {
        const LEN: usize = size_of::<Command>();
        let program = sys::open_pin(&self.pins.program(program::SWEEP)).map_err(Error::Sweep)?;
        // SAFETY: a Command is plain data without uninitialised bytes (`fwd_common::pod`).
        let mut frame: [u8; LEN] = unsafe { std::mem::transmute(command) };
        if sys::run_program(program.as_fd(), &mut frame).map_err(Error::Sweep)? != 0 {
            return Err(Error::Sweep(io::Error::other("it does not know the command")));
        }
        // SAFETY: any bytes are a Command.
        let answer = unsafe { std::mem::transmute::<[u8; LEN], Command>(frame) };
        Ok(Swept {
            inspected: answer.inspected.into(),
            expired: answer.expired.into(),
            cut: answer.cut.into(),
        })
    }
}

impl std::ops::AddAssign for Swept {
    fn add_assign(&mut self, other: Self) {
        self.inspected += other.inspected;
        self.expired += other.expired;
        self.cut += other.cut;
    }
}
