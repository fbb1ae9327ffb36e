//! Whose connection and whose request it is, where a proxy stands in front: the header of the PROXY protocol and
//! `X-Forwarded-For`, believed only when they come from an address that the operator trusts. Knows no keys.
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.

use super::body::header;
use axum::http::header::{FORWARDED, HOST};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request};
use penstock_schemas::network::Networks;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How a header of the second version begins.
const SECOND: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of the first version, by the specification; and of the second, with what proxies add to addresses.
const LONGEST_FIRST: usize = 107;
const LONGEST_SECOND: usize = 4096;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Addresses in `X-Forwarded-For` that are looked at, from the last.
const MOST_PROXIES: usize = 32;

/// Reads the header of the PROXY protocol that a trusted proxy's connection begins with. `None`: the proxy speaks for
/// itself, such as to see whether the ingress is there.
///
/// # Errors
/// When there is none, or it is not right: what follows could not be told from it.
pub(crate) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut begin = [0; SECOND.len()];
    stream.read_exact(&mut begin).await?;
    if begin == SECOND { second(stream).await } else { first(stream, &begin).await }
}

fn wrong(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`, and a line's end.
async fn first(stream: &mut (impl AsyncRead + Unpin), begin: &[u8]) -> io::Result<Option<IpAddr>> {
    let mut line = begin.to_vec();
    if !line.starts_with(b"PROXY ") {
        return Err(wrong("the connection begins without a header of the PROXY protocol"));
    }
    // Byte by byte: what follows is the client's. A proxy keeps its connections.
    while !line.ends_with(b"\r\n") {
        if line.len() >= LONGEST_FIRST {
            return Err(wrong("the header of the PROXY protocol does not end"));
        }
        line.push(stream.read_u8().await?);
    }
    let line = str::from_utf8(&line).map_err(|_| wrong("the header of the PROXY protocol is no text"))?;
    let mut words = line.split_ascii_whitespace().skip(1);
    match words.next() {
        Some("UNKNOWN") => Ok(None),
        Some("TCP4" | "TCP6") => {
            let address = words.next().and_then(|word| word.parse().ok());
            address.map(Some).ok_or_else(|| wrong("the header of the PROXY protocol has no address"))
        }
        _ => Err(wrong("the header of the PROXY protocol names a protocol that is not TCP")),
    }
}

async fn second(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let (version, family, length) = (stream.read_u8().await?, stream.read_u8().await?, stream.read_u16().await?);
    let length = usize::from(length);
    if version >> 4 != 2 || length > LONGEST_SECOND {
        return Err(wrong("the header of the PROXY protocol has a version or length that is not known"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    // Command 0: the proxy's own connection.
    match (version & 0x0f, family >> 4) {
        (1, 1) => address::<4>(&rest).map(|octets| Some(Ipv4Addr::from(octets).into())),
        (1, 2) => address::<16>(&rest).map(|octets| Some(Ipv6Addr::from(octets).into())),
        _ => Ok(None),
    }
}

fn address<const N: usize>(rest: &[u8]) -> io::Result<[u8; N]> {
    let found = rest.first_chunk().copied();
    found.ok_or_else(|| wrong("the header of the PROXY protocol is too short for its address"))
}

/// How a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
}

/// Makes a request say truly how it came: what only a trusted proxy may say is taken out of others' requests, and whose
/// request it is comes back.
pub(crate) fn settle<B>(request: &mut Request<B>, from: (IpAddr, Transport), trusted: &Networks) -> IpAddr {
    let (address, transport) = from;
    // HTTP/2 names the host in the address.
    let authority = request.uri().authority().filter(|_| !request.headers().contains_key(HOST));
    if let Some(host) = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
        request.headers_mut().insert(HOST, host);
    }
    let headers = request.headers_mut();
    let is_trusted = trusted.contain(address);
    let client = if is_trusted { client(headers, address, trusted) } else { address };
    if !is_trusted {
        for name in [FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST, FORWARDED] {
            headers.remove(name);
        }
    }
    if transport == Transport::Tls && !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
    }
    client
}

/// The address under which the caller has reached us, such as `https://gateway.example`; `None` when the request names no host.
pub(crate) fn own_address(headers: &HeaderMap) -> Option<String> {
    // Of a request that is not a trusted proxy's, these were taken out, or set by us.
    let scheme = header(headers, FORWARDED_PROTO.as_str()).filter(|scheme| *scheme == "https").unwrap_or("http");
    let forwarded = header(headers, FORWARDED_HOST.as_str()).and_then(|hosts| hosts.split(',').next()).map(str::trim);
    let host = forwarded.filter(|host| !host.is_empty()).or_else(|| header(headers, HOST.as_str()))?;
    Some(format!("{scheme}://{host}"))
}

/// The last address that no trusted proxy has: who connected to the outermost of them.
fn client(headers: &HeaderMap, address: IpAddr, trusted: &Networks) -> IpAddr {
    let lines = headers.get_all(FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok());
    let texts: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let mut client = address;
    for text in texts.iter().rev().take(MOST_PROXIES) {
        let text = text.strip_prefix('[').and_then(|text| Some(text.split_once(']')?.0)).unwrap_or(text);
        let with_port = || text.rsplit_once(':').and_then(|(host, _)| host.parse::<Ipv4Addr>().ok()).map(IpAddr::from);
        let Some(said) = text.parse().ok().or_else(with_port) else { return client };
        client = said;
        if !trusted.contain(client) {
            return client;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> Result<Option<String>, String> {
        let mut rest = bytes;
        let read = read_header(&mut rest).await;
        assert!(read.is_err() || rest == b"GET /", "what follows is left: {rest:?}");
        read.map(|address| address.map(|address| address.to_string())).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_header_of_either_version_names_the_client_and_leaves_what_follows() {
        let first = |line: &str| format!("{line}\r\nGET /").into_bytes();
        let some = |address: &str| Ok(Some(address.to_owned()));
        assert_eq!(read(&first("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443")).await, some("192.0.2.1"));
        assert_eq!(read(&first("PROXY TCP6 2001:db8::1 2001:db8::2 1 443")).await, some("2001:db8::1"));
        assert_eq!(read(&first("PROXY UNKNOWN")).await, Ok(None));
        let second = |command: u8, family: u8, rest: &[u8]| {
            let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
            [&SECOND[..], &[command, family], &length, rest, b"GET /"].concat()
        };
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 3, 4];
        assert_eq!(read(&second(0x21, 0x11, &four)).await, some("192.0.2.1"));
        assert_eq!(read(&second(0x20, 0x00, &[])).await, Ok(None));
        let mut six = [0; 36 + 5];
        six[..16].copy_from_slice(&Ipv6Addr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]).octets());
        assert_eq!(read(&second(0x21, 0x21, &six)).await, some("2001:db8::1"));
        for bad in [
            first("GET / HTTP/1.1"),
            first("PROXY TCP4 here"),
            first("PROXY UDP4 192.0.2.1 192.0.2.2 1 2"),
            first(&format!("PROXY TCP4 {}", "1".repeat(200))),
            second(0x21, 0x11, &four[..3]),
            second(0x31, 0x11, &four),
            second(0x21, 0x11, &[0; 5000]),
            b"PROXY".to_vec(),
        ] {
            assert!(read(&bad).await.is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_of_what_it_says_the_last_address_that_is_not_one() {
        let trusted = Networks::parse(&["10.0.0.0/8"]).unwrap();
        let client = |address: &str, said: &[&str]| {
            let mut request = Request::new(());
            for line in said {
                request.headers_mut().append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
            }
            let client = settle(&mut request, (address.parse().unwrap(), Transport::Tls), &trusted);
            (client.to_string(), request.headers().contains_key(FORWARDED_FOR))
        };
        for (address, said, expected, stays) in [
            ("192.0.2.9", &["192.0.2.1"][..], "192.0.2.9", false),
            ("10.0.0.1", &[][..], "10.0.0.1", false),
            ("10.0.0.1", &["192.0.2.1"][..], "192.0.2.1", true),
            ("10.0.0.1", &["1.1.1.1, 192.0.2.1", "10.0.0.2"][..], "192.0.2.1", true),
            ("10.0.0.1", &["10.0.0.3"][..], "10.0.0.3", true),
            ("10.0.0.1", &["192.0.2.1:443"][..], "192.0.2.1", true),
            ("10.0.0.1", &["[2001:db8::1]:443"][..], "2001:db8::1", true),
            ("10.0.0.1", &["192.0.2.1, unknown"][..], "10.0.0.1", true),
        ] {
            assert_eq!(client(address, said), (expected.to_owned(), stays), "{address} {said:?}");
        }
    }

    #[test]
    fn the_own_address_is_the_one_that_the_caller_used() {
        let address = |pairs: &[(&'static str, &'static str)]| {
            let headers =
                pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            own_address(&HeaderMap::from_iter(headers))
        };
        let host = ("host", "10.0.0.1:8080");
        assert_eq!(address(&[]), None);
        assert_eq!(address(&[host]).as_deref(), Some("http://10.0.0.1:8080"));
        assert_eq!(address(&[host, ("x-forwarded-proto", "gopher")]).as_deref(), Some("http://10.0.0.1:8080"));
        let proxied = [host, ("x-forwarded-proto", "https"), ("x-forwarded-host", "gateway.example, inner")];
        assert_eq!(address(&proxied).as_deref(), Some("https://gateway.example"));
    }

    #[test]
    fn a_request_says_how_it_came() {
        let proto = |address: &str, transport: Transport| {
            let mut request = Request::builder().uri("https://gateway.example/v1").body(()).unwrap();
            request.headers_mut().insert(FORWARDED_PROTO, HeaderValue::from_static("gopher"));
            settle(&mut request, (address.parse().unwrap(), transport), &Networks::parse(&["10.0.0.1"]).unwrap());
            assert_eq!(request.headers()[HOST], "gateway.example");
            request.headers().get(FORWARDED_PROTO).map(|proto| proto.to_str().unwrap().to_owned())
        };
        assert_eq!(proto("192.0.2.1", Transport::Plain), None);
        assert_eq!(proto("192.0.2.1", Transport::Tls).as_deref(), Some("https"));
        assert_eq!(proto("10.0.0.1", Transport::Plain).as_deref(), Some("gopher"));
    }
}
