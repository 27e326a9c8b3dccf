#![allow(clippy::unwrap_used)]
use std::path::PathBuf;

use super::*;
use crate::dns::Zone;

fn everywhere(folder: &Path) -> Everywhere {
    Everywhere {
        json: true,
        profile: None,
        config: folder.join("node/cargomail.toml"),
    }
}

fn args(domain: &str) -> InitArgs {
    InitArgs {
        domain: Some(Domain::parse(domain).unwrap()),
        mailbox: None,
        broker: false,
        hostname: None,
        public: vec![IpAddr::from([127, 0, 0, 1])],
        community: Vec::new(),
        over: None,
        check: false,
    }
}

#[tokio::test]
async fn a_configuration_and_a_key_are_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let everywhere = everywhere(folder.path());
    args("foo.test").run(&everywhere).await.unwrap();
    let settings = everywhere.settings().unwrap();
    assert_eq!(
        settings.mailbox.as_ref().unwrap().locator.as_str(),
        "mailbox.foo.test"
    );
    assert_eq!(settings.broker.as_ref().unwrap().domain.as_str(), "foo.test");
    assert_eq!(settings.smtp.listen.unwrap().port(), 25);
    let read = |path: &PathBuf| std::fs::read(path).unwrap();
    let before = (read(&everywhere.config), read(&settings.key));
    args("bar.test").run(&everywhere).await.unwrap();
    assert_eq!((read(&everywhere.config), read(&settings.key)), before);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let everywhere = everywhere(folder.path());
    let mut elsewhere = args("foo.test");
    elsewhere.mailbox = Some(Locator::parse("mailbox.bar.test").unwrap());
    let error = elsewhere.run(&everywhere).await.unwrap_err().to_string();
    assert!(error.contains("mailbox.locator"), "{error}");
    assert!(!everywhere.config.exists());
    args("foo.test").run(&everywhere).await.unwrap();
    assert!(everywhere.settings().is_ok());
}

#[tokio::test]
async fn a_dns_that_does_not_answer_is_asked_again_later() {
    let folder = tempfile::tempdir().unwrap();
    let everywhere = everywhere(folder.path());
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut config = args("foo.test").config().unwrap();
    config.dns.servers = vec![nobody.local_addr().unwrap()];
    drop(nobody);
    write_new(&everywhere.config, &document(&config)).unwrap();
    Identity::open_or_create(&everywhere.settings().unwrap().key, &SystemRandomness).unwrap();
    let error = super::check(&everywhere).await.unwrap_err();
    assert!(error.is::<Later>(), "{error}");
}

#[test]
fn roles_are_those_that_were_asked_for() {
    let mut only_mailbox = args("hospital.test");
    only_mailbox.mailbox = Some(Locator::parse("mailbox.hospital.test").unwrap());
    let config = only_mailbox.config().unwrap();
    assert!(config.mailbox.is_some() && config.broker.is_none());
    let mut only_broker = args("foo.test");
    only_broker.broker = true;
    only_broker.public.clear();
    let config = only_broker.config().unwrap();
    assert!(config.mailbox.is_none() && config.broker.is_some());
    assert!(config.grip.listen.ip().is_loopback());
}

#[test]
fn a_node_at_home_is_reached_over_its_community() {
    let relay = "/ip4/9.9.9.9/tcp/4001/p2p/12D3KooWATbawL9HBRiYPnr5JH8bBLywRc83P8nfwnVUazfmES1k";
    let mut home = args("foo.test");
    home.public.clear();
    home.community = vec![relay.parse().unwrap()];
    let config = home.config().unwrap();
    assert_eq!(config.peers.communities, [relay]);
    assert_eq!(config.peers.relay, Relaying::Always);
    assert!(config.peers.tcp.address().unwrap().ip().is_unspecified());
    assert!(config.grip.listen.ip().is_loopback());
    assert_eq!(
        (config.grip.over, config.smtp.listen),
        (Over::Libp2p, Listen::Off)
    );
    let mut public = args("foo.test");
    public.community = vec!["community.test".parse().unwrap()];
    let config = public.config().unwrap();
    assert_eq!(config.grip.over, Over::Https);
    assert_eq!(config.peers.communities, ["community.test"]);
    assert_eq!(config.peers.relay, Relaying::Auto);
}

#[test]
fn a_node_at_home_without_any_port_publishes_its_peer_and_no_server() {
    let relay = "/ip4/9.9.9.9/tcp/4001/p2p/12D3KooWATbawL9HBRiYPnr5JH8bBLywRc83P8nfwnVUazfmES1k";
    let mut home = args("foo.test");
    home.public.clear();
    home.community = vec![relay.parse().unwrap()];
    let settings = home.config().unwrap().check(Path::new("/srv")).unwrap();
    let identity = Identity::from_seed(&[1; 32]);
    let published = records(&settings, &identity, &planned_peers(&settings, &identity));
    for name in ["foo.test", "mailbox.foo.test"] {
        let here = |prefix: &str| {
            published
                .iter()
                .any(|record| record.name == format!("{prefix}.{name}"))
        };
        assert!(here("_dnsaddr") && here("_grip") && !here("_grip-notify._tcp"));
    }
    let leads_to_a_port =
        |record: &Record| matches!(record, Record::Srv(_) | Record::Mx(_) | Record::Address(_));
    assert!(
        !published
            .iter()
            .any(|published| leads_to_a_port(&published.record))
    );
}

#[tokio::test]
async fn what_the_dns_lacks_is_found_until_it_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let everywhere = everywhere(folder.path());
    args("foo.test").run(&everywhere).await.unwrap();
    let zone = Zone::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let text = std::fs::read_to_string(&everywhere.config).unwrap();
    let server = format!("servers = [\"{}\"]", zone.local_addr());
    std::fs::write(
        &everywhere.config,
        text.replace("# servers = [\"127.0.0.1:53\"]", &server),
    )
    .unwrap();
    let check = || async { super::check(&everywhere).await };
    let error = check().await.unwrap_err();
    assert!(error.is::<CheckFailed>(), "{error}");
    let settings = everywhere.settings().unwrap();
    let identity = Identity::open(&settings.key).unwrap();
    for published in records(&settings, &identity, &planned_peers(&settings, &identity)) {
        zone.add(&published.name, published.record);
    }
    check().await.unwrap();
    zone.remove("_grip.foo.test");
    let dns = resolver(&settings).unwrap();
    let wanted = Published {
        name: "_grip.foo.test".to_owned(),
        record: Record::Txt("v=grip1; h=sha256; p=00".to_owned()),
    };
    assert_eq!(look(&dns, &wanted).await, Found::Missing);
}

#[test]
fn a_domains_own_policy_for_mail_is_not_called_missing() {
    let own = ["v=spf1 include:mail.test -all".to_owned()];
    assert_eq!(
        texts("v=spf1 ip4:127.0.0.1 -all", &own),
        Found::Other(own[0].clone())
    );
    assert_eq!(texts("v=grip1; h=sha256; p=00", &own), Found::Missing);
}
