//! What every implementation of the two ports must do. Each check begins with an empty store.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use bytes::Bytes;
use cargomail_protocol::dag::{Codec, VerifiedBlock};
use cargomail_protocol::limits;
use cid::Cid;
use futures::future::join_all;

use super::{BlockStore, Change, CommitError, Cond, Op, RecordStore, StoreError};

/// One test for each check; `$open` gives what keeps the store open, its blocks and its records.
macro_rules! conforms {
    ($open:path) => {
        crate::store::conformance::conforms! { $open;
            a_block_comes_back_as_it_was_put
            blocks_may_be_empty_and_as_large_as_any
            a_block_that_is_here_is_put_again_without_effect
            one_batch_may_hold_a_block_twice
            a_block_that_is_written_is_there_once_it_is_durable
            an_unknown_block_is_none
            a_name_of_another_hash_names_nothing
            has_answers_in_the_order_asked
            blocks_are_listed_in_ascending_order_page_by_page
            a_swept_block_is_gone_and_may_come_again
            c10_only_what_is_condemned_is_swept
            c10_a_condemned_block_that_is_put_again_stays
            c10_a_condemned_block_that_is_kept_stays_and_what_is_not_here_is_told
            c10_sweeping_races_putting_and_no_put_is_lost
            many_who_put_at_once_lose_nothing
            a_record_comes_back_with_the_version_of_its_commit
            records_come_back_in_the_order_asked
            a_condition_that_does_not_hold_changes_nothing
            a_commit_in_two_steps_is_there_once_it_is_durable_and_tells_of_a_conflict
            a_version_that_is_old_is_a_conflict
            of_many_who_make_the_same_record_one_does
            many_who_count_at_once_miss_no_number
            a_removed_record_is_absent_and_may_be_made_again
            removing_what_is_absent_is_no_error
            the_last_of_two_changes_of_a_record_counts
            a_commit_of_nothing_still_asks_its_conditions
            records_are_listed_in_order_and_only_with_their_prefix
            a_page_begins_after_the_key_that_ended_the_last
            paging_under_change_shows_everything_that_stayed
            changes_are_told_in_order_and_by_whole_commits
            changes_go_on_after_any_commit
            what_is_larger_than_a_record_is_refused
        }
    };
    ($open:path; $($check:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            let (_kept, blocks, records) = $open().await;
            let ports = crate::store::conformance::Ports { blocks: &*blocks, records: &*records };
            crate::store::conformance::$check(ports).await;
        })*
    };
}
pub(crate) use conforms;

/// What is checked.
#[derive(Clone, Copy)]
pub(crate) struct Ports<'a> {
    pub(crate) blocks: &'a dyn BlockStore,
    pub(crate) records: &'a dyn RecordStore,
}

/// A block of a text.
pub(crate) fn block(text: impl AsRef<[u8]>) -> VerifiedBlock {
    VerifiedBlock::hash(Codec::Raw, Bytes::copy_from_slice(text.as_ref())).unwrap()
}

/// The change that writes a text.
pub(crate) fn put(key: &str, value: &str) -> Op {
    Op::Put(key.to_owned(), Bytes::copy_from_slice(value.as_bytes()))
}

fn digest(cid: &Cid) -> [u8; 32] {
    cid.hash().digest().try_into().unwrap()
}

async fn keys(records: &dyn RecordStore, prefix: &str) -> Vec<String> {
    let found = records.list(prefix, None, usize::MAX).await.unwrap();
    found.into_iter().map(|record| record.key).collect()
}

async fn value(records: &dyn RecordStore, key: &str) -> Option<Bytes> {
    let found = records.get(&[key.to_owned()]).await.unwrap();
    assert_eq!(found.len(), 1);
    found.into_iter().next().flatten().map(|record| record.value)
}

pub(crate) async fn a_block_comes_back_as_it_was_put(Ports { blocks, .. }: Ports<'_>) {
    let photo = block("a photo");
    blocks.put(vec![photo.clone()]).await.unwrap();
    assert_eq!(blocks.get(photo.cid()).await.unwrap().unwrap(), *photo.bytes());
}

pub(crate) async fn blocks_may_be_empty_and_as_large_as_any(Ports { blocks, .. }: Ports<'_>) {
    let all: Vec<_> = [
        0,
        1,
        127 * 1024,
        128 * 1024,
        300 * 1024,
        limits::LEAF,
        limits::BLOCK,
    ]
    .into_iter()
    .map(|size| block(vec![7; size]))
    .collect();
    blocks.put(all.clone()).await.unwrap();
    for block in all {
        assert_eq!(blocks.get(block.cid()).await.unwrap().unwrap(), *block.bytes());
    }
}

pub(crate) async fn a_block_that_is_here_is_put_again_without_effect(Ports { blocks, .. }: Ports<'_>) {
    let photo = block("a photo");
    for _ in 0..3 {
        blocks.put(vec![photo.clone()]).await.unwrap();
    }
    assert_eq!(blocks.list(None, 10).await.unwrap(), [(digest(photo.cid()), 7)]);
}

pub(crate) async fn one_batch_may_hold_a_block_twice(Ports { blocks, .. }: Ports<'_>) {
    blocks
        .put(vec![block("a photo"), block("a photo")])
        .await
        .unwrap();
    blocks.put(Vec::new()).await.unwrap();
    assert_eq!(blocks.list(None, 10).await.unwrap().len(), 1);
}

pub(crate) async fn a_block_that_is_written_is_there_once_it_is_durable(Ports { blocks, .. }: Ports<'_>) {
    let photo = block("a photo");
    let first = blocks.write(vec![photo.clone(), block("a scan")]).await.unwrap();
    // Nobody waits for this one.
    drop(blocks.write(vec![block("a letter")]).await.unwrap());
    let last = blocks.write(vec![photo.clone()]).await.unwrap();
    first.await.unwrap();
    last.await.unwrap();
    blocks.write(Vec::new()).await.unwrap().await.unwrap();
    assert_eq!(
        blocks.get(photo.cid()).await.unwrap().as_ref(),
        Some(photo.bytes())
    );
    assert_eq!(blocks.list(None, 10).await.unwrap().len(), 3);
}

pub(crate) async fn an_unknown_block_is_none(Ports { blocks, .. }: Ports<'_>) {
    assert_eq!(blocks.get(block("nobody's").cid()).await.unwrap(), None);
}

pub(crate) async fn a_name_of_another_hash_names_nothing(Ports { blocks, .. }: Ports<'_>) {
    let photo = block("a photo");
    blocks.put(vec![photo.clone()]).await.unwrap();
    let hash = multihash(0x1b, photo.cid().hash().digest());
    let keccak = Cid::new_v1(0x55, hash);
    assert_eq!(blocks.get(&keccak).await.unwrap(), None);
    assert_eq!(blocks.has(&[keccak, *photo.cid()]).await.unwrap(), [false, true]);
    blocks.condemn(&[keccak]).await.unwrap();
    assert_eq!(blocks.sweep(&[keccak]).await.unwrap(), [false]);
    assert!(blocks.get(photo.cid()).await.unwrap().is_some());
}

fn multihash(code: u64, digest: &[u8]) -> cid::multihash::Multihash<64> {
    cid::multihash::Multihash::wrap(code, digest).unwrap()
}

pub(crate) async fn has_answers_in_the_order_asked(Ports { blocks, .. }: Ports<'_>) {
    blocks.put(vec![block("1"), block("3")]).await.unwrap();
    let asked: Vec<_> = ["3", "2", "1", "3"]
        .iter()
        .map(|text| *block(text).cid())
        .collect();
    assert_eq!(blocks.has(&asked).await.unwrap(), [true, false, true, true]);
    assert_eq!(blocks.has(&[]).await.unwrap(), Vec::<bool>::new());
}

pub(crate) async fn blocks_are_listed_in_ascending_order_page_by_page(Ports { blocks, .. }: Ports<'_>) {
    let all: Vec<_> = (0..100).map(|n| block(format!("block {n}"))).collect();
    blocks.put(all.clone()).await.unwrap();
    let expected: BTreeSet<_> = all
        .iter()
        .map(|block| (digest(block.cid()), block.bytes().len() as u32))
        .collect();
    let mut listed = Vec::new();
    loop {
        let after = listed.last().map(|(digest, _)| *digest);
        let page = blocks.list(after, 7).await.unwrap();
        assert!(page.len() <= 7);
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    assert_eq!(listed, expected.into_iter().collect::<Vec<_>>());
    assert!(blocks.list(None, 0).await.unwrap().is_empty());
}

pub(crate) async fn a_swept_block_is_gone_and_may_come_again(Ports { blocks, .. }: Ports<'_>) {
    let (photo, letter) = (block("a photo"), block("a letter"));
    blocks.put(vec![photo.clone(), letter.clone()]).await.unwrap();
    let (gone, nobodys) = (*photo.cid(), *block("nobody's").cid());
    blocks.condemn(&[gone, nobodys]).await.unwrap();
    let swept = blocks.sweep(&[gone, nobodys, gone]).await.unwrap();
    assert_eq!(swept, [true, false, false]);
    assert_eq!(
        blocks.has(&[*photo.cid(), *letter.cid()]).await.unwrap(),
        [false, true]
    );
    assert_eq!(blocks.get(photo.cid()).await.unwrap(), None);
    assert_eq!(blocks.list(None, 10).await.unwrap().len(), 1);
    blocks.put(vec![photo.clone()]).await.unwrap();
    assert_eq!(blocks.get(photo.cid()).await.unwrap().unwrap(), *photo.bytes());
}

pub(crate) async fn c10_only_what_is_condemned_is_swept(Ports { blocks, .. }: Ports<'_>) {
    let (photo, letter) = (block("a photo"), block("a letter"));
    let both = [*photo.cid(), *letter.cid()];
    blocks.put(vec![photo.clone(), letter.clone()]).await.unwrap();
    assert_eq!(blocks.sweep(&both).await.unwrap(), [false, false]);
    blocks.condemn(&both).await.unwrap();
    // What is said last counts.
    blocks.condemn(&[*letter.cid()]).await.unwrap();
    assert_eq!(blocks.sweep(&both).await.unwrap(), [false, true]);
    assert_eq!(blocks.has(&both).await.unwrap(), [true, false]);
}

pub(crate) async fn c10_a_condemned_block_that_is_put_again_stays(Ports { blocks, .. }: Ports<'_>) {
    let photo = block("a photo");
    let name = [*photo.cid()];
    blocks.put(vec![photo.clone()]).await.unwrap();
    blocks.condemn(&name).await.unwrap();
    blocks.put(vec![photo.clone()]).await.unwrap();
    assert_eq!(blocks.sweep(&name).await.unwrap(), [false]);
    assert_eq!(blocks.get(photo.cid()).await.unwrap().unwrap(), *photo.bytes());
    // A new word is needed, and it holds once.
    blocks.condemn(&name).await.unwrap();
    assert_eq!(blocks.sweep(&name).await.unwrap(), [true]);
    blocks.put(vec![photo]).await.unwrap();
    assert_eq!(blocks.sweep(&name).await.unwrap(), [false]);
}

pub(crate) async fn c10_a_condemned_block_that_is_kept_stays_and_what_is_not_here_is_told(
    Ports { blocks, .. }: Ports<'_>,
) {
    let (photo, text) = (block("a photo"), block("a text"));
    let both = [*photo.cid(), *text.cid()];
    blocks.put(vec![photo.clone()]).await.unwrap();
    blocks.condemn(&both).await.unwrap();
    assert_eq!(blocks.keep(&both).await.unwrap(), [true, false]);
    assert_eq!(blocks.sweep(&both).await.unwrap(), [false, false]);
    assert_eq!(blocks.get(photo.cid()).await.unwrap().unwrap(), *photo.bytes());
    blocks.condemn(&both).await.unwrap();
    assert_eq!(blocks.sweep(&both).await.unwrap(), [true, false]);
    assert_eq!(blocks.keep(&both).await.unwrap(), [false, false]);
}

pub(crate) async fn c10_sweeping_races_putting_and_no_put_is_lost(Ports { blocks, .. }: Ports<'_>) {
    let photo = block("a photo");
    let name = [*photo.cid()];
    let (mut swept, mut kept) = (0, 0);
    for round in 0..200 {
        blocks.put(vec![photo.clone()]).await.unwrap();
        blocks.condemn(&name).await.unwrap();
        let putting = async {
            if round % 3 == 0 {
                tokio::task::yield_now().await;
            }
            blocks.put(vec![photo.clone()]).await.unwrap();
        };
        let ((), gone) = tokio::join!(putting, blocks.sweep(&name));
        match gone.unwrap()[0] {
            true => swept += 1,
            false => kept += 1,
        }
        let found = blocks.get(photo.cid()).await.unwrap();
        assert_eq!(
            found.unwrap(),
            *photo.bytes(),
            "whichever came first, the put holds"
        );
    }
    assert_eq!(swept + kept, 200);
}

pub(crate) async fn many_who_put_at_once_lose_nothing(Ports { blocks, .. }: Ports<'_>) {
    let all: Vec<Vec<_>> = (0..64)
        .map(|writer| (0..8).map(|n| block(format!("{writer} {}", n % 5))).collect())
        .collect();
    for put in join_all(all.iter().map(|batch| blocks.put(batch.clone()))).await {
        put.unwrap();
    }
    for block in all.iter().flatten() {
        assert_eq!(blocks.get(block.cid()).await.unwrap().unwrap(), *block.bytes());
    }
    assert_eq!(blocks.list(None, 1000).await.unwrap().len(), 64 * 5);
}

pub(crate) async fn a_record_comes_back_with_the_version_of_its_commit(Ports { records, .. }: Ports<'_>) {
    let first = records
        .commit(vec![], vec![put("user/alice", "1")])
        .await
        .unwrap();
    let second = records
        .commit(vec![], vec![put("user/bob", "2"), put("user/carol", "")])
        .await
        .unwrap();
    assert!(first < second);
    for (key, version, value) in [
        ("user/alice", first, "1"),
        ("user/bob", second, "2"),
        ("user/carol", second, ""),
    ] {
        let found = records.get(&[key.to_owned()]).await.unwrap().remove(0).unwrap();
        assert_eq!(
            (found.key.as_str(), found.version, found.value.as_ref()),
            (key, version, value.as_bytes())
        );
    }
}

pub(crate) async fn records_come_back_in_the_order_asked(Ports { records, .. }: Ports<'_>) {
    records
        .commit(vec![], vec![put("a", "1"), put("b", "2")])
        .await
        .unwrap();
    let asked = ["b", "nobody", "a", "b"].map(ToOwned::to_owned);
    let found = records.get(&asked).await.unwrap();
    let keys: Vec<_> = found
        .iter()
        .map(|record| record.as_ref().map(|record| record.key.as_str()))
        .collect();
    assert_eq!(keys, [Some("b"), None, Some("a"), Some("b")]);
}

pub(crate) async fn a_condition_that_does_not_hold_changes_nothing(Ports { records, .. }: Ports<'_>) {
    records.commit(vec![], vec![put("a", "1")]).await.unwrap();
    let when = vec![Cond::Absent("b".to_owned()), Cond::Absent("a".to_owned())];
    let refused = records
        .commit(when, vec![put("b", "2"), Op::Delete("a".to_owned())])
        .await;
    assert!(matches!(refused, Err(CommitError::Conflict(key)) if key == "a"));
    assert_eq!(value(records, "a").await.unwrap(), "1");
    assert_eq!(value(records, "b").await, None);
    let missing = records
        .commit(vec![Cond::Is("b".to_owned(), 1)], vec![put("b", "2")])
        .await;
    assert!(matches!(missing, Err(CommitError::Conflict(key)) if key == "b"));
}

pub(crate) async fn a_version_that_is_old_is_a_conflict(Ports { records, .. }: Ports<'_>) {
    let old = records.commit(vec![], vec![put("a", "1")]).await.unwrap();
    let is = |version| vec![Cond::Is("a".to_owned(), version)];
    let new = records.commit(is(old), vec![put("a", "2")]).await.unwrap();
    let refused = records.commit(is(old), vec![put("a", "3")]).await;
    assert!(matches!(refused, Err(CommitError::Conflict(_))));
    records.commit(is(new), vec![put("a", "4")]).await.unwrap();
    assert_eq!(value(records, "a").await.unwrap(), "4");
}

pub(crate) async fn of_many_who_make_the_same_record_one_does(Ports { records, .. }: Ports<'_>) {
    let attempts = (0..50).map(|n| {
        records.commit(
            vec![Cond::Absent("first".to_owned())],
            vec![put("first", &n.to_string())],
        )
    });
    let done = join_all(attempts).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1);
    let winner = done.iter().position(Result::is_ok).unwrap();
    assert_eq!(value(records, "first").await.unwrap(), winner.to_string());
}

pub(crate) async fn many_who_count_at_once_miss_no_number(Ports { records, .. }: Ports<'_>) {
    let start = records.commit(vec![], vec![put("count", "0")]).await.unwrap();
    let count = |_| async move {
        loop {
            let record = records
                .get(&["count".to_owned()])
                .await
                .unwrap()
                .remove(0)
                .unwrap();
            let next: u32 = std::str::from_utf8(&record.value)
                .unwrap()
                .parse::<u32>()
                .unwrap()
                + 1;
            let when = vec![Cond::Is("count".to_owned(), record.version)];
            match records.commit(when, vec![put("count", &next.to_string())]).await {
                Ok(version) => return version,
                Err(error) => assert!(matches!(error, CommitError::Conflict(_))),
            }
        }
    };
    let versions: BTreeSet<_> = join_all((0..20).map(count)).await.into_iter().collect();
    assert_eq!(versions.len(), 20);
    assert!(versions.iter().all(|version| *version > start));
    assert_eq!(value(records, "count").await.unwrap(), "20");
}

pub(crate) async fn a_removed_record_is_absent_and_may_be_made_again(Ports { records, .. }: Ports<'_>) {
    records
        .commit(vec![], vec![put("a", "1"), put("b", "1")])
        .await
        .unwrap();
    records
        .commit(vec![], vec![Op::Delete("a".to_owned())])
        .await
        .unwrap();
    assert_eq!(value(records, "a").await, None);
    assert_eq!(keys(records, "").await, ["b"]);
    records
        .commit(vec![Cond::Absent("a".to_owned())], vec![put("a", "2")])
        .await
        .unwrap();
    assert_eq!(value(records, "a").await.unwrap(), "2");
}

pub(crate) async fn removing_what_is_absent_is_no_error(Ports { records, .. }: Ports<'_>) {
    records
        .commit(vec![], vec![Op::Delete("nobody".to_owned())])
        .await
        .unwrap();
    assert!(keys(records, "").await.is_empty());
}

pub(crate) async fn the_last_of_two_changes_of_a_record_counts(Ports { records, .. }: Ports<'_>) {
    let delete = |key: &str| Op::Delete(key.to_owned());
    let ops = vec![
        put("a", "1"),
        put("a", "2"),
        put("b", "1"),
        delete("b"),
        delete("c"),
        put("c", "1"),
    ];
    records.commit(vec![], ops).await.unwrap();
    assert_eq!(value(records, "a").await.unwrap(), "2");
    assert_eq!(keys(records, "").await, ["a", "c"]);
}

pub(crate) async fn a_commit_in_two_steps_is_there_once_it_is_durable_and_tells_of_a_conflict(
    Ports { records, .. }: Ports<'_>,
) {
    let absent = || vec![Cond::Absent("a".to_owned())];
    let settling = records.write(absent(), vec![put("a", "1")]).await.unwrap();
    settling.await.unwrap();
    let refused = match records.write(absent(), vec![put("a", "2")]).await {
        Ok(settling) => settling.await,
        Err(error) => Err(error),
    };
    assert!(matches!(refused, Err(CommitError::Conflict(key)) if key == "a"));
    let large = vec![put("a", &"x".repeat(limits::RECORD + 1))];
    let refused = records.write(Vec::new(), large).await.err();
    assert!(matches!(
        refused,
        Some(CommitError::Store(StoreError::TooLarge { .. }))
    ));
    let found = records.get(&["a".to_owned()]).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().value, "1");
}

pub(crate) async fn a_commit_of_nothing_still_asks_its_conditions(Ports { records, .. }: Ports<'_>) {
    let version = records.commit(vec![], vec![put("a", "1")]).await.unwrap();
    let asked = records
        .commit(vec![Cond::Is("a".to_owned(), version)], vec![])
        .await;
    assert_eq!(asked.unwrap(), version);
    let refused = records.commit(vec![Cond::Absent("a".to_owned())], vec![]).await;
    assert!(matches!(refused, Err(CommitError::Conflict(_))));
    assert_eq!(records.changes(version, 10).await.unwrap(), []);
}

pub(crate) async fn records_are_listed_in_order_and_only_with_their_prefix(Ports { records, .. }: Ports<'_>) {
    let written = [
        "share/2", "share", "share/", "share/10", "share0", "sharf", "shar", "a", "share/ä",
    ];
    for key in written {
        records.commit(vec![], vec![put(key, key)]).await.unwrap();
    }
    assert_eq!(
        keys(records, "share/").await,
        ["share/", "share/10", "share/2", "share/ä"]
    );
    assert_eq!(keys(records, "share/1").await, ["share/10"]);
    assert_eq!(keys(records, "nobody/").await, Vec::<String>::new());
    let mut all = written.to_vec();
    all.sort_unstable();
    assert_eq!(keys(records, "").await, all);
    for record in records.list("", None, 100).await.unwrap() {
        assert_eq!(record.value, record.key);
    }
}

pub(crate) async fn a_page_begins_after_the_key_that_ended_the_last(Ports { records, .. }: Ports<'_>) {
    let ops = (0..25).map(|n| put(&format!("queue/{n:03}"), "mail")).collect();
    records.commit(vec![], ops).await.unwrap();
    records
        .commit(vec![], vec![put("queua", ""), put("queuf", "")])
        .await
        .unwrap();
    let mut listed = Vec::new();
    loop {
        let after = listed.last().map(String::as_str);
        let page = records.list("queue/", after, 10).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 10);
        listed.extend(page.into_iter().map(|record| record.key));
    }
    assert_eq!(
        listed,
        (0..25).map(|n| format!("queue/{n:03}")).collect::<Vec<_>>()
    );
    assert!(
        records
            .list("queue/", Some("queuf"), 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        records.list("queue/", Some("a"), 1).await.unwrap()[0].key,
        "queue/000"
    );
    assert!(records.list("queue/", None, 0).await.unwrap().is_empty());
}

pub(crate) async fn paging_under_change_shows_everything_that_stayed(Ports { records, .. }: Ports<'_>) {
    let ops = (0..40).map(|n| put(&format!("q/{n:03}"), "stays")).collect();
    records.commit(vec![], ops).await.unwrap();
    let mut listed = BTreeSet::new();
    let mut after: Option<String> = None;
    for round in 0.. {
        let page = records.list("q/", after.as_deref(), 5).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        listed.extend(page.into_iter().map(|record| record.key));
        let ops = vec![
            put(&format!("q/{:03}+", round * 7 % 40), "comes"),
            Op::Delete(format!("q/{:03}+", (round * 7 + 21) % 40)),
            put(&format!("q/{:03}", round * 11 % 40), "stays"),
        ];
        records.commit(vec![], ops).await.unwrap();
    }
    for n in 0..40 {
        assert!(listed.contains(&format!("q/{n:03}")));
    }
}

pub(crate) async fn changes_are_told_in_order_and_by_whole_commits(Ports { records, .. }: Ports<'_>) {
    let change = |version, key: &str, value: Option<&str>| Change {
        version,
        key: key.to_owned(),
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
    };
    assert_eq!(records.changes(0, 10).await.unwrap(), []);
    let first = records
        .commit(vec![], vec![put("a", "1"), put("b", "2"), put("a", "3")])
        .await
        .unwrap();
    let second = records
        .commit(vec![], vec![Op::Delete("a".to_owned())])
        .await
        .unwrap();
    let of_first = [
        change(first, "a", Some("1")),
        change(first, "b", Some("2")),
        change(first, "a", Some("3")),
    ];
    let of_second = [change(second, "a", None)];
    assert_eq!(records.changes(0, 1).await.unwrap(), of_first);
    assert_eq!(
        records.changes(0, 4).await.unwrap(),
        [&of_first[..], &of_second].concat()
    );
    assert_eq!(records.changes(first, 10).await.unwrap(), of_second);
    assert_eq!(records.changes(second, 10).await.unwrap(), []);
    assert_eq!(records.changes(second + 7, 10).await.unwrap(), []);
    assert_eq!(records.changes(u64::MAX, 10).await.unwrap(), []);
}

pub(crate) async fn changes_go_on_after_any_commit(Ports { records, .. }: Ports<'_>) {
    let long = "x".repeat(3000);
    let mut versions = Vec::new();
    for n in 0..100 {
        versions.push(
            records
                .commit(vec![], vec![put(&format!("k{n}"), &long)])
                .await
                .unwrap(),
        );
    }
    for (n, version) in versions.iter().enumerate() {
        let told = records.changes(*version, 2).await.unwrap();
        let told: Vec<_> = told.into_iter().map(|change| change.key).collect();
        let expected: Vec<_> = (n + 1..100.min(n + 3)).map(|n| format!("k{n}")).collect();
        assert_eq!(told, expected);
    }
}

pub(crate) async fn what_is_larger_than_a_record_is_refused(Ports { records, .. }: Ports<'_>) {
    let key = "k".repeat(limits::RECORD_KEY);
    let value = "v".repeat(limits::RECORD);
    records.commit(vec![], vec![put(&key, &value)]).await.unwrap();
    assert_eq!(self::value(records, &key).await.unwrap(), value);
    for op in [
        put(&(key.clone() + "k"), ""),
        Op::Delete(key.clone() + "k"),
        put("a", &(value.clone() + "v")),
    ] {
        let refused = records.commit(vec![], vec![op]).await;
        assert!(matches!(
            refused,
            Err(CommitError::Store(StoreError::TooLarge { .. }))
        ));
    }
    let many = (0..17).map(|n| put(&n.to_string(), &value)).collect();
    let refused = records.commit(vec![], many).await;
    assert!(matches!(
        refused,
        Err(CommitError::Store(StoreError::TooLarge { .. }))
    ));
    assert_eq!(keys(records, "").await, [key]);
}
