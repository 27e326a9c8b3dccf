//! Two processes, killed processes, and disks that fail. Each test starts this test program again, as a process of its own.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{leave, open};
use crate::store::conformance::{block, put};
use crate::store::{CommitError, Compaction, Embedded, EmbeddedOptions, Op, StoreError};

/// Where the process that is started works.
const FOLDER: &str = "CARGOMAIL_TEST_STORE";
/// What it does: `write` until it is killed, `hold` the store open, `compact` it, `churn` (compact it under load), `look` at it, or write
/// `late`, while something else is being synced, and die as soon as that is written.
const TASK: &str = "CARGOMAIL_TEST_STORE_TASK";

/// The first number that `churn` writes.
const BEGIN: &str = "CARGOMAIL_TEST_STORE_BEGIN";

const WRITERS: usize = 8;
const WRITES: usize = 80;
const CHURNS: usize = 40;
const EARLY: usize = 5;

fn text(writer: usize, n: usize) -> String {
    format!(
        "{writer} {n} {}",
        "x".repeat((writer * 7919 + n * 104_729) % 5000)
    )
}

/// Not a test of its own: what the started process does. It tells `block W N` and `record W N` when they were acknowledged,
/// and `refused WHY` when a write was not.
#[test]
#[ignore = "started by the other tests"]
fn the_process_that_is_started() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let task = std::env::var(TASK).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let store = open(Path::new(&folder)).await;
        println!("\nopen");
        match task.as_str() {
            "hold" => std::future::pending::<()>().await,
            "compact" => return compact(store).await,
            "churn" => return churn(store).await,
            "late" => return write_late(store).await,
            "look" => return look(store).await,
            _ => {}
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write(store.clone(), writer)))
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        store.close().await.unwrap();
        println!("closed");
    });
}

/// Writes [`WRITES`] times, what is refused again and again, until the store is read-only.
async fn write(store: Embedded, writer: usize) {
    for n in 0..WRITES {
        while let Err(error) = write_once(&store, writer, n).await {
            println!("refused {error}");
            if matches!(error, StoreError::ReadOnly(_)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn write_once(store: &Embedded, writer: usize, n: usize) -> Result<(), StoreError> {
    let bytes = text(writer, n);
    store
        .blocks()
        .put(vec![block(&bytes), block(format!("{bytes}2"))])
        .await?;
    println!("block {writer} {n}");
    let ops = vec![
        put(&format!("mail/{writer}/{n}"), &bytes),
        put(&format!("last/{writer}"), &n.to_string()),
    ];
    match store.records().commit(vec![], ops).await {
        Ok(_) => println!("record {writer} {n}"),
        Err(CommitError::Store(error)) => return Err(error),
        Err(error) => panic!("{error}"),
    }
    Ok(())
}

/// Tells `damage FILE FROM WHY` of each, and how many blocks and records are here.
async fn look(store: Embedded) {
    for damage in store.damages() {
        let file = Path::new(&damage.file).file_name().unwrap();
        println!("damage {} {} {}", file.display(), damage.from, damage.why);
    }
    let counted = store.statistics().await.unwrap();
    println!("here {} {}", counted.blocks, counted.records);
}

/// Gives back all the room that there is to give.
async fn compact(store: Embedded) {
    loop {
        let done = store.compact(Compaction::default(), |_| ()).await.unwrap();
        if done.packs + done.journal == 0 {
            break;
        }
    }
    println!("compacted");
    store.close().await.unwrap();
}

/// Writes and sweeps while packs are compacted, until it is killed. It tells `stored W N` and `swept W N` when they were acknowledged, and
/// `sweeping W N` before.
async fn churn(store: Embedded) {
    let begin: usize = std::env::var(BEGIN).unwrap().parse().unwrap();
    for writer in 0..WRITERS {
        let blocks = store.blocks();
        tokio::spawn(async move {
            for n in begin..begin + CHURNS {
                blocks.put(vec![block(text(writer, n))]).await.unwrap();
                println!("stored {writer} {n}");
                if n % 3 > 0 {
                    println!("sweeping {writer} {n}");
                    // Another writer may condemn something else in between.
                    let name = [*block(text(writer, n)).cid()];
                    while !{
                        blocks.condemn(&name).await.unwrap();
                        blocks.sweep(&name).await.unwrap()[0]
                    } {}
                    println!("swept {writer} {n}");
                }
            }
        });
    }
    loop {
        let done = store.compact(Compaction::default(), |_| ()).await.unwrap();
        println!("compacted {}", done.packs);
    }
}

/// Writes [`EARLY`] times and is answered, once more, and again while that waits for the disk; then it ends like one that is killed.
async fn write_late(store: Embedded) {
    for n in 0..EARLY {
        write_once(&store, 0, n).await.unwrap();
    }
    let late = |n| {
        let record = vec![put(&format!("late/{n}"), &text(0, n))];
        (store.blocks(), vec![block(text(0, n))], store.records(), record)
    };
    let (blocks, batch, records, record) = late(EARLY);
    tokio::spawn(async move { tokio::join!(blocks.put(batch), records.commit(vec![], record)) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (blocks, batch, records, record) = late(EARLY + 1);
    let written = tokio::join!(blocks.write(batch), records.write(vec![], record));
    assert!(written.0.is_ok() && written.1.is_ok());
    println!("written");
    std::process::abort();
}

fn this_program() -> Vec<String> {
    let program = std::env::current_exe().unwrap();
    let (_, module) = module_path!().split_once("::").unwrap();
    let test = format!("{module}::the_process_that_is_started");
    [
        program.to_str().unwrap(),
        "--exact",
        &test,
        "--ignored",
        "--nocapture",
    ]
    .map(ToOwned::to_owned)
    .to_vec()
}

fn start(folder: &Path, task: &str, words: &[String]) -> Child {
    start_at(folder, task, words, 0)
}

fn start_at(folder: &Path, task: &str, words: &[String], begin: usize) -> Child {
    Command::new(&words[0])
        .args(&words[1..])
        .env(FOLDER, folder)
        .env(TASK, task)
        .env(BEGIN, begin.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lines that the process said, until it ends or `enough` says so, and those that it said before it was dead.
fn listen(child: &mut Child, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
    let mut said = Vec::new();
    let mut killed = false;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        said.push(line.unwrap());
        if !killed && enough(&said) {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    said
}

/// Everything that was acknowledged is there.
async fn check(folder: &Path, said: &[String]) -> usize {
    let store = open(folder).await;
    assert_eq!(store.damages(), []);
    let mut checked = 0;
    for line in said {
        let words: Vec<_> = line.split(' ').collect();
        let ["block" | "record", writer, n] = words[..] else {
            continue;
        };
        let bytes = text(writer.parse().unwrap(), n.parse().unwrap());
        if words[0] == "block" {
            for bytes in [format!("{bytes}2"), bytes] {
                let found = store.blocks().get(block(&bytes).cid()).await.unwrap();
                assert_eq!(found.expect(line), bytes);
            }
        } else {
            let keys = [format!("mail/{writer}/{n}"), format!("last/{writer}")];
            let found = store.records().get(&keys).await.unwrap();
            assert_eq!(found[0].as_ref().expect(line).value, bytes);
            let last: usize = std::str::from_utf8(&found[1].as_ref().expect(line).value)
                .unwrap()
                .parse()
                .unwrap();
            assert!(last >= n.parse().unwrap());
        }
        checked += 1;
    }
    // Commits are whole: the last one of each writer brought its mail.
    for last in store.records().list("last/", None, 100).await.unwrap() {
        let (writer, n) = (
            &last.key["last/".len()..],
            String::from_utf8(last.value.to_vec()).unwrap(),
        );
        let found = store
            .records()
            .get(&[format!("mail/{writer}/{n}")])
            .await
            .unwrap();
        assert!(found[0].is_some());
    }
    store.close().await.unwrap();
    checked
}

#[tokio::test]
async fn q04_nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=5 {
        // The numbers begin anew each time: blocks are here already, records are overwritten.
        let mut child = start(folder.path(), "write", &this_program());
        let said = listen(&mut child, |said| said.len() > 1 + round * 97);
        assert!(check(folder.path(), &said).await >= round * 90);
    }
}

#[tokio::test]
async fn q04_nothing_acknowledged_is_lost_when_the_process_is_killed_while_it_opens() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start(folder.path(), "write", &this_program());
    let said = listen(&mut child, |said| said.len() > 300);
    for wait in [1, 3, 5, 8, 13, 20, 30, 45] {
        let mut child = start(folder.path(), "hold", &this_program());
        let until = Instant::now() + Duration::from_millis(wait);
        while Instant::now() < until {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(check(folder.path(), &said).await > 290);
}

#[tokio::test]
async fn q04_what_comes_while_something_else_is_synced_outlives_the_process() {
    for file in ["packs/00000001.pack", "journal/00000001.log"] {
        let folder = tempfile::tempdir().unwrap();
        // The process does not live to see the end of this sync, which takes ten seconds.
        let fault = format!("fdatasync:delay_enter=10s:when={}", EARLY + 1);
        let said = run_traced(folder.path(), "late", &fault, &[file]);
        assert_eq!(said.last().map(String::as_str), Some("written"), "{said:?}");
        assert_eq!(check(folder.path(), &said).await, 2 * EARLY);
        let store = open(folder.path()).await;
        let late = text(0, EARLY + 1);
        let found = match file.starts_with("packs") {
            true => store.blocks().get(block(&late).cid()).await.unwrap(),
            false => {
                let found = store.records().get(&[format!("late/{}", EARLY + 1)]).await;
                found.unwrap()[0].as_ref().map(|record| record.value.clone())
            }
        };
        assert_eq!(found.as_deref(), Some(late.as_bytes()), "{file}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn q13_a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start(folder.path(), "hold", &this_program());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines
        .find(|line| line.as_ref().unwrap() == "open")
        .unwrap()
        .unwrap();
    let refused = Embedded::open(folder.path(), EmbeddedOptions::default())
        .await
        .err()
        .unwrap();
    assert!(matches!(refused, StoreError::Locked(_)));
    let text = refused.to_string();
    assert!(
        text.contains(folder.path().to_str().unwrap()) && text.contains("another process"),
        "{text}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    open(folder.path()).await.close().await.unwrap();
}

/// Runs the writing process so that a system call fails: counted for each thread, and of all files or of some.
fn run_failing(folder: &Path, fault: &str, files: &[&str]) -> Vec<String> {
    run_traced(folder, "write", fault, files)
}

fn run_traced(folder: &Path, task: &str, fault: &str, files: &[&str]) -> Vec<String> {
    let probe = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .status();
    assert!(
        probe.is_ok_and(|status| status.success()),
        "strace cannot trace here: install Debian's package strace, and let it trace (tests/run --only install)"
    );
    let (calls, _) = fault.split_once(':').unwrap();
    let mut words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", calls, "-e"]
        .map(ToOwned::to_owned)
        .to_vec();
    words.push(format!("inject={fault}"));
    for file in files {
        words.extend(["-P".to_owned(), folder.join(file).to_str().unwrap().to_owned()]);
    }
    if files.is_empty() {
        // Only the calls that are looked for cost time; with paths strace must look at all of them.
        words.insert(1, "--seccomp-bpf".to_owned());
    }
    words.extend(this_program());
    let mut child = start(folder, task, &words);
    listen(&mut child, |_| false)
}

fn refusals(said: &[String]) -> Vec<&str> {
    said.iter()
        .filter_map(|line| line.strip_prefix("refused "))
        .collect()
}

#[tokio::test]
async fn q06_after_a_failed_sync_nothing_is_acknowledged_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let said = run_failing(folder.path(), "fdatasync:error=EIO:when=20", &[]);
    let refusals = refusals(&said);
    assert!(!refusals.is_empty());
    assert!(
        refusals
            .iter()
            .all(|why| why.contains("read-only") && why.contains("Input/output error")),
        "{refusals:?}"
    );
    // Each of the two writing threads made 19 syncs before; what was asked for after the failed one was refused.
    let first = said.iter().position(|line| line.starts_with("refused")).unwrap();
    let acknowledged = |said: &[String]| {
        said.iter()
            .filter(|line| line.starts_with("block") || line.starts_with("record"))
            .count()
    };
    assert!(acknowledged(&said[..first]) >= 19);
    assert!(
        acknowledged(&said[first..]) < 32,
        "acknowledged after the failure"
    );
    assert!(check(folder.path(), &said).await >= 19);
    // What was refused is not there either: that it can be read from memory does not make it durable.
    let store = open(folder.path()).await;
    let blocks = store.blocks().list(None, 10_000).await.unwrap();
    let told = said.iter().filter(|line| line.starts_with("block")).count();
    assert_eq!(blocks.len(), 2 * told);
    let records = store.records().list("mail/", None, 10_000).await.unwrap();
    let told = said.iter().filter(|line| line.starts_with("record")).count();
    assert_eq!(records.len(), told);
    store.close().await.unwrap();
}

#[tokio::test]
async fn q06_a_full_disk_refuses_and_the_store_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let said = run_failing(
        folder.path(),
        "pwrite64:error=ENOSPC:when=1..2",
        &["packs/00000001.pack", "journal/00000001.log"],
    );
    let refusals = refusals(&said);
    assert!(
        refusals.iter().any(|why| why.contains("No space left")),
        "{refusals:?}"
    );
    assert!(
        refusals.iter().all(|why| !why.contains("read-only")),
        "{refusals:?}"
    );
    assert_eq!(said.iter().filter(|line| *line == "closed").count(), 1);
    assert!(check(folder.path(), &said).await >= 2 * WRITERS * WRITES);
}

#[tokio::test]
async fn q06_a_failed_write_ends_all_writing_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let said = run_failing(folder.path(), "pwrite64:error=EIO:when=30", &[]);
    assert!(refusals(&said).iter().all(|why| why.contains("read-only")));
    assert!(!refusals(&said).is_empty());
    assert!(check(folder.path(), &said).await >= 29);
}

#[tokio::test]
async fn q06_a_sync_that_fails_when_it_is_the_first_is_told_at_opening_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let said = run_failing(folder.path(), "fsync,fdatasync:error=EIO:when=1+", &[]);
    assert!(
        !said
            .iter()
            .any(|line| line.starts_with("block") || line.starts_with("record")),
        "{said:?}"
    );
    assert_eq!(check(folder.path(), &said).await, 0);
}

#[tokio::test]
async fn q04_a_compaction_that_is_killed_at_any_step_loses_nothing_and_brings_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let blocks: Vec<_> = (0..60).map(|n| block(text(n % 7, n))).collect();
    for some in blocks.chunks(4) {
        store.blocks().put(some.to_vec()).await.unwrap();
    }
    let is_kept = |n: usize| n.is_multiple_of(3) || n % 7 == 5;
    let swept: Vec<_> = (0..60)
        .filter(|n| !is_kept(*n))
        .map(|n| *blocks[n].cid())
        .collect();
    store.blocks().condemn(&swept).await.unwrap();
    store.blocks().sweep(&swept).await.unwrap();
    // Records, too: each is written several times, and every third is removed.
    for n in 0..240 {
        let put = put(&format!("mail/{:02}", n % 60), &text(n % 5, n));
        store.records().commit(vec![], vec![put]).await.unwrap();
    }
    let removed = (0..60).step_by(3).map(|n| Op::Delete(format!("mail/{n:02}")));
    store.records().commit(vec![], removed.collect()).await.unwrap();
    let records = store.records().list("", None, 99).await.unwrap();
    assert_eq!(records.len(), 40);
    store.close().await.unwrap();
    // Each kill leaves the next one less to do, in another state.
    let mut is_done = false;
    for call in ["fdatasync", "fsync", "rename", "unlink"] {
        for when in [1, 2, 4, 8] {
            let said = run_traced(
                folder.path(),
                "compact",
                &format!("{call}:signal=KILL:when={when}"),
                &[],
            );
            is_done |= said.iter().any(|line| line == "compacted");
            let store = open(folder.path()).await;
            assert_eq!(store.damages(), [], "{call} {when}");
            assert_eq!(store.records().list("", None, 99).await.unwrap(), records, "{call} {when}");
            for (n, block) in blocks.iter().enumerate() {
                let found = store.blocks().get(block.cid()).await.unwrap();
                assert_eq!(
                    found.as_ref(),
                    is_kept(n).then(|| block.bytes()),
                    "{call} {when}: block {n}"
                );
            }
            drop(store);
        }
    }
    assert!(is_done, "it comes to an end between the kills");
}

#[tokio::test]
async fn q04_nothing_acknowledged_is_lost_when_compaction_is_killed_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stored, mut sweeping, mut swept) = (Vec::new(), HashSet::new(), Vec::new());
    let mut compacted = 0;
    for round in 1..=5 {
        let mut child = start_at(folder.path(), "churn", &this_program(), round * 100_000);
        let said = listen(&mut child, |said| {
            said.len() > 100 + round * 17
                && said
                    .iter()
                    .any(|line| line.starts_with("compacted") && !line.ends_with(" 0"))
        });
        for line in said {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["compacted", packs] => compacted += packs.parse::<u64>().unwrap(),
                [what @ ("stored" | "sweeping" | "swept"), writer, n] => {
                    let bytes = text(writer.parse().unwrap(), n.parse().unwrap());
                    match what {
                        "stored" => stored.push(bytes),
                        "sweeping" => drop(sweeping.insert(bytes)),
                        _ => swept.push(bytes),
                    }
                }
                _ => {}
            }
        }
        let store = open(folder.path()).await;
        assert_eq!(store.damages(), []);
        for bytes in stored.iter().filter(|bytes| !sweeping.contains(*bytes)) {
            let found = store.blocks().get(block(bytes).cid()).await.unwrap();
            assert_eq!(found.unwrap(), *bytes);
        }
        let swept: Vec<_> = swept.iter().map(|bytes| *block(bytes).cid()).collect();
        assert!(!store.blocks().has(&swept).await.unwrap().contains(&true));
        store.close().await.unwrap();
    }
    assert!(compacted >= 5, "{compacted}");
}

/// Blocks and records in several files each.
async fn fill(store: &Embedded) {
    for n in 0..40 {
        store.blocks().put(vec![block(format!("{n} {}", "x".repeat(1000)))]).await.unwrap();
        let put = put(&format!("mail/{n}"), &"x".repeat(1000));
        store.records().commit(vec![], vec![put]).await.unwrap();
    }
}

async fn is_whole(folder: &Path) {
    let store = open(folder).await;
    assert_eq!(store.damages(), []);
    assert_eq!(store.blocks().list(None, 99).await.unwrap().len(), 40);
    assert_eq!(store.records().list("", None, 99).await.unwrap().len(), 40);
    drop(store);
}

#[tokio::test]
async fn q07_a_sector_that_cannot_be_read_costs_what_is_in_it_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    leave(store, folder.path());
    let look = |fault: &str, file: &str| {
        let said = run_traced(folder.path(), "look", &format!("pread64:error=EIO:when={fault}"), &[file]);
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        let damage = format!("damage {name} 0 the disk cannot read it");
        assert!(said.contains(&damage), "{said:?}");
        let here = said.iter().find_map(|line| line.strip_prefix("here ")).unwrap();
        let (blocks, records) = here.split_once(' ').unwrap();
        [blocks, records].map(|number| number.parse::<usize>().unwrap())
    };
    // The window, the page and the sector at the beginning.
    assert_eq!(look("1..3", "journal/00000001.log"), [40, 39]);
    // All of a file, of which no index tells.
    let _ = fs::remove_file(folder.path().join("packs/00000001.idx"));
    let [blocks, records] = look("1+", "packs/00000001.pack");
    assert!((20..40).contains(&blocks) && records == 40, "{blocks} {records}");
    // It was left as it is, and the disk can read it again.
    is_whole(folder.path()).await;
}

#[tokio::test]
async fn q07_a_sector_at_the_end_that_cannot_be_read_is_not_taken_for_a_torn_end() {
    for file in ["packs/00000001.pack", "journal/00000001.log"] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        store.blocks().put(vec![block("a photo")]).await.unwrap();
        store.records().commit(vec![], vec![put("mail", "a letter")]).await.unwrap();
        leave(store, folder.path());
        let said = run_traced(folder.path(), "look", "pread64:error=EIO:when=1+", &[file]);
        assert_eq!(said.iter().filter(|line| line.starts_with("damage")).count(), 1, "{said:?}");
        let store = open(folder.path()).await;
        assert!(store.blocks().get(block("a photo").cid()).await.unwrap().is_some());
        assert_eq!(store.records().list("", None, 9).await.unwrap().len(), 1);
        drop(store);
    }
}

#[tokio::test]
async fn what_is_derived_and_cannot_be_read_is_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    leave(store, folder.path());
    for (call, file) in [
        ("read", "packs/00000001.idx"),
        ("pread64", "packs/00000001.idx"),
        ("read", "CHECKPOINT"),
        ("read", "packs/dropped.txt"),
    ] {
        if file.ends_with(".txt") {
            fs::write(folder.path().join(file), "00000000\n").unwrap();
        }
        let said = run_traced(folder.path(), "look", &format!("{call}:error=EIO:when=1+"), &[file]);
        assert!(said.iter().any(|line| line == "here 40 40"), "{call} {file}: {said:?}");
        assert!(!said.iter().any(|line| line.starts_with("damage")), "{call} {file}: {said:?}");
    }
    is_whole(folder.path()).await;
}
