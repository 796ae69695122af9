//! One request on one connection: thin, so that what is waited for is the server.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A function that has not answered by then has hung.
const DEADLINE: Duration = Duration::from_secs(10);
/// Of an answer.
const MAX_ANSWER: u64 = 1 << 20;

/// Head and body as they came; or nobody listens, or it broke off.
pub(crate) fn get(address: SocketAddr, host: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_nodelay(true)?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

pub(crate) fn is_ok(address: SocketAddr, host: &str, path: &str, holds: &str) -> bool {
    get(address, host, path).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200") && answer.contains(holds))
}
