//! Two homes behind routers that translate addresses, each with nodes that nobody can dial, exchange a mail: in the one the sender's
//! Resource Mailbox, in the other the recipient's broker and the recipient's Resource Mailbox.
//!
//! Each home, each router and the Internet between them is a network namespace of its own. Both homes use the same private
//! addresses. The sender's broker, DNS and introducer stand in the Internet. A router lets in what belongs to what went out, and
//! forwards the ports of people's programs, because the people of this test sit in the Internet. No port for other nodes is forwarded:
//! message, notification and content all come over libp2p.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cargomail_node::accounts::door::AdminToken;
use cargomail_node::api::{Channel, NewAccount};
use cargomail_node::app::administration::Administration;
use cargomail_node::app::profile::Fingerprint;
use cargomail_node::app::{App, Letter, Profile, Session, Unwatched, Url, Watch, World};
use cargomail_node::clock::{Clock, SystemClock, SystemRandomness};
use cargomail_node::config::Settings;
use cargomail_node::dns::Zone;
use cargomail_node::harness::{PASSWORD, PATIENCE, Topology, acknowledged, compare, delivered};
use cargomail_node::identity::Identity;
use cargomail_node::publish;
use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::placeholder::{Category, Mailbox};
use cargomail_tests::processes::{self, Process};
use tempfile::TempDir;

/// The Internet's own machine and Alice's broker; the routers of her and of Bob's home.
const INTERNET: [&str; 2] = ["203.0.113.1", "203.0.113.2"];
const ROUTERS: [&str; 2] = ["203.0.113.10", "203.0.113.20"];
/// Where the first router is when its provider has given it another address.
const MOVED: &str = "203.0.113.30";
/// Names the namespaces to the test that runs inside of them.
const INSIDE: &str = "CARGOMAIL_HOMES";
const MIB: u64 = 1024 * 1024;

fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Namespaces that are gone when this is dropped.
struct Internet {
    prefix: String,
}

impl Internet {
    fn build() -> Self {
        let internet = Self {
            prefix: format!("cargomail{}", std::process::id()),
        };
        let wan = internet.name("wan");
        run(&format!("ip netns add {wan}"));
        run(&format!("ip -n {wan} link set lo up"));
        run(&format!("ip -n {wan} link add wan type bridge"));
        for address in INTERNET {
            run(&format!("ip -n {wan} address add {address}/24 dev wan"));
        }
        run(&format!("ip -n {wan} link set wan up"));
        for (number, outside) in ROUTERS.into_iter().enumerate() {
            internet.home(&wan, number, outside);
        }
        internet
    }

    fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.prefix)
    }

    /// A home and its router.
    fn home(&self, wan: &str, number: usize, outside: &str) {
        let (home, router) = (
            self.name(&format!("home{number}")),
            self.name(&format!("router{number}")),
        );
        for namespace in [&home, &router] {
            run(&format!("ip netns add {namespace}"));
            run(&format!("ip -n {namespace} link set lo up"));
        }
        run(&format!(
            "ip -n {wan} link add port{number} type veth peer name out netns {router}"
        ));
        run(&format!("ip -n {wan} link set port{number} master wan up"));
        run(&format!(
            "ip -n {router} link add inside type veth peer name home netns {home}"
        ));
        for (namespace, link, address) in [
            (&router, "out", outside),
            (&router, "inside", "192.168.1.1"),
            (&home, "home", "192.168.1.2"),
        ] {
            run(&format!("ip -n {namespace} address add {address}/24 dev {link}"));
            run(&format!("ip -n {namespace} link set {link} up"));
        }
        run(&format!("ip -n {home} route add default via 192.168.1.1"));
        run(&format!(
            "ip netns exec {router} sysctl -q -w net.ipv4.ip_forward=1"
        ));
        let (other, introducer) = (ROUTERS[1 - number], INTERNET[0]);
        let rules = format!(
            "table ip home {{
                counter direct {{ }}
                counter relayed {{ }}
                chain before {{
                    type nat hook prerouting priority dstnat;
                    iifname out tcp dport {{ 8443, 8444 }} dnat to 192.168.1.2
                }}
                chain behind {{
                    type nat hook postrouting priority srcnat;
                    oifname out masquerade
                }}
                chain through {{
                    type filter hook forward priority filter; policy drop;
                    ip saddr {other} counter name direct
                    ip saddr {introducer} counter name relayed
                    iifname inside accept
                    ct state established,related accept
                    ct status dnat accept
                }}
                chain self {{
                    type filter hook input priority filter; policy drop;
                    iifname inside accept
                }}
            }}"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, rules).unwrap();
        run(&format!(
            "ip netns exec {router} nft -f {}",
            file.path().display()
        ));
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        for part in ["home0", "router0", "home1", "router1", "wan"] {
            let _ = Command::new("ip")
                .args(["netns", "delete", &self.name(part)])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// Octets that came to Bob's Resource Mailbox, by the way that is counted under this name.
fn came(way: &str) -> u64 {
    let router = format!("{}-router1", std::env::var(INSIDE).unwrap());
    let told = run(&format!("ip netns exec {router} nft list counter ip home {way}"));
    let mut words = told.split_whitespace().skip_while(|word| *word != "bytes");
    words.nth(1).unwrap().parse().unwrap()
}

#[test]
fn two_homes_behind_routers_exchange_a_large_mail_over_a_relay_and_directly() {
    if run("id -u").trim() != "0" {
        eprintln!("left out: network namespaces are made by root only");
        return;
    }
    for (program, package) in [("/usr/sbin/nft", "nftables"), ("/usr/sbin/ip", "iproute2")] {
        assert!(
            Path::new(program).exists(),
            "{program} is missing: apt-get install {package}"
        );
    }
    let internet = Internet::build();
    let inside = Command::new("ip")
        .args(["netns", "exec", &internet.name("wan")])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "inside", "--nocapture"])
        .env(INSIDE, &internet.prefix)
        .status()
        .unwrap();
    assert!(inside.success());
}

/// An introducer, which may be replaced.
struct Introducer {
    folder: TempDir,
    process: Option<Child>,
    name: String,
}

impl Introducer {
    fn start() -> Self {
        let mut introducer = Self {
            folder: tempfile::tempdir().unwrap(),
            process: None,
            name: String::new(),
        };
        introducer.begin("");
        introducer
    }

    /// Starts it, with its key, and with more lines of configuration.
    fn begin(&mut self, more: &str) {
        let at = INTERNET[0];
        let config = format!(
            "allow-private = true\nexternal = [\"{at}\"]\nquic = [\"{at}:4001\"]\ntcp = [\"{at}:4001\"]\n{more}"
        );
        std::fs::write(self.folder.path().join("bootstrap.toml"), config).unwrap();
        let binary: PathBuf = processes::cargomail()
            .unwrap()
            .with_file_name("cargomail-bootstrap");
        assert!(
            binary.exists(),
            "cargo build --workspace makes {}",
            binary.display()
        );
        let mut process = Command::new(binary)
            .args(["--config", "bootstrap.toml"])
            .current_dir(&self.folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(process.stdout.take().unwrap()));
        let line = lines.find(|line| line.as_ref().unwrap().starts_with("listening"));
        let (_, name) = line.as_ref().unwrap().as_ref().unwrap().rsplit_once('/').unwrap();
        self.name = name.to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        self.process = Some(process);
    }

    fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

impl Drop for Introducer {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A node, and where people and others reach it.
#[derive(Clone)]
struct Site {
    folder: PathBuf,
    outside: &'static str,
    /// The port of people's programs.
    user: u16,
    namespace: Option<String>,
}

impl Site {
    /// Lays it out and publishes what it asks to.
    fn build(
        town: &Path,
        name: &str,
        outside: &'static str,
        user: u16,
        home: Option<usize>,
        sections: &str,
        zone: &Zone,
    ) -> Self {
        let folder = town.join(name);
        std::fs::create_dir(&folder).unwrap();
        let dns = zone.local_addr();
        let (listen, faces) = match home {
            Some(_) => ("192.168.1.2", "[grip]\nover = \"libp2p\"\n".to_owned()),
            None => (
                outside,
                format!("public = [\"{outside}\"]\n[grip]\nlisten = \"{outside}:7443\"\n"),
            ),
        };
        let config = format!(
            "[network]\nhostname = \"node.{name}\"\nallow = [\"203.0.113.0/24\"]\n{faces}\
             [dns]\nservers = [\"{dns}\"]\n[user]\nlisten = \"{listen}:{user}\"\n{sections}"
        );
        let site = Self {
            folder,
            outside,
            user,
            namespace: home.map(|number| format!("{}-home{number}", std::env::var(INSIDE).unwrap())),
        };
        std::fs::write(site.config(), config).unwrap();
        let identity = Identity::open_or_create(&site.folder.join("key.pem"), &SystemRandomness).unwrap();
        let settings = site.settings();
        let peers = publish::planned_peers(&settings, &identity);
        for published in publish::records(&settings, &identity, &peers) {
            let is_server = published.name.starts_with(publish::SERVICE);
            assert!(!is_server || home.is_none(), "{published}");
            zone.add(&published.name, published.record);
        }
        site
    }

    fn config(&self) -> PathBuf {
        self.folder.join("cargomail.toml")
    }

    fn settings(&self) -> Settings {
        Settings::open(&self.config()).unwrap()
    }

    async fn start(&self) -> Process {
        let node = processes::command(&self.config()).unwrap();
        let command = match &self.namespace {
            None => node,
            Some(namespace) => {
                let mut command = Command::new("ip");
                command
                    .args(["netns", "exec", namespace])
                    .arg(node.get_program())
                    .args(node.get_args());
                command.env("CARGOMAIL_LOG", "warn,libp2p=error");
                command
            }
        };
        Process::start(command).await.unwrap().unwrap()
    }

    /// An account for somebody, and their session.
    async fn access(&self, world: &World, person: &Address) -> cargomail_node::app::profile::Access {
        let listen: SocketAddr = format!("{}:{}", self.outside, self.user).parse().unwrap();
        let certificate = self.settings().user_certificate(SystemClock.now()).unwrap();
        let (client, fingerprint) = (world.client(), certificate.spki_sha256());
        let admin = AdminToken::open(&self.folder.join("data")).unwrap();
        let account = NewAccount {
            address: person.clone(),
            password: PASSWORD.to_owned(),
            quota: None,
        };
        let administration = Administration::at(&client, listen, fingerprint, admin.text());
        administration.set_account(&account).await.unwrap();
        let url = Url::new(self.outside.to_owned(), self.user);
        Session::log_in(&client, &url, Some(Fingerprint(fingerprint)), person, PASSWORD)
            .await
            .unwrap()
    }
}

async fn person(address: &str, broker: &Site, mailbox: &Site) -> App {
    let (world, address) = (World::real().unwrap(), Address::parse(address).unwrap());
    let mut profile = Profile::new(address.clone());
    let locator = mailbox.settings().mailbox.unwrap().locator;
    profile.set_mailbox(locator, mailbox.access(&world, &address).await);
    profile.broker = Some(broker.access(&world, &address).await);
    App::new(profile, world)
}

fn letter(folder: &Path, subject: &str, octets: u64) -> Letter {
    let file = folder.join(format!("{subject}.bin"));
    let words = u32::try_from(octets / 4).unwrap();
    let content: Vec<u8> = (0..words)
        .flat_map(|word| (word.wrapping_mul(2_654_435_761)).to_le_bytes())
        .collect();
    std::fs::write(&file, content).unwrap();
    let mut letter = Letter::new(Category::parse("healthcare").unwrap());
    letter.to = vec![Mailbox::bare(Address::parse("bob@bar.test").unwrap())];
    letter.subject = subject.to_owned();
    letter.text = Some("As discussed.\r\n".to_owned());
    letter.files = vec![file];
    letter.channel = Some(Channel::Web);
    letter.origin = Some(Locator::parse(Topology::Four.origin()).unwrap());
    letter
}

/// Reads the mail at Bob's, and compares it with what Alice wrote.
async fn arrives(alice: &App, bob: &App, sent: &str, letter: &Letter, folder: &Path) {
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let message = delivered(bob, "inbox", sent).await.unwrap();
    let opened = bob.open(&message.id).await.unwrap();
    compare(bob, &opened, letter, &folder.join("read"), PATIENCE, &watch)
        .await
        .unwrap();
    acknowledged(alice, sent).await.unwrap();
}

/// Returns once the sender's broker has tried in vain to give a message to the recipient's.
async fn failed_once(alice: &App, sent: &str) {
    let failing = async {
        loop {
            let queue = alice.broker().unwrap().queue().await.unwrap();
            if queue
                .iter()
                .any(|queued| queued.message_id == sent && queued.failed > 0)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, failing).await.unwrap();
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs inside the namespaces of the other test"]
async fn inside() {
    let folder = tempfile::tempdir().unwrap();
    let town = folder.path();
    let zone = Zone::start(format!("{}:5353", INTERNET[0]).parse().unwrap())
        .await
        .unwrap();
    let mut introducer = Introducer::start();
    let relay = |transport: &str| format!("/ip4/{}/{transport}/p2p/{}", INTERNET[0], introducer.name);
    let communities = format!(
        "communities = [\"{}\", \"{}\"]\n",
        relay("udp/4001/quic-v1"),
        relay("tcp/4001"),
    );
    let at_home = |port: u16| {
        format!(
            "[peers]\nquic = \"192.168.1.2:{port}\"\ntcp = \"192.168.1.2:{port}\"\nrelay = \"always\"\n{communities}"
        )
    };
    let mailbox = |name: &str| {
        let peers = at_home(4001);
        format!("{peers}[mailbox]\nlocator = \"mailbox.{name}\"\ndomain = \"{name}\"\n")
    };
    let broker = |name: &str, peers: &str| {
        format!("{peers}[broker]\ndomain = \"{name}\"\nchannel = \"web\"\n[smtp]\nlisten = \"off\"\n")
    };
    let (foo, bar) = (
        broker("foo.test", &format!("[peers]\n{communities}")),
        broker("bar.test", &at_home(4002)),
    );
    let sites = [
        ("foo.test", INTERNET[1], 8443, None, foo),
        ("bar.test", ROUTERS[1], 8444, Some(1), bar),
        (
            "hospital.test",
            ROUTERS[0],
            8443,
            Some(0),
            mailbox("hospital.test"),
        ),
        (
            "insurance.test",
            ROUTERS[1],
            8443,
            Some(1),
            mailbox("insurance.test"),
        ),
    ]
    .map(|(name, outside, user, home, sections)| {
        Site::build(town, name, outside, user, home, &sections, &zone)
    });
    let mut processes = Vec::new();
    for site in &sites {
        processes.push(site.start().await);
    }
    let [foo, bar, hospital, insurance] = &sites;
    let alice = person("alice@foo.test", foo, hospital).await;
    let bob = person("bob@bar.test", bar, insurance).await;
    let wishes = Topology::Four.wishes().unwrap();
    bob.broker().unwrap().set_preferences(&wishes).await.unwrap();
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);

    // Met over the relay, which passes on 4 MiB a circuit, the homes go on directly; that the relay is killed harms nothing.
    let scan = letter(town, "scan", 100 * MIB);
    let sent = alice.send(&scan, &watch).await.unwrap();
    until(|| came("direct") > 10 * MIB).await;
    let relayed = came("relayed");
    introducer.kill();
    arrives(&alice, &bob, &sent.message_id, &scan, town).await;
    let direct = came("direct");
    assert!(
        relayed > MIB && direct + relayed > 100 * MIB,
        "{relayed} and {direct} octets"
    );

    // While an introducer stands there that relays nothing, and no connection is left, mail is late.
    introducer.begin("[relay]\nreservations = 0\n");
    for site in [1, 2, 3] {
        processes.remove(1).stop().await.unwrap();
        processes.push(sites[site].start().await);
    }
    let late = letter(town, "late", MIB);
    let sent = alice.send(&late, &watch).await.unwrap();
    failed_once(&alice, &sent.message_id).await;
    introducer.kill();
    assert!(came("direct") + came("relayed") < relayed + direct + MIB);
    introducer.begin("");
    arrives(&alice, &bob, &sent.message_id, &late, town).await;

    // The first router loses its line, and gets it back with another address: its mailbox loses every connection, and nobody else
    // is told.
    let router = format!("{}-router0", std::env::var(INSIDE).unwrap());
    run(&format!(
        "ip -n {router} address delete {}/24 dev out",
        ROUTERS[0]
    ));
    run(&format!("ip -n {router} address add {MOVED}/24 dev out"));
    run(&format!("ip -n {router} link set out up"));
    let hospital = Site {
        outside: MOVED,
        ..hospital.clone()
    };
    let alice = person("alice@foo.test", foo, &hospital).await;
    let moved = letter(town, "moved", 8 * MIB);
    let sent = alice.send(&moved, &watch).await.unwrap();
    arrives(&alice, &bob, &sent.message_id, &moved, town).await;
    for process in processes {
        process.stop().await.unwrap();
    }
}
