#![allow(clippy::unwrap_used)]
use cargomail_protocol::address::Locator;
use clap::CommandFactory;

use super::*;
use crate::app::double::{Node, PASSWORD, address, world};
use crate::app::{Access, AppError, Session};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("cargomail").chain(line.split(' ')))
}

#[test]
fn the_flags_fit_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_that_takes_something_has_an_example() {
    let mut without = Vec::new();
    let mut command = Cli::command();
    command.build();
    let mut stack: Vec<_> = command.get_subcommands().cloned().collect();
    while let Some(command) = stack.pop() {
        stack.extend(
            command
                .get_subcommands()
                .filter(|sub| sub.get_name() != "help")
                .cloned(),
        );
        let own = |id: &clap::Id| !["json", "profile", "config", "help"].contains(&id.as_str());
        let takes = command.get_arguments().any(|arg| own(arg.get_id()));
        let shows = command
            .get_after_help()
            .is_some_and(|help| help.to_string().contains("cargomail "));
        if takes && !shows && command.get_name() != "help" {
            without.push(command.get_name().to_owned());
        }
    }
    assert!(without.is_empty(), "{without:?}");
}

#[test]
fn what_people_write_is_understood() {
    for line in [
        "init --domain foo.test",
        "init --domain foo.test --broker --public 203.0.113.5 --public 2001:db8::5",
        "init --check --json",
        "--config x.toml account add alice@foo.test --quota 50G",
        "account add alice@foo.test --quota none",
        "login alice@foo.test --url https://[::1]:8443 --name Alice",
        "logout",
        "logout --url https://[::1]:8443 --json",
        "send --to bob@bar.test,carol@baz.test --bcc dave@hid.test -s Hi -t Hello --expires 30d --channel web a b",
        "inbox --sent --limit 5",
        "inbox --usage --json",
        "read 0192f3c1 --wait 10m",
        "delete 0192f3c1 0192f3c2",
        "save 0192f3c1 folder --part 2 --force",
        "save 0192f3c1 --message -",
        "preferences add mailbox.bar.test --from .foo.test --at-least 1G",
        "share revoke 0192f3c1-6a5e-7c11-9d5c-2f6f3f1b7a10",
        "queue --everybody",
        "collect --dry-run --json",
        "why bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu",
        "hold place bob@bar.test --reason x",
        "hold place bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu --reason x",
        "hold release 0192f3c1-6a5e-7c11-9d5c-2f6f3f1b7a10",
        "resource list --mailbox mailbox.bar.test",
        "resource delete bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu --force",
        "resource why bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu",
        "retrievals --json",
        "retrievals --cancel 5f0c9b7e2d8a4c61b3f7e0a9d4c2816e",
        "grip issue notify --audience mailbox.bar.test --subject bob@bar.test",
        "grip verify a.b.c --dns 127.0.0.1:5353",
        "ledger list --concerning bob@bar.test",
        "example-config",
        "bench import scan.tiff --runs 1",
        "bench import --size 4G --folder x --json",
        "bench transfer --count 1000 --size 100k --transport quic --messages 2",
    ] {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_what_would() {
    for (line, part) in [
        ("init", "--domain"),
        ("init --check --domain foo.test", "--check"),
        ("login alice", "address"),
        ("login alice@foo.test --url http://foo.test", "https://"),
        (
            "login alice@foo.test --url https://foo.test --fingerprint abc",
            "64 hexadecimal",
        ),
        ("send --to nobody", "address"),
        ("send --to bob@bar.test --expires 7", "7d"),
        ("send --to bob@bar.test --channel pigeon", "web-then-smtp"),
        ("send --to bob@bar.test --category a/b", "category"),
        ("account add alice@foo.test --quota many", "64M"),
        ("account add alice@foo.test --quota many", "none"),
        ("inbox --sent --junk", "--junk"),
        ("inbox --usage --sent", "--sent"),
        ("inbox --after xyz", "--after"),
        ("delete", "<ID>"),
        ("save 1 --message x --part 2", "--part"),
        ("share revoke x", "UUID"),
        ("fly", "unrecognized"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(
            error.to_lowercase().contains(&part.to_lowercase()),
            "{line}: {error}"
        );
    }
}

#[tokio::test]
async fn whoever_logs_out_has_no_session_there_and_none_in_the_profile() {
    let node = Node::start().await;
    let file = node.folder.path().join("profile.toml");
    let (client, alice) = (world().client(), address("alice@foo.test"));
    let begun = Session::log_in(&client, &node.url, Some(node.fingerprint), &alice, PASSWORD).await;
    let access = begun.unwrap();
    let session = Session::open(&client, &access);
    let mut profile = Profile::new(alice);
    let vault = Locator::parse("vault.bar.test").unwrap();
    let elsewhere = Access {
        url: "https://nowhere.test".parse().unwrap(),
        ..access.clone()
    };
    profile.broker = Some(access.clone());
    profile.set_mailbox(Locator::parse("mailbox.foo.test").unwrap(), access);
    profile.set_mailbox(vault.clone(), elsewhere);
    profile.save(&file).unwrap();
    let run = async |rest: String| {
        parse(&format!("--profile {} logout{rest}", file.display()))
            .unwrap()
            .run()
            .await
    };
    let unknown = run(" --url https://other.test".to_owned()).await.unwrap_err();
    assert!(unknown.to_string().contains("https://other.test"), "{unknown}");
    session.me().await.unwrap();
    run(format!(" --url {}", node.url)).await.unwrap();
    let gone = session.me().await.unwrap_err();
    assert!(matches!(gone, AppError::Said { status: 401, .. }), "{gone}");
    let left = Profile::open(&file).unwrap();
    assert_eq!(left.broker, None);
    let mailboxes: Vec<_> = left.mailboxes.iter().map(|mailbox| &mailbox.locator).collect();
    assert_eq!(mailboxes, [&vault]);
    // A session that the node has ended is removed from the profile all the same.
    profile.mailboxes.retain(|mailbox| mailbox.locator != vault);
    profile.save(&file).unwrap();
    run(String::new()).await.unwrap();
    assert!(Profile::open(&file).unwrap().sessions().is_empty());
}

#[test]
fn codes_tell_what_kind_of_failure_it_was() {
    let code = |error: anyhow::Error| format!("{:?}", exit::code(&error));
    let is = |number: u8| format!("{:?}", std::process::ExitCode::from(number));
    let said = |status| crate::app::AppError::Said {
        url: "https://foo.test".to_owned(),
        status,
        text: "no".to_owned(),
    };
    assert_eq!(code(said(401).into()), is(3));
    assert_eq!(
        code(anyhow::Error::from(crate::app::ReadError::from(said(404))).context("reading")),
        is(4)
    );
    assert_eq!(code(said(503).into()), is(75));
    assert_eq!(code(exit::CheckFailed("entry 3".to_owned()).into()), is(5));
    assert_eq!(code(exit::NotThere("no such share".to_owned()).into()), is(4));
    assert_eq!(code(exit::Later("the DNS is silent".to_owned()).into()), is(75));
    assert_eq!(code(anyhow::anyhow!("anything")), is(1));
}

#[tokio::test]
async fn what_nobody_has_is_not_there_and_without_a_profile_nobody_is_logged_in() {
    let node = crate::app::double::Node::start().await;
    let profile = node.folder.path().join("profile.toml");
    let everywhere = Everywhere {
        json: true,
        profile: Some(profile.clone()),
        config: PathBuf::from("cargomail.toml"),
    };
    let code = |error: anyhow::Error| format!("{:?}", exit::code(&error));
    let is = |number: u8| format!("{:?}", std::process::ExitCode::from(number));
    let ask = async |line: &str| match parse(line).unwrap().command {
        Command::User(command) => command.run(&everywhere).await.unwrap_err(),
        Command::Node(_) => panic!("{line} is for users"),
    };
    let error = ask("inbox").await;
    assert!(error.to_string().contains("cargomail login"), "{error}");
    assert_eq!(code(error), is(3));
    node.alice().await.profile().save(&profile).unwrap();
    for line in [
        "share revoke 0192f3c1-6a5e-7c11-9d5c-2f6f3f1b7a10",
        "resource why bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu",
    ] {
        assert_eq!(code(ask(line).await), is(4), "{line}");
    }
}

#[test]
fn times_and_sizes_are_read_as_people_write_them() {
    assert_eq!(value::duration("30m").unwrap().as_secs(), 1800);
    assert_eq!(value::size("64M").unwrap(), 64 << 20);
    assert_eq!(value::size("500").unwrap(), 500);
    for bad in ["", "d", "-1d", "1w", "99999999999999999999d", "1dd", "ü"] {
        assert!(value::duration(bad).is_err(), "{bad}");
    }
    for bad in ["", "M", "1.5G", "1MM", "99999999T", "-5"] {
        assert!(value::size(bad).is_err(), "{bad}");
    }
}
