//! A real Dovecot as somebody's mail store: takes mail by LMTP, shows it by IMAP, keeps Maildirs in a temporary folder.
//!
//! Every address is a user, and every user has the same password. It must be started by root, since its processes change
//! to Dovecot's users. The IMAP here is what the tests need to read a folder, and no client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::peers::{self, PATIENCE, Service};

/// Everybody's password.
const PASSWORD: &str = "secret";

/// A running Dovecot. Dropped, it ends and its mail is gone.
#[derive(Debug)]
pub struct Dovecot {
    // before its folder, so that it has ended when that is removed
    service: Service,
    lmtp: SocketAddr,
    imap: SocketAddr,
    _folder: TempDir,
}

impl Dovecot {
    /// Starts one at this IP address, at ports that are free.
    ///
    /// # Errors
    /// When Dovecot is missing or does not start.
    pub fn start(ip: IpAddr) -> anyhow::Result<Self> {
        let program = peers::program("dovecot", "dovecot-imapd and dovecot-lmtpd")?;
        let folder = tempfile::Builder::new().prefix("dovecot").tempdir()?;
        let path = folder.path();
        // Its processes, which are not root, must get through.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
        for name in ["run", "state", "mail"] {
            std::fs::create_dir(path.join(name))?;
        }
        peers::ask(Command::new("chown").arg("mail:mail").arg(path.join("mail")), b"")?;
        let lmtp = SocketAddr::new(ip, peers::free_port(ip)?);
        let imap = SocketAddr::new(ip, peers::free_port(ip)?);
        let file = path.join("dovecot.conf");
        std::fs::write(&file, configuration(path, lmtp, imap))?;
        let service = Service::start(
            Command::new(program).arg("-F").arg("-c").arg(&file),
            None,
            path.join("log"),
            imap,
        )?;
        Ok(Self {
            service,
            lmtp,
            imap,
            _folder: folder,
        })
    }

    /// Where mail is delivered to.
    #[must_use]
    pub fn lmtp(&self) -> SocketAddr {
        self.lmtp
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.service.log()
    }

    /// The messages in a user's inbox, the oldest first, read over IMAP.
    ///
    /// # Errors
    /// When Dovecot refuses, or says what is not understood.
    pub fn inbox(&self, user: &str) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut imap = Imap::connect(self.imap)?;
        imap.ask(&format!("LOGIN {user} {PASSWORD}"))?;
        imap.ask("EXAMINE INBOX")?;
        // Of UIDs, `1:*` is no error in an empty folder (RFC 9051 §6.4.9).
        imap.ask("UID FETCH 1:* (BODY.PEEK[])")
    }

    /// Waits until there are so many messages in a user's inbox, and reads them.
    ///
    /// # Errors
    /// When there are not within [`PATIENCE`]: then with Dovecot's log.
    pub fn wait_for(&self, user: &str, count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut messages = Vec::new();
        peers::wait_until(&format!("{user} has {count} messages"), || {
            messages = self.inbox(user)?;
            Ok(messages.len() >= count)
        })
        .with_context(|| self.log())?;
        Ok(messages)
    }
}

/// One IMAP connection.
struct Imap {
    reader: BufReader<TcpStream>,
}

impl Imap {
    fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut imap = Self {
            reader: BufReader::new(stream),
        };
        let greeting = imap.line()?;
        ensure!(greeting.starts_with("* OK"), "greeted with {greeting:?}");
        Ok(imap)
    }

    /// Says a command, and gives the literals of its answer.
    fn ask(&mut self, command: &str) -> anyhow::Result<Vec<Vec<u8>>> {
        write!(self.reader.get_mut(), "a {command}\r\n")?;
        let mut literals = Vec::new();
        loop {
            let line = self.line()?;
            if let Some(end) = line.strip_prefix("a ") {
                ensure!(end.starts_with("OK"), "{command:?} was answered with {end:?}");
                return Ok(literals);
            }
            let length = line
                .strip_suffix('}')
                .and_then(|line| line.rsplit_once('{'))
                .and_then(|(_, length)| length.parse().ok());
            if let Some(length) = length {
                let mut literal = vec![0; length];
                self.reader.read_exact(&mut literal)?;
                literals.push(literal);
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.reader.read_line(&mut line)? > 0, "the connection was closed");
        Ok(line.trim_end_matches("\r\n").to_owned())
    }
}

/// The configuration file. Plain text on loopback, mail of everybody under one system user.
fn configuration(folder: &Path, lmtp: SocketAddr, imap: SocketAddr) -> String {
    let folder = folder.display();
    let ip = lmtp.ip();
    format!(
        "\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = imap lmtp
listen = {ip}
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
first_valid_uid = 1
mail_location = maildir:~/Maildir
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}/mail/%d/%n allow_all_users=yes
}}
service imap-login {{
  inet_listener imap {{
    address = {ip}
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = {ip}
    port = {lmtp}
  }}
}}
",
        imap = imap.port(),
        lmtp = lmtp.port(),
    )
}
