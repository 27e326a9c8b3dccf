#![allow(clippy::unwrap_used)]
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::clock::{SystemClock, SystemRandomness};
use crate::store::{Embedded, EmbeddedOptions};

/// The machine's clock, set forward.
#[derive(Default)]
struct Forward(AtomicU64);

impl Clock for Forward {
    fn now(&self) -> Timestamp {
        let by = Duration::from_millis(self.0.load(Ordering::SeqCst));
        SystemClock.now().plus(by)
    }
}

struct Node {
    _folder: TempDir,
    store: Embedded,
    clock: Arc<Forward>,
    accounts: Accounts,
}

impl Node {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path(), EmbeddedOptions::default())
            .await
            .unwrap();
        let clock: Arc<Forward> = Arc::default();
        let accounts = Accounts::new(store.records(), clock.clone(), Arc::new(SystemRandomness));
        Self {
            _folder: folder,
            store,
            clock,
            accounts: accounts.with_password_cost(PasswordCost::Least),
        }
    }

    async fn log_in(&self, password: &str) -> String {
        self.accounts.log_in(&alice(), password).await.unwrap().0
    }

    async fn is_open(&self, token: &str) -> bool {
        match self.accounts.caller(token).await {
            Ok(address) => address == alice(),
            Err(AccountError::Unauthenticated) => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn sessions(&self) -> usize {
        let all = self.store.records().list(SESSIONS, None, 100).await.unwrap();
        all.len()
    }
}

fn alice() -> Address {
    Address::parse("alice@foo.test").unwrap()
}

#[tokio::test]
async fn a_new_password_ends_every_session_and_a_logout_one() {
    let node = Node::new().await;
    node.accounts.set(&alice(), "one", None).await.unwrap();
    let (first, second) = (node.log_in("one").await, node.log_in("one").await);
    node.accounts.log_out(&first).await.unwrap();
    node.accounts.log_out(&first).await.unwrap();
    assert!(!node.is_open(&first).await && node.is_open(&second).await);
    let capital = Address::parse("Alice@foo.test").unwrap();
    node.accounts.set(&capital, "two", None).await.unwrap();
    assert!(!node.is_open(&second).await);
    assert!(node.accounts.log_in(&alice(), "one").await.is_err());
    let third = node.log_in("two").await;
    assert!(node.is_open(&third).await);
}

#[tokio::test]
async fn what_is_kept_of_sessions_goes_when_they_have_ended() {
    let node = Node::new().await;
    node.accounts.set(&alice(), "one", None).await.unwrap();
    for _ in 0..3 {
        node.log_in("one").await;
    }
    node.accounts.forget_ended().await.unwrap();
    assert_eq!(node.sessions().await, 3);
    node.accounts.set(&alice(), "two", None).await.unwrap();
    let later = node.log_in("two").await;
    node.accounts.forget_ended().await.unwrap();
    assert_eq!(node.sessions().await, 1);
    assert!(node.is_open(&later).await);
    node.clock
        .0
        .store(SESSION.as_millis() as u64 + 1000, Ordering::SeqCst);
    assert!(!node.is_open(&later).await);
    let latest = node.log_in("two").await;
    node.accounts.forget_ended().await.unwrap();
    assert_eq!(node.sessions().await, 1);
    assert!(node.is_open(&latest).await);
}

#[tokio::test]
async fn an_account_keeps_its_quota_until_another_one_is_named() {
    let node = Node::new().await;
    for (quota, expected) in [
        (None, None),
        (Some(Quota::Octets(5)), Some(5)),
        (None, Some(5)),
        (Some(Quota::Unbounded), None),
    ] {
        let account = node.accounts.set(&alice(), "one", quota).await.unwrap();
        assert_eq!(account.quota, expected);
        assert_eq!(node.accounts.find(&alice()).await.unwrap(), Some(account));
    }
}

#[tokio::test]
async fn of_passwords_that_are_set_at_once_each_ends_the_sessions_of_the_others() {
    let node = Node::new().await;
    let set = |password: &'static str| {
        let accounts = node.accounts.clone();
        async move { accounts.set(&alice(), password, None).await.unwrap() }
    };
    let (one, two, three) = tokio::join!(set("one"), set("two"), set("three"));
    let mut counts = [one, two, three].map(|account| account.passwords_before);
    counts.sort_unstable();
    assert_eq!(counts, [0, 1, 2]);
}

/// Records as they were before a session knew its password.
#[derive(Serialize)]
struct OldAccount {
    address: Address,
    created: Timestamp,
    quota: Option<u64>,
    password: String,
}

#[derive(Serialize)]
struct OldSession {
    address: Address,
    expires: Timestamp,
}

#[tokio::test]
async fn what_an_earlier_version_wrote_is_read_and_a_new_password_ends_it() {
    let node = Node::new().await;
    let account = OldAccount {
        address: alice(),
        created: node.clock.now(),
        quota: Some(5),
        password: password::hash("one", &[7; 16], PasswordCost::Least).unwrap(),
    };
    let session = OldSession {
        address: alice(),
        expires: node.clock.now().plus(SESSION),
    };
    let then = vec![
        Op::Put(key(&alice()), typed::encode(&account)),
        Op::Put(session_key("a token"), typed::encode(&session)),
    ];
    node.store.records().commit(vec![], then).await.unwrap();
    assert!(node.is_open("a token").await);
    let token = node.log_in("one").await;
    assert!(node.is_open(&token).await);
    let new = node.accounts.set(&alice(), "two", None).await.unwrap();
    assert_eq!((new.created, new.quota), (account.created, Some(5)));
    assert!(!node.is_open("a token").await && !node.is_open(&token).await);
}
