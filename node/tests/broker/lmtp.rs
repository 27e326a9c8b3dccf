//! Delivery to a mail store by LMTP.

use std::sync::{Arc, Mutex};

use cargomail_node::broker::Deliver;
use cargomail_protocol::notification::JobState;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::agents::{Agent, Says};
use crate::rig::{ANYWHERE, Letter, Node, Setting, World, note, until};

/// A mail store that may be busy, and that refuses what asks for it.
#[derive(Clone, Default)]
struct MailStore {
    busy: Arc<Mutex<bool>>,
    tries: Arc<Mutex<usize>>,
    messages: Arc<Mutex<Vec<String>>>,
}

impl MailStore {
    async fn start() -> (Self, u16) {
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

    fn messages(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }

    fn judge(&self, message: String) -> &'static str {
        *self.tries.lock().unwrap() += 1;
        if *self.busy.lock().unwrap() {
            return "451 4.2.0 not now";
        }
        if message.contains("refuse me") {
            return "552 5.2.2 full";
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
    *store.busy.lock().unwrap() = true;
    bob.send(&letter.bytes(), to).await;
    until("the store was asked", async || {
        (*store.tries.lock().unwrap() > 0).then_some(())
    })
    .await;
    *store.busy.lock().unwrap() = false;
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
