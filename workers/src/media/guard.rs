//! Which addresses may be fetched: public ones. Checked where the connection is made, on the very addresses that it is made
//! to, so that a name which resolves otherwise the second time gains nothing. Knows nothing of HTTP.
//! Sources: <https://www.iana.org/assignments/iana-ipv4-special-registry>,
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>.

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::lookup_host;

/// How far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Public addresses alone.
    Public,
    /// Any address: for tests, and networks where everybody may reach everything.
    Open,
    /// Public addresses and this one, which stands for one of them.
    #[cfg(test)]
    And(IpAddr),
}

const PRIVATE: &str = "its address is not public";

impl Guard {
    /// Whether a URL may be tried at all. An address in it is checked here, because nobody resolves that.
    pub(super) fn check(self, url: &Url) -> Result<(), String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("`{}:` is not fetched", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it holds a password".to_owned());
        }
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match literal {
            Ok(address) if !self.allows(address) => Err(PRIVATE.to_owned()),
            _ => Ok(()),
        }
    }

    fn allows(self, address: IpAddr) -> bool {
        #[cfg(test)]
        if self == Self::And(address) {
            return true;
        }
        self == Self::Open
            || match address {
                IpAddr::V4(address) => is_public_v4(address),
                IpAddr::V6(address) => is_public_v6(address),
            }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found: Vec<SocketAddr> = lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> = found.into_iter().filter(|found| guard.allows(found.ip())).collect();
            if allowed.is_empty() {
                return Err(PRIVATE.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_special = match address.octets() {
        [0 | 10 | 127, ..] | [169, 254, ..] | [192, 168, ..] => true, // this network, private, loopback, link-local
        [100, 64..=127, ..] | [172, 16..=31, ..] => true,             // carriers' own, private
        [192, 0, 0 | 2, _] | [192, 88, 99, _] => true,                // protocols, documentation, old relays
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true, // benchmarks, documentation
        [168, 63, 129, 16] => true,                                   // Azure's wire server, which is not to be reached
        [224..=255, ..] => true,                                      // multicast, reserved, broadcast
        _ => false,
    };
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let carried = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => carried(high, low), // mapped
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => carried(high, low), // translated
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] => false, // protocols, tunnels, documentation
        [0x3fff, 0..=0xfff, ..] => false,                         // documentation
        [0x2000..=0x3fff, ..] => true,                            // what is handed out at all
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str) -> Result<(), String> {
        Guard::Public.check(&Url::parse(url).unwrap())
    }

    #[test]
    fn only_public_addresses_are_fetched() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://10.1.2.3/",
            "http://172.16.0.1/",
            "http://172.31.255.255/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1/",
            "http://100.127.1.1/",
            "http://0.0.0.0/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://198.18.0.1/",
            "http://192.0.0.192/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[fe80::1]/",
            "http://[fc00::1]/",
            "http://[fd00:ec2::254]/",
            "http://[ff02::1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001::1]/",
            "http://[::7f00:1]/",
            "http://[fec0::1]/",
            "http://user:word@example.com/",
            "ftp://example.com/",
            "file:///etc/passwd",
        ] {
            assert!(check(url).is_err(), "{url}");
        }
        for url in ["http://1.1.1.1/", "https://example.com:8443/a", "http://[2606:4700::1111]/", "http://172.32.0.1/"]
        {
            assert_eq!(check(url), Ok(()), "{url}");
        }
        assert_eq!(Guard::Open.check(&Url::parse("http://127.0.0.1/").unwrap()), Ok(()));
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_resolves_to() {
        let name = || "localhost".parse::<Name>().unwrap();
        assert_eq!(Guard::Public.resolve(name()).await.err().unwrap().to_string(), PRIVATE);
        assert!(Guard::Open.resolve(name()).await.unwrap().next().is_some());
    }
}
