//! One client, whose connection is standard input (`--inetd`).

use std::io;
use std::net::TcpStream;

/// What inetd has handed over.
#[derive(Debug)]
pub struct Inetd {
    /// The client's connection.
    pub stream: TcpStream,
    /// Whether standard error is something else, which can be logged to.
    pub stderr: bool,
}

/// Takes the connection over. Nothing that is printed from then on can get into it.
#[cfg(unix)]
pub fn take_over() -> io::Result<Inetd> {
    use std::fs::OpenOptions;
    use std::os::fd::AsFd;

    use rustix::fs::fstat;

    let id = |fd| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let stream = TcpStream::from(stdin.as_fd().try_clone_to_owned()?);
    stream.peer_addr().map_err(|e| {
        io::Error::new(e.kind(), format!("standard input is not a client's TCP connection: {e}"))
    })?;
    let connection = id(stdin.as_fd())?;
    let is_connection = |fd| id(fd).is_ok_and(|id| id == connection);
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let stderr = !is_connection(stderr.as_fd());
    if !stderr {
        rustix::stdio::dup2_stderr(&null)?;
    }
    if is_connection(stdout.as_fd()) {
        rustix::stdio::dup2_stdout(&null)?;
    }
    rustix::stdio::dup2_stdin(&null)?;
    Ok(Inetd { stream, stderr })
}

/// There is no inetd.
#[cfg(not(unix))]
pub fn take_over() -> io::Result<Inetd> {
    Err(io::Error::other("not available on this system"))
}
