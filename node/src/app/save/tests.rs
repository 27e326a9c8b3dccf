#![allow(clippy::unwrap_used)]
use super::*;
use crate::app::double::{Node, nobody_watches};
use crate::app::read::tests::{delivered, letter};

const NO_TIME: Duration = Duration::ZERO;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Alice's letter with two files of the same name in two folders, opened.
async fn opened(node: &Node) -> (App, Opened) {
    let app = node.alice().await;
    let mut letter = letter();
    for (folder, octets) in [("one", b"first".as_slice()), ("two", b"second")] {
        let folder = node.folder.path().join(folder);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("scan.txt"), octets).unwrap();
        letter.files.push(folder.join("scan.txt"));
    }
    let id = delivered(node, &app, &letter, Some("mailbox.foo.test")).await;
    let opened = app.open(&id).await.unwrap();
    (app, opened)
}

#[tokio::test]
async fn files_are_saved_each_under_a_name_of_its_own() {
    let node = Node::start().await;
    let (app, opened) = opened(&node).await;
    let to = node.folder.path().join("saved/deep");
    let watch = nobody_watches();
    let save = |which| app.save(&opened, which, &to, Existing::Keep, NO_TIME, &watch);
    let saved = save(Which::Files).await.unwrap();
    assert_eq!(names(&to), ["scan (2).txt", "scan.txt"]);
    assert_eq!(std::fs::read(&saved[1].path).unwrap(), b"second");
    assert!(matches!(
        save(Which::One(9)).await,
        Err(ReadError::NoPart { wanted: 9, parts: 3 })
    ));
    std::fs::write(to.join("scan.txt"), b"mine!").unwrap();
    let error = save(Which::All).await.unwrap_err();
    assert!(
        matches!(&error, ReadError::Exists(path) if path.ends_with("scan.txt")),
        "{error}"
    );
    assert_eq!(names(&to), ["part-1.txt", "scan (2).txt", "scan.txt"]);
}

#[tokio::test]
async fn saving_goes_on_where_it_broke_off() {
    let node = Node::start().await;
    let (app, opened) = opened(&node).await;
    let to = node.folder.path().join("saved");
    let watch = nobody_watches();
    let save = || app.save(&opened, Which::Files, &to, Existing::Keep, NO_TIME, &watch);
    let saved = save().await.unwrap();
    std::fs::remove_file(&saved[1].path).unwrap();
    let parts = opened.placeholder.as_ref().unwrap().parts();
    let first = parts[1].resource.cid.to_string();
    node.kept.lock().unwrap().resources.remove(&first);
    assert_eq!(save().await.unwrap(), saved);
    assert_eq!(std::fs::read(&saved[1].path).unwrap(), b"second");
    assert_eq!(names(&to), ["scan (2).txt", "scan.txt"]);
}

#[tokio::test]
async fn an_ordinary_message_is_saved_with_its_bodies_and_again() {
    let node = Node::start().await;
    let app = node.alice().await;
    let message = "From: bob@bar.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n\
        --a\r\nContent-Type: text/plain\r\n\r\nHello\r\n--a\r\nContent-Type: text/html\r\n\r\n<p>Hello</p>\r\n--a--\r\n\
        --b\r\nContent-Disposition: attachment; filename=\"text.txt\"\r\n\r\none\r\n--b--\r\n";
    node.kept
        .lock()
        .unwrap()
        .messages
        .insert("o".to_owned(), message.into());
    let opened = app.open("o").await.unwrap();
    let to = node.folder.path().join("saved");
    let watch = nobody_watches();
    let save = |which| app.save(&opened, which, &to, Existing::Keep, NO_TIME, &watch);
    save(Which::Files).await.unwrap();
    assert_eq!(names(&to), ["text.txt"]);
    save(Which::All).await.unwrap();
    assert_eq!(names(&to), ["text (2).txt", "text.html", "text.txt"]);
    let read = |name| std::fs::read_to_string(to.join(name)).unwrap();
    assert_eq!(read("text (2).txt").trim_end(), "Hello");
    assert_eq!(read("text.html").trim_end(), "<p>Hello</p>");
    std::fs::write(to.join("text.txt"), "two").unwrap();
    assert!(matches!(save(Which::All).await, Err(ReadError::Exists(_))));
}

#[tokio::test]
async fn a_file_without_a_second_name_takes_a_place_only_where_nothing_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scan.txt");
    let draft = || async {
        let mut target = Target::open(folder.path(), "scan.txt", Existing::Replace)
            .await
            .unwrap();
        target.file.write_all(b"first").await.unwrap();
        target.file.flush().await.unwrap();
        target
    };
    std::fs::write(&file, b"mine").unwrap();
    let target = draft().await;
    assert!(matches!(target.take_place().await, Err(ReadError::Exists(_))));
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    std::fs::remove_file(&file).unwrap();
    target.take_place().await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"first");
    assert_eq!(names(folder.path()), ["scan.txt"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::open(folder.path(), "scan.txt", Existing::Keep)
        .await
        .unwrap();
    let full = Err(ReadError::Write(ErrorKind::StorageFull.into()));
    let error = target.finish(full, 5).await.unwrap_err().to_string();
    assert!(error.contains("scan.txt"), "{error}");
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn what_is_there_is_kept_unless_it_should_be_replaced() {
    let node = Node::start().await;
    let (app, opened) = opened(&node).await;
    let to = node.folder.path().join("saved");
    std::fs::create_dir(&to).unwrap();
    let elsewhere = node.folder.path().join("elsewhere");
    std::fs::write(&elsewhere, b"mine").unwrap();
    std::os::unix::fs::symlink(&elsewhere, to.join("scan.txt")).unwrap();
    let watch = nobody_watches();
    let save = |existing| app.save(&opened, Which::One(2), &to, existing, NO_TIME, &watch);
    assert!(matches!(save(Existing::Keep).await, Err(ReadError::Exists(_))));
    save(Existing::Replace).await.unwrap();
    assert_eq!(std::fs::read(to.join("scan.txt")).unwrap(), b"first");
    assert_eq!(std::fs::read(&elsewhere).unwrap(), b"mine");
    assert_eq!(names(&to), ["scan.txt"]);
}

#[tokio::test]
async fn what_does_not_check_leaves_no_file() {
    let node = Node::start().await;
    let (app, opened) = opened(&node).await;
    let cid = opened.placeholder.as_ref().unwrap().parts()[1]
        .resource
        .cid
        .to_string();
    node.kept
        .lock()
        .unwrap()
        .resources
        .insert(cid, b"fIrst".as_slice().into());
    let to = node.folder.path().join("saved");
    let watch = nobody_watches();
    let outcome = app
        .save(&opened, Which::Files, &to, Existing::Keep, NO_TIME, &watch)
        .await;
    assert!(matches!(outcome, Err(ReadError::Unverifiable(_))));
    assert!(names(&to).is_empty());
    let whole = to.join("letter.eml");
    let outcome = app
        .save_message(&opened, &whole, Existing::Keep, NO_TIME, &watch)
        .await;
    assert!(outcome.is_err() && names(&to).is_empty());
}

#[tokio::test]
async fn m08_a_strangers_name_is_never_a_path() {
    let node = Node::start().await;
    let app = node.alice().await;
    let message = "From: eve@evil.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\nContent-Disposition: attachment; filename=\"../../escaped\"\r\n\r\none\r\n\
        --b\r\nContent-Disposition: attachment; filename=\".bashrc\"\r\n\r\ntwo\r\n--b--\r\n";
    node.kept
        .lock()
        .unwrap()
        .messages
        .insert("e".to_owned(), message.into());
    let opened = app.open("e").await.unwrap();
    let to = node.folder.path().join("a/b");
    let watch = nobody_watches();
    app.save(&opened, Which::Files, &to, Existing::Keep, NO_TIME, &watch)
        .await
        .unwrap();
    assert_eq!(names(&to), ["bashrc", "escaped"]);
    assert_eq!(names(&node.folder.path().join("a")), ["b"]);
}
