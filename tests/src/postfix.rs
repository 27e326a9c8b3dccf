//! A real Postfix as somebody's mail server: an instance of its own in a temporary folder.
//!
//! It takes mail for everybody from this machine and sends it where its routes say; it resolves no names and touches
//! nothing of the system's own Postfix. It must be started by root, since its daemons change to Postfix's users.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::peers::{self, Service};

/// Where mail for a domain goes.
#[derive(Debug, Clone, Copy)]
pub enum Next {
    /// To another mail server.
    Smtp(SocketAddr),
    /// To a mail store.
    Lmtp(SocketAddr),
}

impl Next {
    /// In the words of `transport(5)`.
    fn transport(self) -> String {
        match self {
            Next::Smtp(at) => format!("smtp:[{}]:{}", at.ip(), at.port()),
            Next::Lmtp(at) => format!("lmtp:inet:[{}]:{}", at.ip(), at.port()),
        }
    }
}

/// A running Postfix. Dropped, it ends and its queue is gone.
#[derive(Debug)]
pub struct Postfix {
    // before its folder, so that it has ended when that is removed
    service: Service,
    address: SocketAddr,
    _folder: TempDir,
}

impl Postfix {
    /// Starts one that calls itself `hostname`, takes mail at `address` and sends from that IP address. Mail for a
    /// domain without a route is refused.
    ///
    /// # Errors
    /// When Postfix is missing or does not start.
    pub fn start(hostname: &str, address: SocketAddr, routes: &[(&str, Next)]) -> anyhow::Result<Self> {
        let program = peers::program("postfix", "postfix")?;
        let folder = tempfile::Builder::new().prefix("postfix").tempdir()?;
        let path = folder.path();
        // Its daemons, which are not root, must get through.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
        for name in ["etc", "queue", "data"] {
            std::fs::create_dir(path.join(name))?;
        }
        peers::ask(Command::new("chown").arg("postfix").arg(path.join("data")), b"")?;
        let etc = path.join("etc");
        std::fs::write(etc.join("main.cf"), main_cf(path, hostname, address))?;
        std::fs::write(etc.join("master.cf"), master_cf(address))?;
        let lines: String = routes
            .iter()
            .map(|(domain, next)| format!("{domain} {}\n", next.transport()))
            .collect();
        std::fs::write(etc.join("transport"), lines)?;
        let service = Service::start(
            Command::new(program).arg("-c").arg(&etc).arg("start-fg"),
            Some(path.join("queue/pid/master.pid")),
            path.join("log"),
            address,
        )?;
        Ok(Self {
            service,
            address,
            _folder: folder,
        })
    }

    /// Where it takes mail.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged: every mail's walk, with the answers that it got.
    #[must_use]
    pub fn log(&self) -> String {
        self.service.log()
    }
}

/// `postconf(5)`. `inet_interfaces` names only what every machine has: where mail is taken stands in `master.cf`.
/// STARTTLS is used where it is offered, with any certificate, as between most mail servers.
fn main_cf(folder: &Path, hostname: &str, address: SocketAddr) -> String {
    let folder = folder.display();
    let ip = address.ip();
    format!(
        "\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file_prefixes = {folder}
maillog_file = {folder}/log

myhostname = {hostname}
mydomain = {hostname}
myorigin = {hostname}
inet_protocols = ipv4
inet_interfaces = 127.0.0.1
smtp_bind_address = {ip}

mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
local_transport = error:nobody lives here
transport_maps = texthash:{folder}/etc/transport
default_transport = error:no route to this domain

smtp_dns_support_level = disabled
smtp_host_lookup = native
smtp_tls_security_level = may
smtp_tls_loglevel = 1
smtpd_tls_security_level = none

message_size_limit = 67108864
mailbox_size_limit = 0
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
biff = no
"
    )
}

/// `master(5)`: the services that a relay needs, none in a chroot.
fn master_cf(address: SocketAddr) -> String {
    format!(
        "\
{address} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
showq unix n - n - - showq
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"
    )
}
