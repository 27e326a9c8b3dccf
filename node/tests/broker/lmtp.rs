//! Delivery to a mail store by LMTP, and what it refuses.

use std::sync::{Arc, Mutex};

use cargomail_node::broker::Deliver;
use cargomail_node::smtp::{Mail, Receiver};
use cargomail_node::store::typed;
use cargomail_protocol::notification::JobState;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::agents::{Agent, Says};
use crate::disk::Disk;
use crate::rig::{ANYWHERE, Letter, Node, Setting, World, address, note, until};

/// A mail store that may be busy, and that refuses what asks for it. It takes SMTP, too.
#[derive(Clone, Default)]
pub(crate) struct MailStore {
    busy: Arc<Mutex<bool>>,
    tries: Arc<Mutex<usize>>,
    messages: Arc<Mutex<Vec<String>>>,
    breaks: Arc<Mutex<Option<Disk>>>,
}

impl MailStore {
    pub(crate) async fn start() -> (Self, u16) {
        let listener = TcpListener::bind(ANYWHERE).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let store = Self::default();
        let serving = store.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().talk(stream));
            }
        });
        (store, port)
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }

    /// How many messages with this in them it has taken.
    pub(crate) fn got(&self, text: &str) -> usize {
        let messages = self.messages.lock().unwrap();
        messages.iter().filter(|message| message.contains(text)).count()
    }

    pub(crate) fn is_busy(&self, busy: bool) {
        *self.busy.lock().unwrap() = busy;
    }

    /// How often it was given a message.
    pub(crate) fn tries(&self) -> usize {
        *self.tries.lock().unwrap()
    }

    /// A disk breaks as soon as it takes the next message.
    pub(crate) fn breaks_when_it_takes(&self, disk: &Disk) {
        *self.breaks.lock().unwrap() = Some(disk.clone());
    }

    fn judge(&self, message: String) -> &'static str {
        *self.tries.lock().unwrap() += 1;
        if *self.busy.lock().unwrap() {
            return "451 4.2.0 not now";
        }
        if message.contains("refuse me") {
            return "552 5.2.2 full";
        }
        if let Some(disk) = self.breaks.lock().unwrap().take() {
            disk.breaks();
        }
        self.messages.lock().unwrap().push(message);
        "250 2.0.0 delivered"
    }

    async fn talk(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let mut answer = "220 store.bar.test";
        loop {
            if stream
                .write_all(format!("{answer}\r\n").as_bytes())
                .await
                .is_err()
            {
                return;
            }
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            answer = match line.split_whitespace().next().unwrap_or_default() {
                "LHLO" => "250 store.bar.test",
                "DATA" => {
                    stream.write_all(b"354 go on\r\n").await.unwrap();
                    let mut message = String::new();
                    while !message.ends_with("\r\n.\r\n") {
                        stream.read_line(&mut message).await.unwrap();
                    }
                    self.judge(message)
                }
                "QUIT" => "221 bye",
                _ => "250 2.1.0 well",
            };
        }
    }
}

#[tokio::test]
async fn a_mail_store_gets_each_message_once_with_its_destination() {
    let world = World::new().await;
    let (store, port) = MailStore::start().await;
    let host = "127.0.0.1".to_owned();
    let setting = Setting {
        deliver: Deliver::Lmtp { host, port },
        ..Setting::default()
    };
    let bar = Node::start(&world, "bar.test", setting).await;
    let (bob, carol) = (bar.user("bob").await, bar.user("carol").await);
    let agent = Agent::start(&world, "mailbox.bar.test", Says::Takes(JobState::Stored)).await;
    carol.wishes(r#"{"default":["mailbox.bar.test"]}"#).await;
    let to: &[&[&str]] = &[&["carol@bar.test"]];
    let letter = Letter {
        from: "bob@bar.test".to_owned(),
        ..Letter::new("1")
    };
    store.is_busy(true);
    bob.send(&letter.bytes(), to).await;
    until("the store was asked", async || (store.tries() > 0).then_some(())).await;
    store.is_busy(false);
    until("it is delivered", async || {
        (!store.messages().is_empty()).then_some(())
    })
    .await;
    assert!(store.messages()[0].contains("X-Destination-Resource-Mailbox-URL: mailbox.bar.test\r\n"));
    until("the job is followed", async || (agent.asked() > 0).then_some(())).await;
    assert_eq!((store.messages().len(), agent.told().len()), (1, 1));

    let refused = String::from_utf8(note("bob@bar.test", "carol@bar.test", "2")).unwrap();
    bob.send(refused.replace("At noon.", "refuse me").as_bytes(), to)
        .await;
    let report = until("bob is told", async || store.messages().into_iter().nth(1)).await;
    assert!(report.contains("Final-Recipient: rfc822; carol@bar.test\r\nAction: failed\r\nStatus: 5.2.2"));
}

/// Where an arriving entry stands, as its record says.
#[derive(serde::Deserialize)]
struct Entry {
    message_id: String,
    state: State,
}

#[derive(Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Route,
    Deliver,
    Done(String),
    Quarantined,
}

#[tokio::test]
async fn what_the_mail_store_refuses_is_kept_for_the_operator_where_nobody_can_be_told() {
    let world = World::new().await;
    let (store, port) = MailStore::start().await;
    let host = "127.0.0.1".to_owned();
    let setting = Setting {
        deliver: Deliver::Lmtp { host, port },
        ..Setting::default()
    };
    let bar = Node::start(&world, "bar.test", setting).await;
    let bob = bar.user("bob").await;
    bar.user("carol").await;
    let refused = |from: &str, id: &str| {
        let text = String::from_utf8(note(from, "carol@bar.test", id)).unwrap();
        text.replace("At noon.", "refuse me").into_bytes()
    };
    // nobody vouches for who wrote it
    let mail = Mail {
        client: "192.0.2.1:25".parse().unwrap(),
        helo: "mx.foo.test".to_owned(),
        tls: false,
        sender: Some(address("alice@foo.test")),
        recipients: vec![address("carol@bar.test")],
        message: refused("alice@foo.test", "1").into(),
    };
    bar.broker.message(mail).await.unwrap();
    bob.send(&refused("bob@bar.test", "2"), &[&["carol@bar.test"]])
        .await;
    until("bob is told", async || {
        (store.got("Not delivered") == 1).then_some(())
    })
    .await;
    let state = async |id: &str| {
        let records = bar.store.records().list("inbound/", None, 10).await.unwrap();
        let entries = records
            .iter()
            .map(|record| typed::decode::<Entry>(record).unwrap());
        let mut entries = entries.filter(|entry| entry.message_id == id);
        entries.next().unwrap().state
    };
    until("alice's is put aside", async || {
        (state("<1@foo.test>").await == State::Quarantined).then_some(())
    })
    .await;
    assert_eq!(state("<2@bar.test>").await, State::Done("refused".to_owned()));
}
