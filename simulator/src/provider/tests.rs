#![allow(clippy::unwrap_used)]

use super::*;

const MARKER: &str = "marked0123456789abcdef0123456789abcdef";

fn searched(content: &[u8]) -> Searched {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("deep");
    std::fs::create_dir(&deep).unwrap();
    std::fs::write(deep.join("store"), content).unwrap();
    search_folder(folder.path(), &Needles::of(MARKER), Thoroughly::EveryFile).unwrap()
}

#[test]
fn content_is_found_wherever_it_begins_also_across_two_windows() {
    for begin in [0, 1, 4095, WINDOW - 20, WINDOW - 1, WINDOW, 2 * WINDOW - 7] {
        let mut content = vec![b'm'; begin];
        content.extend_from_slice(MARKER.as_bytes());
        content.extend_from_slice(b"and more");
        let searched = searched(&content);
        assert_eq!(searched.files.len(), 1, "{begin}");
    }
}

#[test]
fn content_in_base64_is_found_wherever_it_begins() {
    for begin in 0..6 {
        let mut content = vec![b'x'; begin];
        content.extend_from_slice(MARKER.as_bytes());
        let encoded = BASE64.encode(&content);
        assert_eq!(searched(encoded.as_bytes()).files.len(), 1, "{begin}");
    }
}

#[test]
fn what_only_resembles_content_is_not_found() {
    let searched = searched(&MARKER.as_bytes()[..MARKER.len() - 1]);
    assert!(searched.files.is_empty());
    assert_eq!(searched.octets, MARKER.len() as u64 - 1);
}
