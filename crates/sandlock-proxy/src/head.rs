//! The head of an HTTP/1.1 request, read strictly. Pure. What two programs could read differently is no head at all: the
//! library behind is more lenient than this, and upstreams are too, each in its own way.

use sandlock_policy::Malformed;

use crate::limits::{MOST_FIELDS, MOST_HEAD};

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes of body, and the next head.
    Length(u64),
    /// A chunked body, and the next head.
    Chunked,
    /// Whatever both sides agree on, if the upstream agrees.
    Upgrade,
}

/// Where the head ends that `bytes` begin with, of which `scanned` are known to be without fault; `None` when it has not
/// come whole.
pub(crate) fn find_end(bytes: &[u8], scanned: usize) -> Result<Option<usize>, Malformed> {
    // The last two may be the beginning of what is looked for.
    for index in scanned.saturating_sub(2)..bytes.len() {
        match bytes[index] {
            b'\n' if index == 0 || bytes[index - 1] != b'\r' => return Err(Malformed::BadHeader),
            b'\n' if index >= 3 && bytes[index - 2] == b'\n' => {
                return if index < MOST_HEAD { Ok(Some(index + 1)) } else { Err(Malformed::TooLarge) };
            }
            b'\r' if bytes.get(index + 1).is_some_and(|next| *next != b'\n') => {
                return Err(Malformed::BadHeader);
            }
            _ => {}
        }
    }
    if bytes.len() >= MOST_HEAD { Err(Malformed::TooLarge) } else { Ok(None) }
}

/// Whether the line that a head begins with is good, if it has come: what speaks something else sends no end of it.
pub(crate) fn check_beginning(bytes: &[u8]) -> Result<(), Malformed> {
    Lines(bytes).next().map_or(Ok(()), |line| request_line(line).map(drop))
}

/// Reads a whole head, with the empty line that ends it.
pub(crate) fn read(head: &[u8]) -> Result<Framing, Malformed> {
    let mut lines = Lines(head);
    let version = request_line(lines.next().ok_or(Malformed::BadRequestLine)?)?;
    let mut fields = Fields { version, ..Fields::default() };
    loop {
        match lines.next() {
            Some([]) => break,
            Some(line) => fields.take(line)?,
            None => return Err(Malformed::BadHeader),
        }
    }
    if lines.0.is_empty() { fields.framing() } else { Err(Malformed::BadHeader) }
}

/// Reads one line of trailers, which must not speak of how the message is framed or routed.
pub(crate) fn trailer(line: &[u8]) -> Result<(), Malformed> {
    let (name, _) = field(line)?;
    if is_one_of(name, &FRAMING) { Err(Malformed::BadHeader) } else { Ok(()) }
}

/// How the fields `Connection` and `Upgrade` of a request are understood.
pub(crate) fn asks_for_upgrade<'a>(
    mut connection: impl Iterator<Item = &'a [u8]>,
    mut upgrade: impl Iterator<Item = &'a [u8]>,
) -> bool {
    let (Some(protocol), None) = (upgrade.next(), upgrade.next()) else {
        return false;
    };
    let nominated = connection.any(|value| tokens(value).any(|token| token.eq_ignore_ascii_case(b"upgrade")));
    nominated && !protocol.is_empty() && !is_http(protocol)
}

/// More requests would come inside of these, which nobody would judge: such an offer is passed over, as it may be.
fn is_http(protocol: &[u8]) -> bool {
    tokens(protocol).any(|token| {
        let starts =
            |prefix: &[u8]| token.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        starts(b"h2") || starts(b"h3") || starts(b"http") || starts(b"tls") || starts(b"connect")
    })
}

/// The elements of a list, without white space around them.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// A byte of a token (RFC 9110, 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

const FRAMING: [&[u8]; 7] =
    [b"content-length", b"transfer-encoding", b"host", b"connection", b"trailer", b"te", b"upgrade"];

/// Gateways to CGI and its children make one of `-` and `_`.
fn is_one_of(name: &[u8], of: &[&[u8]]) -> bool {
    of.iter().any(|own| is(name, own))
}

fn is(name: &[u8], own: &[u8]) -> bool {
    let same = |(a, b): (&u8, &u8)| a.to_ascii_lowercase() == *b || (*a == b'_' && *b == b'-');
    name.len() == own.len() && name.iter().zip(own).all(same)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Version {
    Http10,
    #[default]
    Http11,
}

fn request_line(line: &[u8]) -> Result<Version, Malformed> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed::BadRequestLine);
    };
    let good_method = !method.is_empty() && method.len() <= 64 && method.iter().all(|byte| is_token(*byte));
    let form = target == b"*" || method == b"CONNECT" || target.starts_with(b"/") || {
        let lower = target.get(..8.min(target.len())).unwrap_or_default().to_ascii_lowercase();
        lower.starts_with(b"http://") || lower.starts_with(b"https://")
    };
    // A fragment is silently dropped by the library behind.
    let visible = target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#');
    if !(good_method && form && visible) {
        return Err(Malformed::BadRequestLine);
    }
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        _ => Err(Malformed::BadRequestLine),
    }
}

fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Malformed::FoldedHeader);
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Malformed::BadHeader)?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let good_name = !name.is_empty() && name.iter().all(|byte| is_token(*byte));
    let good_value = value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    if good_name && good_value { Ok((name, value)) } else { Err(Malformed::BadHeader) }
}

/// What was read of the fields so far.
#[derive(Default)]
struct Fields<'a> {
    version: Version,
    count: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    connection: Vec<&'a [u8]>,
    upgrade: Vec<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, line: &'a [u8]) -> Result<(), Malformed> {
        let (name, value) = field(line)?;
        self.count += 1;
        if self.count > MOST_FIELDS {
            return Err(Malformed::TooLarge);
        }
        // The others have names of other lengths.
        if !matches!(name.len(), 4 | 7 | 10 | 14 | 17) {
            return Ok(());
        }
        if is(name, b"host") {
            self.hosts += 1;
        } else if is(name, b"content-length") {
            let number = self.length.is_none().then(|| length(name, value)).flatten();
            self.length = Some(number.ok_or(Malformed::BadLength)?);
        } else if is(name, b"transfer-encoding") {
            let good = !self.chunked && !name.contains(&b'_') && value.eq_ignore_ascii_case(b"chunked");
            self.chunked = if good { true } else { return Err(Malformed::BadEncoding) };
        } else if is(name, b"connection") {
            if tokens(value).any(|token| is_one_of(token, &FRAMING[..3])) {
                return Err(Malformed::BadHeader);
            }
            self.connection.push(value);
        } else if is(name, b"upgrade") {
            self.upgrade.push(value);
        }
        Ok(())
    }

    fn framing(self) -> Result<Framing, Malformed> {
        match self.hosts {
            0 if self.version == Version::Http11 => return Err(Malformed::MissingHost),
            0 | 1 => {}
            _ => return Err(Malformed::DuplicateHost),
        }
        if self.chunked && self.version == Version::Http10 {
            return Err(Malformed::BadEncoding);
        }
        let upgrade = self.version == Version::Http11
            && asks_for_upgrade(self.connection.into_iter(), self.upgrade.into_iter());
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Malformed::LengthAndEncoding),
            (None | Some(0), false) if upgrade => Ok(Framing::Upgrade),
            _ if upgrade => Err(Malformed::BadBody),
            (None, true) => Ok(Framing::Chunked),
            (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// Plain digits, no more than nobody can count wrong.
fn length(name: &[u8], value: &[u8]) -> Option<u64> {
    let plain =
        (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit) && !name.contains(&b'_');
    if plain { std::str::from_utf8(value).ok()?.parse().ok() } else { None }
}

/// Lines that end with CR LF, without it.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.0.windows(2).position(|pair| pair == b"\r\n")?;
        let line = &self.0[..end];
        self.0 = &self.0[end + 2..];
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &str) -> Result<Framing, Malformed> {
        let end = find_end(head.as_bytes(), 0)?.expect("it is whole");
        read(&head.as_bytes()[..end])
    }

    fn with(fields: &str) -> Result<Framing, Malformed> {
        of(&format!("POST /x HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"))
    }

    #[test]
    fn what_is_well_formed_is_framed() {
        for (fields, framing) in [
            ("", Framing::Length(0)),
            ("Content-Length: 12\r\n", Framing::Length(12)),
            ("content-LENGTH:12\t\r\n", Framing::Length(12)),
            ("Transfer-Encoding: Chunked\r\n", Framing::Chunked),
            ("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n", Framing::Upgrade),
            ("Upgrade: websocket\r\n", Framing::Length(0)),
            (
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n",
                Framing::Length(0),
            ),
            ("Connection: upgrade\r\nUpgrade: TLS/1.0, HTTP/1.1\r\n", Framing::Length(0)),
            ("X: \u{e4}\tb\r\n", Framing::Length(0)),
        ] {
            assert_eq!(with(fields), Ok(framing), "{fields:?}");
        }
    }

    #[test]
    fn what_two_programs_read_differently_is_refused() {
        for (fields, why) in [
            ("Content-Length: 1\r\nContent-Length: 1\r\n", Malformed::BadLength),
            ("Content-Length: 1, 1\r\n", Malformed::BadLength),
            ("Content-Length: +1\r\n", Malformed::BadLength),
            ("Content-Length: 0x1\r\n", Malformed::BadLength),
            ("Content-Length: \r\n", Malformed::BadLength),
            ("Content_Length: 1\r\n", Malformed::BadLength),
            ("Content-Length: 99999999999999999999\r\n", Malformed::BadLength),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", Malformed::LengthAndEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Malformed::BadEncoding),
            ("Transfer-Encoding: gzip, chunked\r\n", Malformed::BadEncoding),
            ("Transfer-Encoding: identity\r\n", Malformed::BadEncoding),
            ("Transfer-Encoding: xchunked\r\n", Malformed::BadEncoding),
            ("Transfer_Encoding: chunked\r\n", Malformed::BadEncoding),
            ("Transfer-Encoding : chunked\r\n", Malformed::BadHeader),
            ("Transfer-Encoding: \x0bchunked\r\n", Malformed::BadHeader),
            (" X: folded\r\n", Malformed::FoldedHeader),
            ("X: a\r\n\tb\r\n", Malformed::FoldedHeader),
            ("X\r\n", Malformed::BadHeader),
            (": x\r\n", Malformed::BadHeader),
            ("X: a\0b\r\n", Malformed::BadHeader),
            ("X: a\nY: b\r\n", Malformed::BadHeader),
            ("X: a\rY: b\r\n", Malformed::BadHeader),
            ("Host: a.test\r\n", Malformed::DuplicateHost),
            ("Connection: close, Content-Length\r\n", Malformed::BadHeader),
            ("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n", Malformed::BadBody),
        ] {
            assert_eq!(with(fields), Err(why), "{fields:?}");
        }
        for line in [
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "GET / HTTP/2.0",
            "GET / http/1.1",
            "GET /",
            "GET\t/ HTTP/1.1",
            "G(T / HTTP/1.1",
            "GET a.test HTTP/1.1",
            "GET ftp://a.test/ HTTP/1.1",
            "GET /#x HTTP/1.1",
            "GET /\u{e4} HTTP/1.1",
        ] {
            assert_eq!(
                of(&format!("{line}\r\nHost: a.test\r\n\r\n")),
                Err(Malformed::BadRequestLine),
                "{line:?}"
            );
        }
        assert_eq!(of("GET / HTTP/1.1\r\n\r\n"), Err(Malformed::MissingHost));
        assert_eq!(of("GET / HTTP/1.0\r\n\r\n"), Ok(Framing::Length(0)));
        let chunked = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(of(chunked), Err(Malformed::BadEncoding));
    }

    #[test]
    fn heads_are_bounded() {
        let many = |count| "X: y\r\n".repeat(count);
        assert!(with(&many(MOST_FIELDS - 1)).is_ok());
        assert_eq!(with(&many(MOST_FIELDS)), Err(Malformed::TooLarge));
        assert_eq!(find_end(&vec![b'a'; MOST_HEAD], 0), Err(Malformed::TooLarge));
        assert_eq!(find_end(&vec![b'a'; MOST_HEAD - 1], 0), Ok(None));
    }
}
