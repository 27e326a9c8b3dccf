//! Stops, deletions and damage.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{KIND, leave, open};
use crate::store::checkpoint::Checkpoint;
use crate::store::conformance::{block, put};
use crate::store::{CommitError, Embedded, IndexKind, Op, StoreError};

const BLOCKS: usize = 60;
const COMMITS: usize = 60;

fn text(n: usize) -> String {
    format!("block {n} {}", "x".repeat(n * 40))
}

async fn fill(store: &Embedded) {
    for n in 0..BLOCKS {
        store.blocks().put(vec![block(text(n))]).await.unwrap();
    }
    for n in 0..COMMITS {
        let ops = vec![
            put(&format!("mail/{n:03}"), &text(n)),
            put("last", &n.to_string()),
        ];
        store.records().commit(vec![], ops).await.unwrap();
    }
    let gone: Vec<_> = (0..5).map(|n| *block(text(n)).cid()).collect();
    store.blocks().condemn(&gone).await.unwrap();
    store.blocks().sweep(&gone).await.unwrap();
    store.blocks().put(vec![block(text(0))]).await.unwrap();
    let ops = vec![
        Op::Delete("mail/003".to_owned()),
        Op::Delete("mail/004".to_owned()),
        put("mail/003", "again"),
    ];
    store.records().commit(vec![], ops).await.unwrap();
}

/// Everything that [`fill`] left is there, and nothing else.
async fn check(store: &Embedded) {
    let blocks = store.blocks();
    for n in 0..BLOCKS {
        let found = blocks.get(block(text(n)).cid()).await.unwrap();
        assert_eq!(found.is_some(), n == 0 || n >= 5, "block {n}");
        assert!(found.is_none_or(|found| found == text(n)));
    }
    assert_eq!(blocks.list(None, 1000).await.unwrap().len(), BLOCKS - 4);
    let records = store.records();
    let mails = records.list("mail/", None, 1000).await.unwrap();
    assert_eq!(mails.len(), COMMITS - 1);
    for mail in mails {
        let n: usize = mail.key[5..].parse().unwrap();
        let expected = if n == 3 { "again".to_owned() } else { text(n) };
        assert_eq!(mail.value, expected);
        assert_eq!(
            mail.version,
            if n == 3 { COMMITS as u64 + 1 } else { n as u64 + 1 }
        );
    }
    let changes = records.changes(0, usize::MAX).await.unwrap();
    assert_eq!(changes.len(), 2 * COMMITS + 3);
    assert_eq!(changes.last().unwrap().version, COMMITS as u64 + 1);
}

pub(super) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = ["packs", "journal"]
        .iter()
        .flat_map(|name| fs::read_dir(folder.join(name)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().unwrap() == extension)
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn everything_is_there_after_an_orderly_stop() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    store.close().await.unwrap();
    for _ in 0..3 {
        let store = open(folder.path()).await;
        check(&store).await;
        store.close().await.unwrap();
    }
    assert!(files(folder.path(), "pack").len() > 2);
    assert!(files(folder.path(), "log").len() > 2);
}

#[tokio::test]
async fn everything_is_there_when_it_was_not_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    drop(store);
    for _ in 0..2 {
        let store = open(folder.path()).await;
        check(&store).await;
        assert_eq!(store.damages(), []);
    }
    let store = open(folder.path()).await;
    let next = store
        .records()
        .commit(vec![], vec![put("next", "")])
        .await
        .unwrap();
    assert_eq!(next, COMMITS as u64 + 2);
}

#[tokio::test]
async fn whoever_holds_a_port_of_a_closed_store_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let (blocks, records) = (store.blocks(), store.records());
    store.close().await.unwrap();
    assert!(matches!(
        blocks.put(vec![block("late")]).await,
        Err(StoreError::Closed)
    ));
    assert!(matches!(
        blocks.get(block("late").cid()).await,
        Err(StoreError::Closed)
    ));
    let refused = records.commit(vec![], vec![put("late", "")]).await;
    assert!(matches!(refused, Err(CommitError::Store(StoreError::Closed))));
    open(folder.path()).await.close().await.unwrap();
}

type Spoil = fn(&Path);

/// The file of the view that has its pages.
fn pages(view: &Path) -> PathBuf {
    match KIND {
        IndexKind::Sled => view.join("db"),
        IndexKind::Redb => view.to_owned(),
    }
}

fn remove(view: &Path) {
    match KIND {
        IndexKind::Sled => fs::remove_dir_all(view).unwrap(),
        IndexKind::Redb => fs::remove_file(view).unwrap(),
    }
}

#[tokio::test]
async fn nothing_is_lost_with_the_view() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    store.close().await.unwrap();
    let view = KIND.path(folder.path());
    let spoil: [(&str, Spoil); 6] = [
        ("deleted", remove),
        ("of another kind", |view| {
            remove(view);
            match KIND {
                IndexKind::Sled => fs::write(view, "no folder").unwrap(),
                IndexKind::Redb => fs::create_dir(view).unwrap(),
            }
        }),
        ("garbage", |view| fs::write(pages(view), [0xa5; 100_000]).unwrap()),
        ("zeros", |view| fs::write(pages(view), [0; 100_000]).unwrap()),
        ("cut", |view| {
            File::options()
                .write(true)
                .open(pages(view))
                .unwrap()
                .set_len(5000)
                .unwrap()
        }),
        ("empty, but sound", |view| {
            remove(view);
            match KIND {
                IndexKind::Sled => drop(sled::open(view).unwrap()),
                IndexKind::Redb => drop(redb::Database::create(view).unwrap()),
            }
        }),
    ];
    for (how, spoil) in spoil {
        spoil(&view);
        let store = open(folder.path()).await;
        assert_eq!(store.damages(), [], "{how}");
        check(&store).await;
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_view_that_fails_while_it_is_open_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    let ops = (0..10_000).map(|n| put(&format!("{n:0>500}"), "")).collect();
    store.records().commit(vec![], ops).await.unwrap();
    let db = File::options()
        .write(true)
        .open(pages(&KIND.path(folder.path())))
        .unwrap();
    // The next file of the journal has the view made durable, with everything in it.
    let last = store.records().commit(vec![], vec![put("more", "")]).await.unwrap();
    let begin = Instant::now();
    let covers = |checkpoint: Checkpoint| checkpoint.index.is_some_and(|known| known.covered.version >= last - 1);
    while !Checkpoint::read(&folder.path().join("CHECKPOINT"))
        .unwrap()
        .is_some_and(covers)
    {
        assert!(begin.elapsed() < Duration::from_secs(60), "the view never settles");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let length = db.metadata().unwrap().len();
    assert!(length > 1024 * 1024, "the view is larger than its cache");
    db.write_all_at(&vec![0xa5; length as usize], 0).unwrap();
    let found = store.records().list("0", None, 20_000).await.unwrap();
    assert_eq!(found.len(), 10_000);
    assert_eq!(
        store.records().list("mail/", None, 1000).await.unwrap().len(),
        COMMITS - 1
    );
    store
        .records()
        .commit(vec![], vec![put("next", "")])
        .await
        .unwrap();
    store.close().await.unwrap();
    let store = open(folder.path()).await;
    assert_eq!(store.damages(), []);
    assert_eq!(
        store.records().list("", None, 20_000).await.unwrap().len(),
        10_000 + COMMITS + 2
    );
}

#[tokio::test]
async fn nothing_is_lost_with_the_checkpoint_or_the_indexes_of_packs() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    store.close().await.unwrap();
    for garbage in [true, false] {
        for path in files(folder.path(), "idx")
            .into_iter()
            .chain([folder.path().join("CHECKPOINT")])
        {
            if garbage {
                fs::write(path, "garbage\nabcdef01\n").unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        let store = open(folder.path()).await;
        assert_eq!(store.damages(), []);
        check(&store).await;
        store.close().await.unwrap();
    }
    assert_eq!(
        files(folder.path(), "idx").len() + 1,
        files(folder.path(), "pack").len()
    );
}

#[tokio::test]
async fn a_view_of_another_time_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store
        .records()
        .commit(vec![], vec![put("before", "")])
        .await
        .unwrap();
    store.close().await.unwrap();
    let (view, old) = (KIND.path(folder.path()), folder.path().join("old"));
    fs::rename(&view, &old).unwrap();
    let store = open(folder.path()).await;
    fill_from_second(&store).await;
    store.close().await.unwrap();
    remove(&view);
    fs::rename(&old, &view).unwrap();
    let store = open(folder.path()).await;
    assert_eq!(store.records().list("", None, 10).await.unwrap().len(), 2);
    assert!(store.blocks().has(&[*block("second").cid()]).await.unwrap()[0]);
}

async fn fill_from_second(store: &Embedded) {
    store
        .records()
        .commit(vec![], vec![put("second", "")])
        .await
        .unwrap();
    store.blocks().put(vec![block("second")]).await.unwrap();
}

/// Alice's block and record, then Bob's, of which only a part is on the disk.
async fn cut_the_last_write(extension: &str, left: impl Fn(u64, u64) -> u64) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let length = |extension: &str| {
        fs::metadata(files(folder.path(), extension).pop().unwrap())
            .unwrap()
            .len()
    };
    let write = async |who: &str| {
        store.blocks().put(vec![block(who)]).await.unwrap();
        store.records().commit(vec![], vec![put(who, who)]).await.unwrap();
    };
    write("alice").await;
    let from = length(extension);
    let checkpoint = folder.path().join("CHECKPOINT");
    let before = fs::read(&checkpoint).unwrap();
    write("bob").await;
    let to = length(extension);
    leave(store, folder.path());
    // Of a write that nobody was told of, no checkpoint tells either.
    fs::write(&checkpoint, before).unwrap();
    let path = files(folder.path(), extension).pop().unwrap();
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(left(from, to))
        .unwrap();

    let store = open(folder.path()).await;
    assert_eq!(store.damages(), []);
    let here = store
        .blocks()
        .has(&[*block("alice").cid(), *block("bob").cid()])
        .await
        .unwrap();
    let keys: Vec<_> = store
        .records()
        .list("", None, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|r| r.key)
        .collect();
    if extension == "pack" {
        assert_eq!(
            (here, keys),
            (vec![true, false], vec!["alice".to_owned(), "bob".to_owned()])
        );
    } else {
        assert_eq!((here, keys), (vec![true, true], vec!["alice".to_owned()]));
    }
    store.blocks().put(vec![block("bob")]).await.unwrap();
    store
        .records()
        .commit(vec![], vec![put("bob", "again")])
        .await
        .unwrap();
    drop(store);
    let store = open(folder.path()).await;
    assert_eq!(store.damages(), []);
    assert_eq!(
        store.blocks().get(block("bob").cid()).await.unwrap().unwrap(),
        "bob"
    );
    assert_eq!(store.records().list("", None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn q05_the_torn_end_of_a_write_is_cut_off() {
    for extension in ["pack", "log"] {
        for octets in [1, 4, 47, 48, 49] {
            cut_the_last_write(extension, |from, _| from + octets).await;
            cut_the_last_write(extension, |_, to| to - octets).await;
        }
    }
}

/// Overwrites octets of a file where they stand, and tells where that was.
pub(super) fn overwrite(path: &Path, old: &[u8], shift: i64, new: &[u8]) -> u64 {
    let octets = fs::read(path).unwrap();
    let at = octets.windows(old.len()).position(|some| some == old).unwrap() as i64 + shift;
    // What stands there may be the same by chance.
    let there = &octets[at as usize..][..new.len()];
    let other: Vec<u8> = there.iter().map(|octet| !octet).collect();
    let new = if there == new { &other } else { new };
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(new, at as u64)
        .unwrap();
    at as u64
}

#[tokio::test]
async fn q07_a_damaged_block_is_reported_and_not_served_and_may_be_stored_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let (photo, letter) = (block("a photo of carol"), block("a letter"));
    store
        .blocks()
        .put(vec![photo.clone(), letter.clone()])
        .await
        .unwrap();
    let pack = files(folder.path(), "pack").remove(0);
    overwrite(&pack, b"a photo", 2, b"P");
    let blocks = store.blocks();
    for _ in 0..2 {
        assert!(matches!(
            blocks.get(photo.cid()).await,
            Err(StoreError::Damaged { .. })
        ));
        assert_eq!(
            blocks.has(&[*photo.cid(), *letter.cid()]).await.unwrap(),
            [false, true]
        );
    }
    drop((store, blocks));
    // Nothing was written behind it, but it was synced: it is either damage or a torn end, and never served.
    let store = open(folder.path()).await;
    assert!(!matches!(store.blocks().get(photo.cid()).await, Ok(Some(_))));
    store.blocks().put(vec![photo.clone()]).await.unwrap();
    assert_eq!(
        store.blocks().get(photo.cid()).await.unwrap().unwrap(),
        *photo.bytes()
    );
    drop(store);
    let store = open(folder.path()).await;
    assert_eq!(
        store.blocks().get(photo.cid()).await.unwrap().unwrap(),
        *photo.bytes()
    );
}

#[tokio::test]
async fn q07_damage_before_what_was_written_later_is_no_torn_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for who in ["alice", "bob", "carol"] {
        store
            .blocks()
            .put(vec![block(format!("photo of {who}"))])
            .await
            .unwrap();
        store
            .records()
            .commit(vec![], vec![put(who, &format!("letter of {who}"))])
            .await
            .unwrap();
    }
    leave(store, folder.path());
    let (pack, log) = (
        files(folder.path(), "pack").remove(0),
        files(folder.path(), "log").remove(0),
    );
    // Bob's header, and Bob's value.
    let header = overwrite(&pack, b"photo of bob", -20, b"?") - 28;
    overwrite(&log, b"letter of bob", 3, b"?");
    for _ in 0..2 {
        let store = open(folder.path()).await;
        let damages = store.damages();
        assert_eq!(damages.len(), 2, "{damages:?}");
        assert_eq!((damages[0].from, damages[0].to), (header, header + 48 + 12));
        let photo = |who| *block(format!("photo of {who}")).cid();
        let here = store
            .blocks()
            .has(&[photo("alice"), photo("bob"), photo("carol")])
            .await
            .unwrap();
        assert_eq!(here, [true, false, true]);
        let records = store.records();
        assert!(matches!(
            records.get(&["bob".to_owned()]).await,
            Err(StoreError::Damaged { .. })
        ));
        assert!(matches!(
            records.list("", None, 9).await,
            Err(StoreError::Damaged { .. })
        ));
        assert!(matches!(
            records.changes(0, 9).await,
            Err(StoreError::Damaged { .. })
        ));
        assert_eq!(
            records.list("carol", None, 9).await.unwrap()[0].value,
            "letter of carol"
        );
    }
    let store = open(folder.path()).await;
    store
        .records()
        .commit(vec![], vec![put("bob", "another letter")])
        .await
        .unwrap();
    store.close().await.unwrap();
    let store = open(folder.path()).await;
    assert_eq!(store.records().list("", None, 9).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_commit_that_is_lost_is_reported_and_its_version_not_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for n in 0..3 {
        store
            .records()
            .commit(vec![], vec![put(&format!("mail/{n}"), "a mail that counts")])
            .await
            .unwrap();
    }
    store.close().await.unwrap();
    let log = files(folder.path(), "log").remove(0);
    let length = fs::metadata(&log).unwrap().len();
    File::options()
        .write(true)
        .open(&log)
        .unwrap()
        .set_len(length - 1)
        .unwrap();
    let store = open(folder.path()).await;
    assert!(!store.damages().is_empty());
    assert_eq!(store.records().list("", None, 9).await.unwrap().len(), 2);
    assert_eq!(
        store
            .records()
            .commit(vec![], vec![put("next", "")])
            .await
            .unwrap(),
        4
    );
}

#[tokio::test]
async fn a_file_that_is_not_there_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    leave(store, folder.path());
    let packs = files(folder.path(), "pack");
    fs::remove_file(&packs[1]).unwrap();
    fs::remove_file(packs.last().unwrap()).unwrap();
    let store = open(folder.path()).await;
    let named: Vec<_> = store
        .damages()
        .iter()
        .map(|damage| PathBuf::from(&damage.file))
        .collect();
    assert_eq!(named, [packs[1].clone(), packs.last().unwrap().clone()]);
}

#[tokio::test]
async fn a_record_that_a_stranger_composed_inside_a_block_is_none_of_the_stores() {
    use crate::store::frame::{Header, Kind, Rank, sha256};
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let photo = block("a photo of carol");
    store.blocks().put(vec![photo.clone()]).await.unwrap();
    let tombstone = Header::of(Kind::Tombstone, Rank::First, sha256(photo.bytes()), &[]).encode(0);
    store
        .blocks()
        .put(vec![block(tombstone.repeat(3))])
        .await
        .unwrap();
    store.blocks().put(vec![block("a letter")]).await.unwrap();
    leave(store, folder.path());
    // The header before the composed records does not check any more, so the next record is looked for inside.
    let pack = files(folder.path(), "pack").remove(0);
    overwrite(&pack, &tombstone, -1, b"?");
    let store = open(folder.path()).await;
    assert_eq!(store.damages().len(), 1);
    let here = store
        .blocks()
        .has(&[*photo.cid(), *block("a letter").cid()])
        .await
        .unwrap();
    assert_eq!(here, [true, true]);
}

#[tokio::test]
async fn q13_another_layout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).await.close().await.unwrap();
    let format = folder.path().join("FORMAT");
    let options = || crate::store::EmbeddedOptions::default();
    for other in [
        "cargomail-store 1 sha2-256",
        "cargomail-store 2 blake3",
        "cargomail-store 3 sha2-256",
    ] {
        fs::write(&format, format!("{other}\nsalt 00000000\n")).unwrap();
        let refused = Embedded::open(folder.path(), options()).await.err().unwrap();
        assert!(matches!(refused, StoreError::Layout { .. }));
        assert!(refused.to_string().contains(other), "{refused}");
    }
    fs::remove_file(&format).unwrap();
    let refused = Embedded::open(folder.path(), options()).await.err().unwrap();
    assert!(matches!(refused, StoreError::Layout { .. }));
}

#[tokio::test]
async fn q07_a_file_that_is_not_there_after_an_orderly_stop_is_reported_and_nothing_is_put_into_the_hole() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    store.close().await.unwrap();
    let (packs, logs) = (files(folder.path(), "pack"), files(folder.path(), "log"));
    let held = fs::read(&packs[1]).unwrap();
    let (lost, _) = (0..BLOCKS)
        .map(|n| (n, text(n)))
        .find(|(n, text)| *n >= 5 && held.windows(text.len()).any(|some| some == text.as_bytes()))
        .unwrap();
    fs::remove_file(&packs[1]).unwrap();
    fs::remove_file(&logs[0]).unwrap();
    let store = open(folder.path()).await;
    let named: Vec<_> = store.damages().iter().map(|damage| PathBuf::from(&damage.file)).collect();
    assert!(named.contains(&packs[1]) && named.contains(&logs[0]), "{named:?}");
    let lost = block(text(lost));
    assert_eq!(store.blocks().has(&[*lost.cid()]).await.unwrap(), [false]);
    store.blocks().put(vec![lost.clone()]).await.unwrap();
    assert_eq!(store.blocks().get(lost.cid()).await.unwrap().unwrap(), *lost.bytes());
    store.close().await.unwrap();
}

#[tokio::test]
async fn q07_what_is_in_a_file_that_goes_while_the_store_is_open_is_damaged_and_may_be_stored_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let photo = block("a photo of carol");
    store.blocks().put(vec![photo.clone()]).await.unwrap();
    store.records().commit(vec![], vec![put("letter", "of carol")]).await.unwrap();
    fill(&store).await;
    fs::remove_file(&files(folder.path(), "pack")[0]).unwrap();
    fs::remove_file(&files(folder.path(), "log")[0]).unwrap();
    let found = store.blocks().get(photo.cid()).await;
    assert!(matches!(found, Err(StoreError::Damaged { .. })), "{found:?}");
    let found = store.records().get(&["letter".to_owned()]).await;
    assert!(matches!(found, Err(StoreError::Damaged { .. })), "{found:?}");
    assert_eq!(store.blocks().has(&[*photo.cid()]).await.unwrap(), [false]);
    store.blocks().put(vec![photo.clone()]).await.unwrap();
    assert_eq!(store.blocks().get(photo.cid()).await.unwrap().unwrap(), *photo.bytes());
    store.close().await.unwrap();
}

#[tokio::test]
async fn q13_a_salt_that_does_not_check_is_refused_and_nothing_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    leave(store, folder.path());
    let format = folder.path().join("FORMAT");
    let text = fs::read_to_string(&format).unwrap();
    let [layout, salt, crc] = text.lines().collect::<Vec<_>>()[..] else {
        panic!("{text}");
    };
    let other = format!("salt {:08x}", !u32::from_str_radix(&salt[5..], 16).unwrap());
    let sizes = || {
        let files = ["pack", "log"].into_iter().flat_map(|extension| files(folder.path(), extension));
        files.map(|file| fs::metadata(file).unwrap().len()).collect::<Vec<_>>()
    };
    let before = sizes();
    for text in [
        format!("{layout}\n{other}\n{crc}\n"),
        format!("{layout}\n{salt}\n{crc}0\n"),
        format!("{layout}\n{salt}\n{crc}"),
        format!("{layout}\n{salt}0\n"),
        format!("{layout}\n{}\n", &salt[..12]),
        format!("{layout}\nsalt +{}\n", &salt[6..]),
        format!("{layout}\n{salt}"),
        // It has the right form, and is not the one that the records go with.
        format!("{layout}\n{other}\n"),
    ] {
        fs::write(&format, &text).unwrap();
        let options = crate::store::EmbeddedOptions::default();
        let refused = Embedded::open(folder.path(), options).await.err().unwrap();
        assert!(matches!(refused, StoreError::Layout { .. }), "{text}: {refused}");
        assert_eq!(sizes(), before);
    }
    // As stores were made before there was a checksum.
    fs::write(&format, format!("{layout}\n{salt}\n")).unwrap();
    let store = open(folder.path()).await;
    check(&store).await;
    assert_eq!(store.damages(), []);
    store.close().await.unwrap();
}

#[tokio::test]
async fn q07_a_removal_that_does_not_check_removes_nothing_and_a_damaged_version_is_not_counted_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for who in ["letter/a", "letter/b", "letter/c"] {
        store.records().commit(vec![], vec![put(who, "dear")]).await.unwrap();
    }
    let delete = Op::Delete("letter/a".to_owned());
    store.records().commit(vec![], vec![delete]).await.unwrap();
    store.records().commit(vec![], vec![put("letter/d", "dear")]).await.unwrap();
    leave(store, folder.path());
    let log = files(folder.path(), "log").remove(0);
    // It says that another one is gone; and the second commit, that it is of the far future.
    overwrite(&log, b"\0\0\x08\0\0\0\0letter/a", 14, b"b");
    overwrite(&log, &[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1], 0, b"\x7f");
    let store = open(folder.path()).await;
    assert_eq!(store.damages().len(), 2, "{:?}", store.damages());
    let found = store.records().list("", None, 9).await.unwrap();
    let found: Vec<_> = found.iter().map(|record| (record.key.as_str(), record.version)).collect();
    assert_eq!(found, [("letter/a", 1), ("letter/b", 2), ("letter/c", 3), ("letter/d", 5)]);
    let next = store.records().commit(vec![], vec![put("letter/e", "dear")]).await.unwrap();
    assert_eq!(next, 6);
    store.close().await.unwrap();
}
