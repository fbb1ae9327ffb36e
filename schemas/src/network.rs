//! Networks of addresses as operators write them: `10.0.0.0/8`, `2001:db8::/32`, or a single address. Knows nothing of what
//! they are for.

use ipnet::IpNet;
use std::net::IpAddr;

/// Some networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads each text.
    ///
    /// # Errors
    /// Says which is none.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, String> {
        let one = |text: &T| {
            let text = text.as_ref();
            let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
            let network = text.parse::<IpNet>().ok().or_else(address);
            network.ok_or_else(|| format!("`{text}` is no network: write it as \"10.0.0.0/8\", or an address"))
        };
        texts.iter().map(one).collect::<Result<Vec<_>, _>>().map(Self)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address is in one of them. An IPv4 address that is written as an IPv6 one is the same address.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_network_alone() {
        let networks = Networks::parse(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]).unwrap();
        for (address, is_in) in [
            ("10.255.0.1", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(networks.contain(address.parse().unwrap()), is_in, "{address}");
        }
        assert!(!Networks::default().contain("10.0.0.1".parse().unwrap()));
        for bad in ["10.0.0.0/33", "ten", "", "10.0.0", "10.0.0.0/"] {
            assert!(Networks::parse(&[bad]).is_err(), "{bad}");
        }
    }
}
