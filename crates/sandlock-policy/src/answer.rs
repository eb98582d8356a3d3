//! Which addresses a name may stand for. Whoever answers for a name on the Internet is not the person who wrote the
//! rule: such an answer must not open what only this machine or its cloud can reach (DNS rebinding).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Why an address that a resolver answered is not taken for its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AnswerRefusal {
    /// The service of a cloud that tells a machine its own secrets.
    Metadata,
    /// Of this machine's own links.
    LinkLocal,
    /// This machine itself, for a name that is not known to be.
    Loopback,
    /// No single host: unspecified, multicast, broadcast.
    NotUnicast,
}

impl fmt::Display for AnswerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AnswerRefusal::Metadata => "a cloud metadata address, which only a rule with the address opens",
            AnswerRefusal::LinkLocal => "a link-local address, which only a rule with the address opens",
            AnswerRefusal::Loopback => "this machine, which a name may mean only with --names-may-be-local",
            AnswerRefusal::NotUnicast => "not the address of a host",
        })
    }
}

/// Whether a name may stand for `address`; `may_be_local` when it may be of this machine.
///
/// # Errors
/// Why it may not.
pub fn check_answer(address: IpAddr, may_be_local: bool) -> Result<(), AnswerRefusal> {
    let address = reached(address);
    if METADATA.contains(&address) {
        return Err(AnswerRefusal::Metadata);
    }
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let not_unicast = match address {
        // "This network" (RFC 791), and what is above the multicast addresses, reserved and broadcast.
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.octets()[0] >= 224,
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
    };
    match () {
        () if link_local => Err(AnswerRefusal::LinkLocal),
        () if not_unicast => Err(AnswerRefusal::NotUnicast),
        () if address.is_loopback() && !may_be_local => Err(AnswerRefusal::Loopback),
        () => Ok(()),
    }
}

/// The address that traffic may end up at: IPv6 addresses that carry an IPv4 one for a translator or a tunnel are
/// looked at as that. IPv4-mapped, IPv4-compatible (RFC 4291), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056).
fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else {
        return address.to_canonical();
    };
    let octets = v6.octets();
    let v4 = |at: usize| Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]);
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => v4(12).into(),
        [0x2002, ..] => v4(2).into(),
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => v4(12).into(),
        _ => v6.into(),
    }
}

/// Where clouds serve a machine's own credentials, or manage it: the common link-local one, AWS's task roles and
/// IPv6, Alibaba's, Azure's, Oracle's.
const METADATA: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str) -> Option<AnswerRefusal> {
        check_answer(address.parse().unwrap(), false).err()
    }

    #[test]
    fn a_name_never_stands_for_the_metadata_or_the_link() {
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1:2:3:4:a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::a9fe:a9fe",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
        ] {
            assert_eq!(refused(address), Some(AnswerRefusal::Metadata), "{address}");
            assert!(check_answer(address.parse().unwrap(), true).is_err());
        }
        for address in ["169.254.1.1", "fe80::1", "febf::1", "::ffff:169.254.0.1"] {
            assert_eq!(refused(address), Some(AnswerRefusal::LinkLocal), "{address}");
            assert!(check_answer(address.parse().unwrap(), true).is_err());
        }
    }

    #[test]
    fn this_machine_is_for_names_that_may_be_local() {
        for address in
            ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1"]
        {
            assert_eq!(refused(address), Some(AnswerRefusal::Loopback), "{address}");
            assert_eq!(check_answer(address.parse().unwrap(), true), Ok(()), "{address}");
        }
    }

    #[test]
    fn an_answer_is_the_address_of_a_host() {
        for address in
            ["0.0.0.0", "::", "::ffff:0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "ff02::1"]
        {
            assert_eq!(refused(address), Some(AnswerRefusal::NotUnicast), "{address}");
            assert!(check_answer(address.parse().unwrap(), true).is_err());
        }
        for address in
            ["93.184.216.34", "10.0.0.1", "192.168.1.1", "2001:db8::1", "fd12::1", "64:ff9b::1.2.3.4"]
        {
            assert_eq!(refused(address), None, "{address}");
        }
    }
}
