//! `sandlock __fetch`: the smallest client, for the tour where there is no curl.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use crate::output;

/// Prints what a server answers to a GET of `/`.
pub(crate) fn fetch(server: SocketAddr) -> ExitCode {
    match answer(server) {
        Ok(body) => {
            output::print(&body);
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::say(&format!("sandlock: {server}: {error}\n"));
            // As curl has it.
            ExitCode::from(7)
        }
    }
}

fn answer(server: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.split_once("\r\n\r\n").map_or_else(|| answer.to_string(), |(_, body)| body.to_owned()))
}

const PATIENCE: Duration = Duration::from_secs(5);
const MOST: u64 = 64 * 1024;
