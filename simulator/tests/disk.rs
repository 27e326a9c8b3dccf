//! The virtual disk does what every implementation of the storage ports must do, and what only a crash shows.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unused_imports)]
#[path = "."]
mod store {
    pub(crate) use cargomail_node::store::*;

    #[path = "../../node/src/store/conformance.rs"]
    pub(crate) mod conformance;
}

use cargomail_simulator::world::Disk;
use cargomail_simulator::world::disk::Mounted;
use std::sync::Arc;

async fn open() -> (Disk, Arc<Mounted>, Arc<Mounted>) {
    let disk = Disk::default();
    let mounted = Arc::new(disk.mount());
    (disk, mounted.clone(), mounted)
}

store::conformance::conforms!(open);

mod crashes {
    use std::time::Duration;

    use bytes::Bytes;
    use cargomail_node::store::{BlockStore, CommitError, Cond, Op, RecordStore, StoreError};
    use cargomail_protocol::dag::{Codec, VerifiedBlock};
    use cargomail_simulator::world::Disk;
    use tokio::time::timeout;

    fn put(n: u64) -> Vec<Op> {
        vec![Op::Put(format!("{n:03}"), Bytes::from(n.to_string()))]
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_acknowledged_is_there_after_a_crash_and_of_the_rest_a_beginning() {
        let (mut some, mut none) = (0, 0);
        for seed in 0..64 {
            let disk = Disk::default();
            let before = disk.mount();
            let block = VerifiedBlock::hash(Codec::Raw, Bytes::from_static(b"photo")).unwrap();
            before.put(vec![block.clone()]).await.unwrap();
            for n in 0..5 {
                before.commit(vec![], put(n)).await.unwrap();
            }
            let unheard: Vec<_> = (5..10)
                .map(|n| {
                    let before = before.clone();
                    tokio::spawn(async move { before.commit(vec![], put(n)).await })
                })
                .collect();
            tokio::task::yield_now().await;
            disk.crash(seed);
            let after = disk.mount();
            assert!(BlockStore::get(&after, block.cid()).await.unwrap().is_some());
            let found = RecordStore::list(&after, "", None, 100).await.unwrap();
            let versions: Vec<u64> = found.iter().map(|record| record.version).collect();
            assert!(versions.len() >= 5 && versions == (1..=versions.len() as u64).collect::<Vec<_>>());
            some += usize::from(versions.len() > 5);
            none += usize::from(versions.len() == 5);
            // Whoever wrote before the crash hears of nothing, and changes nothing.
            for commit in unheard {
                assert!(timeout(Duration::from_secs(60), commit).await.is_err());
            }
            assert!(
                timeout(Duration::from_secs(60), before.commit(vec![], put(99)))
                    .await
                    .is_err()
            );
            let version = after.commit(vec![], put(50)).await.unwrap();
            assert_eq!(version, versions.len() as u64 + 1);
        }
        assert!(some > 0 && none > 0);
    }

    #[tokio::test(start_paused = true)]
    async fn each_list_of_a_person_has_a_mark_and_a_message_that_was_there_already_another() {
        let disk = Disk::default();
        let mounted = disk.mount();
        let lists = [
            "folder/bob@bar.test/inbox",
            "folder/bob@bar.test/junk",
            "message/bob@bar.test",
            "job",
        ];
        let marks = || lists.map(|list| disk.mark(list));
        let changed = async |key: &str| {
            let before = marks();
            let op = Op::Put(key.to_owned(), Bytes::from_static(b"x"));
            mounted.commit(vec![], vec![op]).await.unwrap();
            let pairs = before.into_iter().zip(marks());
            pairs.map(|(before, now)| before != now).collect::<Vec<_>>()
        };
        assert_eq!(changed("message/bob@bar.test/1").await, [false; 4]);
        assert_eq!(
            changed("folder/bob@bar.test/inbox/1").await,
            [true, false, false, false]
        );
        assert_eq!(
            changed("message/bob@bar.test/1").await,
            [false, false, true, false]
        );
        assert_eq!(
            changed("folder/bob@bar.test/junk/2").await,
            [false, true, false, false]
        );
        assert_eq!(changed("folder/eve@bar.test/inbox/3").await, [false; 4]);
        assert_eq!(changed("job/4").await, [false, false, false, true]);
        assert_eq!(changed("job-of/bob@bar.test/4").await, [false; 4]);
        assert_eq!(marks().map(|mark| mark.is_set()), [true; 4]);
    }

    /// Many count one record up while time stands still: who was too late reads what the one before wrote.
    #[tokio::test(start_paused = true)]
    async fn who_is_refused_is_answered_in_turn_and_sees_what_came_before() {
        let mounted = Disk::default().mount();
        let counting = (0..20).map(|_| {
            let mounted = mounted.clone();
            tokio::spawn(async move {
                for _ in 0..32 {
                    let found = RecordStore::get(&mounted, &["count".to_owned()])
                        .await
                        .unwrap()
                        .remove(0);
                    let (when, count) = match found {
                        None => (Cond::Absent("count".to_owned()), 0),
                        Some(record) => {
                            let count: u64 = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
                            (Cond::Is(record.key, record.version), count)
                        }
                    };
                    let then = vec![Op::Put("count".to_owned(), Bytes::from((count + 1).to_string()))];
                    match mounted.commit(vec![when], then).await {
                        Ok(_) => return,
                        Err(CommitError::Conflict(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                panic!("it was always too late");
            })
        });
        for one in counting.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        let found = RecordStore::get(&mounted, &["count".to_owned()])
            .await
            .unwrap()
            .remove(0);
        assert_eq!(found.unwrap().value, "20");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_together_shares_a_sync() {
        let disk = Disk::default();
        let mounted = disk.mount();
        let begun = tokio::time::Instant::now();
        let all = (0..100).map(|n| {
            let mounted = mounted.clone();
            tokio::spawn(async move { mounted.commit(vec![], put(n)).await.unwrap() })
        });
        for commit in all.collect::<Vec<_>>() {
            commit.await.unwrap();
        }
        assert!(
            begun.elapsed() <= Duration::from_millis(6),
            "{:?}",
            begun.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_takes_nothing_that_needs_room_and_lets_go_of_everything() {
        let disk = Disk::default();
        let mounted = disk.mount();
        let block = |text: &'static [u8]| VerifiedBlock::hash(Codec::Raw, Bytes::from_static(text)).unwrap();
        mounted.put(vec![block(b"old")]).await.unwrap();
        let first = mounted.commit(vec![], put(1)).await.unwrap();
        disk.set_full(true);

        let is_full = |error: &StoreError| matches!(error, StoreError::Full { .. });
        assert!(is_full(&mounted.room(1).unwrap_err()));
        assert!(is_full(&mounted.put(vec![block(b"new")]).await.unwrap_err()));
        assert!(is_full(
            &mounted.put(vec![block(b"old"), block(b"new")]).await.unwrap_err()
        ));
        assert_eq!(mounted.has(&[*block(b"new").cid()]).await.unwrap(), [false]);
        let refused = mounted.commit(vec![], put(2)).await.unwrap_err();
        assert!(matches!(refused, CommitError::Store(error) if is_full(&error)));
        // Who is too late is told so all the same.
        let late = vec![Cond::Is("001".to_owned(), first + 7)];
        let late = mounted.commit(late, put(1)).await.unwrap_err();
        assert!(matches!(late, CommitError::Conflict(_)));

        mounted.put(vec![block(b"old")]).await.unwrap();
        let gone = vec![Op::Delete("001".to_owned())];
        mounted.commit(vec![], gone).await.unwrap();
        mounted.condemn(&[*block(b"old").cid()]).await.unwrap();
        assert_eq!(mounted.sweep(&[*block(b"old").cid()]).await.unwrap(), [true]);
        let found = RecordStore::list(&mounted, "", None, 9).await.unwrap();
        assert!(found.is_empty());

        disk.set_full(false);
        mounted.room(1).unwrap();
        mounted.put(vec![block(b"new")]).await.unwrap();
        mounted.commit(vec![], put(2)).await.unwrap();
    }
}
