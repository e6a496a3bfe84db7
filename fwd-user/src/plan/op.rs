//! One step of a plan.

use fwd_common::{
    fdb::{FdbEntry, FdbKey},
    forward::{ClientKey, Forward, ForwardKey},
    id::{ClassId, ForwardId, NetworkId, PortId, RowId, RuleId},
    nat::ExemptionKey,
    neighbor::{Neighbor, NetworkAddress, SourceKey},
    network::{MemberKey, Network},
    policy::{ClassKey, PolicyKey, RowKey, RowVerdict},
    port::{Port, View},
    prefix::{Prefix, PrefixKey},
    settings::Settings,
};

/// A row to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// But for `epoch`, which the datapath keeps.
    Settings(Settings),
    /// But for `generation` and `views`, which the datapath keeps.
    Port(PortId, Port),
    PortOfDevice(u32, PortId),
    Device(PortId, u32),
    Network(NetworkId, Network),
    Member(MemberKey, PortId),
    Neighbor(NetworkAddress, Neighbor),
    AllowedSource(SourceKey, u32, u32),
    HostAddress(NetworkAddress, u32),
    Forward(ForwardKey, u32, Forward),
    ForwardClient(ClientKey, u32, u32),
    NatExemption(ExemptionKey, u32, u32),
    NatPrefix(PrefixKey, u32, Prefix),
    /// Of a policy that no port has yet.
    Policy(PolicyKey, RowId),
    PolicyRow(RowKey, u32, RowVerdict),
    Fdb(FdbKey, FdbEntry),
}

/// A row to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKeyOf {
    /// Zeroes the row but for its generation.
    Port(PortId),
    PortOfDevice(u32),
    Device(PortId),
    Network(NetworkId),
    Member(MemberKey),
    Neighbor(NetworkAddress),
    AllowedSource(SourceKey, u32),
    HostAddress(NetworkAddress),
    Forward(ForwardKey, u32),
    ForwardClient(ClientKey, u32),
    NatExemption(ExemptionKey, u32),
    NatPrefix(PrefixKey, u32),
    /// Of a policy that no port has any more.
    Policy(PolicyKey),
    PolicyRow(RowKey, u32),
    Fdb(FdbKey),
}

/// What admitted a flow, or has it at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Admitted {
    ByRule(RuleId),
    ByForward(ForwardId),
    AtPort(PortId),
}

/// One step. A plan's order is: new rows, and policies that no port has yet; what is staged; `Commit`; all
/// other new rows; `Bump`s; deletions of what nothing names any more; the `Bump`s again where a deletion may concern
/// flows, which may have been decided anew before it. Until `Commit` packets see only the old policy,
/// after it only the new one; a new port is led to by nothing before its policy is in force, and a deleted
/// one keeps its policy as long as something leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapOp {
    Put(Row),
    /// Written for the epoch to come; after `Commit` also for the one before.
    StageView(PortId, View),
    /// Likewise; `None` deletes.
    StageClass(ClassKey, u32, Option<ClassId>),
    /// Likewise, of a policy that a port has before and after.
    StagePolicy(PolicyKey, Option<RowId>),
    /// Flips the epoch, and writes all that was staged once more into the copies now out of use.
    Commit,
    /// Flows that depend on the port are decided anew at their next packet.
    Bump(PortId),
    Delete(RowKeyOf),
    /// Flows that are to be decided anew are decided now, after all programs that saw an older state ended.
    Recheck,
    /// These flows end.
    Cut(Admitted),
}
