//! Numbers by which kernel and user space name objects. Each kind is a type of its own.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);
    };
}

id!(
    /// A port: index into `PORTS`. 0 is no port.
    PortId(u16)
);
id!(
    /// A network: index into `NETWORKS`. 0 is no network.
    NetworkId(u16)
);
id!(
    /// Whose addresses these are: the id of the VM port on which a packet came in; 0 is outside.
    Zone(u16)
);
id!(
    /// What the operator wrote as one rule. 0 is no rule.
    RuleId(u32)
);
id!(
    /// A forward. 0 is no forward.
    ForwardId(u32)
);
id!(
    /// The compiled rules of one port: first part of a `POLICIES` key. 0 permits all without a look-up.
    PolicyId(u32)
);
id!(
    /// One immutable list of services with their verdicts, in `ROWS`.
    RowId(u32)
);
id!(
    /// A class of addresses: the exact set of CIDRs named by rules that contain an address. 0 is none.
    ClassId(u32)
);
id!(
    /// Who a peer is to a rule: one exact set of groups (VM ports), or a location and a class of addresses.
    Identity(u32)
);

impl Zone {
    /// Everything beyond the uplinks of translated networks.
    pub const OUTSIDE: Self = Self(0);
}

impl PolicyId {
    /// No rule applies and the default is open.
    pub const OPEN: Self = Self(0);

    /// The policy of VM ports that rules do not tell apart. Closed networks with a gateway have services that
    /// nobody needs to allow.
    pub const fn of(vm: Identity, default: DefaultOf) -> Self {
        Self(vm.0 << 2 | default as u32)
    }
}

/// What a port's network has for those whom no rule names: part of a [`PolicyId`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DefaultOf {
    Open = 1,
    Closed = 2,
    ClosedWithGateway = 3,
}

impl Identity {
    /// The peer part of a wildcard `POLICIES` row.
    pub const ANY: Self = Self(0);
    const OUTSIDE: u32 = 1 << 30;
    const HOST: u32 = 2 << 30;

    /// A VM port's identity; `n` counts from 1.
    #[inline(always)]
    pub const fn vm(n: u32) -> Self {
        Self(n)
    }

    /// Somebody outside, in an address class.
    #[inline(always)]
    pub const fn outside(class: ClassId) -> Self {
        Self(Self::OUTSIDE | class.0)
    }

    /// The address class of somebody outside, or of this host.
    pub const fn class(self) -> Option<ClassId> {
        const LOCATION: u32 = Identity::OUTSIDE | Identity::HOST;
        if self.0 & LOCATION == 0 { None } else { Some(ClassId(self.0 & !LOCATION)) }
    }

    /// Whether it is this host.
    pub const fn is_host(self) -> bool {
        self.0 & Self::HOST != 0
    }

    /// This host, by one of its addresses.
    #[inline(always)]
    pub const fn host(class: ClassId) -> Self {
        Self(Self::HOST | class.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_of_different_locations_differ() {
        let c = ClassId(7);
        assert_ne!(Identity::outside(c), Identity::host(c));
        assert_ne!(Identity::outside(c), Identity::vm(7));
        assert_ne!(Identity::outside(ClassId(0)), Identity::ANY);
        assert_eq!([Identity::outside(c), Identity::host(c)].map(Identity::class), [Some(c); 2]);
        assert_eq!([Identity::vm(7), Identity::ANY].map(Identity::class), [None; 2]);
    }
}
