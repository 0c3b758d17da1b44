//! The agent as `ssh`'s way through the proxy of restricted commands (`ssh_config(5)`, `ProxyCommand`; `CONNECT` is in RFC 9110, section
//! 9.3.6): standard input and output become the connection's.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;

/// The first argument; then come the proxy's address, the host and the port.
pub const VERB: &str = "connect";
/// The longest head of an answer, and as much of what is said after a refusal.
const MAX_ANSWER: u64 = 8192;

/// Is the connection, until the other end closes it.
pub fn main(arguments: &[String]) -> ExitCode {
    let connected = match arguments {
        [proxy, host, port] => connect(proxy, host, port),
        _ => Err(io::Error::other(format!("usage: {VERB} PROXY HOST PORT"))),
    };
    match connected.and_then(carry) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Asks the proxy for a connection; what the host may have sent already is in the reader.
fn connect(proxy: &str, host: &str, port: &str) -> io::Result<BufReader<TcpStream>> {
    if host.contains(|character: char| character.is_whitespace() || character.is_control())
        || port.parse::<u16>().is_err()
    {
        return Err(io::Error::other(format!("`{}:{}` is no host and port", host.escape_debug(), port.escape_debug())));
    }
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut stream = TcpStream::connect(proxy)?;
    // At once: who answers the first piece may be gone at the second.
    stream.write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let (mut status, mut line) = (String::new(), String::new());
    let mut head = reader.by_ref().take(MAX_ANSWER);
    head.read_line(&mut status)?;
    while head.read_line(&mut line)? > 0 && line.trim_end() != "" {
        line.clear();
    }
    match status.split(' ').nth(1) {
        Some(code) if code.starts_with('2') && !line.is_empty() => Ok(reader),
        Some(_) => {
            let mut reason = String::new();
            // A connection that is kept open after the reason has no end.
            reader.by_ref().take(MAX_ANSWER).read_line(&mut reason)?;
            let reason = if reason.trim().is_empty() { status } else { reason };
            Err(io::Error::other(reason.trim().to_owned()))
        }
        None => Err(io::Error::other(format!("{proxy} is no proxy"))),
    }
}

fn carry(mut from: BufReader<TcpStream>) -> io::Result<()> {
    let mut to = from.get_ref().try_clone()?;
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut out = io::stdout().lock();
    let mut block = vec![0; crate::BLOCK];
    loop {
        match from.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                out.write_all(&block[..read])?;
                out.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A proxy that answers like this; gives what it was asked.
    fn answering(answer: &'static str) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 1024];
            let read = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        (address, asked)
    }

    #[test]
    fn what_follows_the_head_is_the_hosts() {
        let (proxy, asked) = answering("HTTP/1.1 200 OK\r\nDate: x\r\n\r\nSSH-2.0-x\r\n");
        let mut connection = connect(&proxy, "fd00::1", "22").unwrap();
        let mut greeting = String::new();
        connection.read_line(&mut greeting).unwrap();
        assert_eq!(greeting, "SSH-2.0-x\r\n");
        assert_eq!(asked.join().unwrap(), "CONNECT [fd00::1]:22 HTTP/1.1\r\nHost: [fd00::1]:22\r\n\r\n");
    }

    #[test]
    fn a_refusal_says_why() {
        for (answer, expected) in [
            ("HTTP/1.1 403 Forbidden\r\ncontent-length: 8\r\n\r\nnot you\n", "not you"),
            ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP/1.1 502 Bad Gateway"),
            ("HTTP/1.1 200 OK\r\nDate:", "HTTP/1.1 200 OK"),
            ("SSH-2.0-x", "is no proxy"),
        ] {
            let (proxy, _) = answering(answer);
            let error = connect(&proxy, "a.example", "22").unwrap_err().to_string();
            assert!(error.contains(expected), "{answer}: {error}");
        }
        for (host, port) in [("a b", "22"), ("a\r\nb", "22"), ("a", "x"), ("a", "70000")] {
            assert!(connect("127.0.0.1:1", host, port).unwrap_err().to_string().contains("no host and port"));
        }
    }
}
