//! HTTP/1.1 or HTTP/2, told by a connection's first bytes.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

/// What HTTP/2 begins with; no method of HTTP/1.1 is spelled like this.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// Between looks at a connection that sent a part of it.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Waits for as many bytes as it takes to know, and leaves them where they are. May wait for ever.
pub(super) async fn of(stream: &TcpStream) -> io::Result<Protocol> {
    let mut first = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut first).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(protocol) = told_by(&first[..seen]) {
            return Ok(protocol);
        }
        // The bytes that are there make it readable: only time brings more.
        tokio::time::sleep(PAUSE).await;
    }
}

fn told_by(first: &[u8]) -> Option<Protocol> {
    if first == PREFACE {
        return Some(Protocol::Http2);
    }
    (!PREFACE.starts_with(first)).then_some(Protocol::Http1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_preface_tells_nothing_yet() {
        assert_eq!(told_by(b"P"), None);
        assert_eq!(told_by(b"PRI * HT"), None);
        assert_eq!(told_by(b"POST / HTTP/1.1"), Some(Protocol::Http1));
        assert_eq!(told_by(b"G"), Some(Protocol::Http1));
        assert_eq!(told_by(PREFACE), Some(Protocol::Http2));
    }
}
