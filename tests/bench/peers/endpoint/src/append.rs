//! Appends with group commit: whoever comes while the file is being synced shares the next sync.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use tokio::sync::oneshot;

type Waiting = (Bytes, oneshot::Sender<()>);

pub(crate) struct Appender(mpsc::Sender<Waiting>);

/// Creates the file and starts the thread that writes it; the thread ends at the first error, and nobody is answered then.
pub(crate) fn start(path: &Path) -> anyhow::Result<Arc<Appender>> {
    let mut file = File::create(path)?;
    let (appender, waiting) = mpsc::channel::<Waiting>();
    std::thread::spawn(move || -> std::io::Result<()> {
        let mut octets = Vec::new();
        while let Ok(first) = waiting.recv() {
            let mut group = vec![first];
            group.extend(waiting.try_iter());
            octets.clear();
            group.iter().for_each(|(body, _)| octets.extend_from_slice(body));
            file.write_all(&octets)?;
            file.sync_data()?;
            for (_, answer) in group {
                let _ = answer.send(());
            }
        }
        Ok(())
    });
    Ok(Arc::new(Appender(appender)))
}

impl Appender {
    /// Whether the body is on the disk.
    pub(crate) async fn append(&self, body: Bytes) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send((body, answer)).is_ok() && answered.await.is_ok()
    }
}
