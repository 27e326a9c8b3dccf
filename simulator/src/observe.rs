//! The people look: what has come, whether it can be read and equals what was written, what was reported, which receipts
//! there are; until nothing more is expected to happen, or the scenario's patience is over.
//!
//! What always holds: what was seen once counts only if it is there at the end, too. In the last look everybody whose broker answers has
//! what it lists then and nothing else, and of what was read as it was written some is read once more: all of it in a small world.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cargomail_node::api::{Delivery, Message};
use cargomail_node::app::{AppError, Letter, ReadError};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::ask::{Report, Seen, Wanted, ask};
use crate::history::{Fate, Left, Mail, Reading, Sending};
use crate::read::{read, reading};
use crate::run::{Reading as How, Stage};
use crate::traffic::Sent;
use crate::world::{FOLDERS, Home, Marks};

/// From one look to the next; when a look takes long, four times as long as that, so that looking is not the traffic.
const LOOK: Duration = Duration::from_millis(250);
/// The longest pause between two looks at real nodes, and in a virtual world, where nobody notices more the more often they look.
const LONGEST: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(60)];

/// Deliveries that are read once more at the end, by chance where there are more.
const READ_AGAIN: usize = 200;
/// How long readings at the end are waited for.
const LAST_READINGS: Duration = Duration::from_secs(300);

/// Who is asked what they see.
#[derive(Clone, Copy)]
enum Whom {
    /// Everybody.
    Everybody,
    /// Authors and recipients of mails of which something is expected to happen.
    Parties,
    /// Those of them, at those of their nodes where something has changed since they were asked, as far as that can be known from outside.
    Touched,
}

/// A mail and one of its recipients, by their places in the plan.
type Place = (usize, usize);

/// What was there when everybody looked for the last time.
#[derive(Default)]
struct Listed {
    /// People whose brokers answered.
    people: BTreeSet<String>,
    /// The first copy of each mail for each recipient, by its message's name.
    copies: BTreeMap<Place, String>,
    /// For whom authors had reports.
    reports: BTreeSet<Place>,
}

/// What was seen so far.
pub(crate) struct Observer {
    stage: Arc<Stage>,
    mails: Vec<Mail>,
    letters: Vec<Option<Arc<Letter>>>,
    /// Mails that were accepted, and of which something is expected to happen.
    open: BTreeSet<usize>,
    /// The mail of each Message-ID.
    known: HashMap<String, usize>,
    /// The Message-IDs of placeholders that came before it was known that they were written: their authors had no answer yet. (Reports that
    /// came as early are among `reports`.)
    strange: BTreeSet<String>,
    /// By person, the name of each message that is no placeholder.
    reports: HashMap<String, BTreeMap<String, Report>>,
    /// By person, how far each of their nodes had come when it was asked.
    marks: HashMap<String, Vec<Marks>>,
    /// By person and mailbox, how many retrievals are on their way; none when that cannot be known.
    retrieving: BTreeMap<(String, String), Option<usize>>,
    /// By person, messages that came and were not read yet: whose fate that is, and the message's name.
    unread: HashMap<String, BTreeMap<Place, String>>,
    reading: BTreeSet<Place>,
    /// Those of them that may find more if they try again.
    again: BTreeSet<Place>,
    readers: JoinSet<(Place, Reading, u64)>,
    places: Arc<Semaphore>,
    /// Something was seen since that was not there before.
    news: bool,
    /// What is there now, in the last look.
    last: Option<Listed>,
}

impl Observer {
    pub(crate) fn new(stage: Arc<Stage>) -> Self {
        let mails = stage.plan.mails.iter().enumerate();
        let mails: Vec<Mail> = mails
            .map(|(index, planned)| Mail {
                number: index + 1,
                author: planned.author.clone(),
                category: planned.category.clone(),
                channel: planned.channel,
                files: planned.files.len(),
                answers: planned.answers.map(|answered| answered + 1),
                sending: Sending::Not {
                    why: "it was not written".to_owned(),
                },
                fates: Vec::new(),
            })
            .collect();
        Self {
            letters: vec![None; mails.len()],
            places: Arc::new(Semaphore::new(stage.scenario.concurrent)),
            stage,
            mails,
            open: BTreeSet::new(),
            known: HashMap::new(),
            strange: BTreeSet::new(),
            reports: HashMap::new(),
            marks: HashMap::new(),
            retrieving: BTreeMap::new(),
            unread: HashMap::new(),
            reading: BTreeSet::new(),
            again: BTreeSet::new(),
            readers: JoinSet::new(),
            news: false,
            last: None,
        }
    }

    /// Looks until everything is settled; the mails, and what is left to do.
    ///
    /// # Errors
    /// When a reader's program fails.
    pub(crate) async fn watch(
        mut self,
        mut sent: mpsc::Receiver<Sent>,
    ) -> anyhow::Result<(Vec<Mail>, Vec<Left>)> {
        let mut deadline = None;
        let mut pause = LOOK;
        loop {
            let began = Instant::now();
            let written = self.take(&mut sent);
            // Once nothing happens any more, nobody is left out.
            let whom = if pause > LOOK {
                Whom::Parties
            } else {
                Whom::Touched
            };
            self.look(whom).await?;
            if written {
                let patience = Duration::from_secs(self.stage.scenario.patience);
                let deadline = *deadline.get_or_insert(Instant::now() + patience);
                let late = Instant::now() >= deadline;
                if late || self.is_settled() {
                    self.look(Whom::Everybody).await?;
                    let left = self.left().await;
                    if late || left.iter().all(|left| left.waiting.is_empty()) {
                        self.look_for_the_last_time().await?;
                        return Ok((self.mails, left));
                    }
                }
            }
            // While nothing happens the pauses grow.
            pause = if std::mem::take(&mut self.news) {
                LOOK
            } else {
                (pause * 5 / 4).min(self.longest())
            };
            let took = (began.elapsed() * 4).min(self.longest());
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause.max(took)) => {}
                // A mail ends a long pause.
                one = sent.recv(), if pause > LOOK && !written => one.into_iter().for_each(|one| self.note(one)),
            }
        }
    }

    /// Looks once more at everybody: what came a second time must not be missed, nor what is there no more, nor what can be read although its
    /// author was told that it did not come.
    async fn look_for_the_last_time(&mut self) -> anyhow::Result<()> {
        self.finish_reading().await?;
        self.last = Some(Listed::default());
        self.look(Whom::Everybody).await?;
        self.finish_reading().await?;
        let listed = self.last.take().unwrap_or_default();
        for (number, mail) in self.mails.iter_mut().enumerate() {
            let author = listed.people.contains(&mail.author.to_string());
            for (index, fate) in mail.fates.iter_mut().enumerate() {
                let place = (number, index);
                if author && !listed.reports.contains(&place) {
                    fate.reports = 0;
                }
                let is_known = listed.people.contains(&fate.recipient.to_string());
                if is_known && !listed.copies.contains_key(&place) {
                    fate.copies = 0;
                }
            }
        }
        self.read_again(listed.copies).await
    }

    /// Waits for everybody who reads, and takes note of what they have read; whoever takes too long is left out.
    async fn finish_reading(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + LAST_READINGS;
        while let Ok(Some(read)) = timeout_at(until, self.readers.join_next()).await {
            let (place, reading, at) = read.context("a reader's program failed")?;
            self.read(place, reading, at);
        }
        self.readers.shutdown().await;
        self.reading.clear();
        Ok(())
    }

    /// Has some of what was as it was written be read once more. Where no node answers it is not known whether it is still there.
    async fn read_again(&mut self, copies: BTreeMap<Place, String>) -> anyhow::Result<()> {
        let equal = copies.into_iter().filter(|((mail, index), _)| {
            let reading = &self.mails[*mail].fates[*index].reading;
            matches!(reading, Reading::Equal { .. })
        });
        let equal: Vec<(Place, String)> = equal.collect();
        let mut chance = StdRng::seed_from_u64(self.stage.scenario.seed);
        let mut readers = JoinSet::new();
        for (place, message) in equal.sample(&mut chance, READ_AGAIN) {
            let place = *place;
            if let Some(reader) = self.reader(place, message.clone()) {
                readers.spawn(async move { (place, reader.await) });
            }
        }
        let until = Instant::now() + LAST_READINGS;
        while let Ok(Some(read)) = timeout_at(until, readers.join_next()).await {
            let ((mail, index), read) = read.context("a reader's program failed")?;
            let error = read.as_ref().err();
            let error = error.and_then(|error| error.downcast_ref::<ReadError>());
            if !matches!(error, Some(ReadError::App(AppError::Https { .. }))) {
                self.mails[mail].fates[index].reading = reading(read);
            }
        }
        Ok(())
    }

    fn longest(&self) -> Duration {
        let [real, made_up] = LONGEST;
        match self.stage.reading {
            How::Saved => real,
            How::InMemory => made_up,
        }
    }

    /// Takes note of what was written; whether everything was.
    fn take(&mut self, sent: &mut mpsc::Receiver<Sent>) -> bool {
        loop {
            match sent.try_recv() {
                Ok(sent) => self.note(sent),
                Err(mpsc::error::TryRecvError::Empty) => return false,
                Err(mpsc::error::TryRecvError::Disconnected) => return true,
            }
        }
    }

    fn note(&mut self, sent: Sent) {
        self.news = true;
        let mail = &mut self.mails[sent.mail];
        if let Sending::Accepted { message_id, .. } = &sent.sending {
            self.known.insert(message_id.clone(), sent.mail);
            let to = &self.stage.plan.mails[sent.mail].to;
            mail.fates = to.iter().cloned().map(Fate::open).collect();
            self.letters[sent.mail] = Some(Arc::new(sent.letter));
            if self.strange.remove(message_id) {
                for recipient in to {
                    self.marks.remove(&recipient.to_string());
                }
            }
            let author = mail.author.to_string();
            let mut reports = self.reports.get(&author).into_iter().flat_map(BTreeMap::values);
            if reports.any(|report| report.about == *message_id) {
                self.marks.remove(&author);
            }
            self.open.insert(sent.mail);
        } else {
            self.stage.replies.is_over(sent.mail);
            self.stage
                .view
                .expects_less(self.stage.plan.mails[sent.mail].to.len());
        }
        mail.sending = sent.sending;
    }

    /// Who is asked, and for what. Who is asked for nothing tries again to read what has come.
    fn asked(&mut self, whom: Whom) -> BTreeMap<String, Wanted> {
        let people: BTreeSet<String> = match whom {
            Whom::Everybody => self
                .stage
                .everybody()
                .into_iter()
                .map(ToString::to_string)
                .collect(),
            Whom::Parties | Whom::Touched => {
                let open = self.open.iter().map(|mail| &self.mails[*mail]);
                let parties = open.flat_map(|mail| {
                    let recipients = mail.fates.iter().map(|fate| &fate.recipient);
                    std::iter::once(&mail.author).chain(recipients)
                });
                parties.map(ToString::to_string).collect()
            }
        };
        let mut asked = BTreeMap::new();
        for person in people {
            let homes = self.stage.homes(&person);
            let marks: Vec<Marks> = homes.iter().map(Home::marks).collect();
            let before = self.marks.insert(person.clone(), marks.clone());
            let app = self.stage.app_of(&person);
            let wanted = match whom {
                Whom::Everybody => Wanted::everything(app),
                Whom::Touched if before.as_ref() == Some(&marks) && !homes.is_empty() => continue,
                Whom::Touched if !homes.is_empty() => touched(homes, &before.unwrap_or_default(), &marks),
                Whom::Parties | Whom::Touched => Wanted::news(app),
            };
            asked.insert(person, wanted);
        }
        asked
    }

    /// Asks people, and lets them read what has come.
    async fn look(&mut self, whom: Whom) -> anyhow::Result<()> {
        let mut looking = JoinSet::new();
        for (name, nodes) in self.asked(whom) {
            let app = self.stage.app_of(&name).clone();
            let known = self.reports.get(&name).into_iter().flat_map(BTreeMap::keys);
            let known = known.cloned().collect();
            looking.spawn(async move {
                let seen = ask(&app, nodes, &known).await;
                (name, seen)
            });
        }
        let mut waiting = Vec::new();
        while let Some(seen) = looking.join_next().await {
            let (name, seen) = seen.context("somebody's program failed")?;
            self.see(&name, seen, &mut waiting);
        }
        while let Some(read) = self.readers.try_join_next() {
            let (place, reading, at) = read.context("a reader's program failed")?;
            self.read(place, reading, at);
        }
        for (place, message) in waiting {
            self.begin_to_read(place, message);
        }
        let (mails, replies) = (&self.mails, &self.stage.replies);
        self.open.retain(|mail| {
            let is_over = mails[*mail].fates.iter().all(Fate::is_settled);
            if is_over {
                replies.is_over(*mail);
            }
            !is_over
        });
        let now = Duration::from_millis(self.stage.now());
        self.stage.view.stands(&self.mails, now);
        Ok(())
    }

    /// Takes note of what a person sees; what they can try to read now.
    fn see(&mut self, name: &str, seen: Seen, waiting: &mut Vec<(Place, String)>) {
        let now = self.stage.now();
        if seen.is_partial {
            self.marks.remove(name);
        }
        if let Some(messages) = &seen.messages {
            let mut copies: BTreeMap<usize, Vec<&Message>> = BTreeMap::new();
            for message in messages {
                match self.known.get(&message.message_id) {
                    Some(mail) => copies.entry(*mail).or_default().push(message),
                    None if message.placeholder.is_some() => {
                        self.strange.insert(message.message_id.clone());
                    }
                    None => {}
                }
            }
            for (mail, copies) in copies {
                let fates = self.mails[mail].fates.iter_mut().enumerate();
                for (index, fate) in fates.filter(|(_, fate)| fate.recipient.to_string() == name) {
                    if let (Some(listed), Some(first)) = (&mut self.last, copies.last()) {
                        listed.copies.insert((mail, index), first.id.clone());
                    }
                    fate.copies = copies.len();
                    self.news |= fate.delivered_at.is_none();
                    fate.delivered_at.get_or_insert(now);
                    let mut told = copies.iter().rev().filter_map(|copy| copy.placeholder.as_ref());
                    fate.destination = told
                        .next()
                        .and_then(|placeholder| placeholder.destination.clone());
                    let tried = matches!(fate.reading, Reading::Equal { .. } | Reading::Different { .. });
                    if let Some(first) = copies.last().filter(|_| !tried) {
                        let unread = self.unread.entry(name.to_owned()).or_default();
                        unread.insert((mail, index), first.id.clone());
                    }
                }
            }
        }
        // Its content may have come since.
        let unread = self.unread.get(name).into_iter().flatten();
        waiting.extend(unread.map(|(place, message)| (*place, message.clone())));
        let reports = self.reports.entry(name.to_owned()).or_default();
        reports.extend(seen.reports);
        if let (Some(listed), Some(messages)) = (&mut self.last, &seen.messages) {
            listed.people.insert(name.to_owned());
            let there: BTreeSet<&String> = messages.iter().map(|message| &message.id).collect();
            reports.retain(|message, _| there.contains(message));
        }
        let mut told: BTreeMap<Place, usize> = BTreeMap::new();
        for report in reports.values() {
            let Some(mail) = self.known.get(&report.about) else {
                continue;
            };
            // Only its author is to be told.
            if self.mails[*mail].author.to_string() != name {
                continue;
            }
            for (index, fate) in self.mails[*mail].fates.iter().enumerate() {
                let recipient = fate.recipient.to_string();
                *told.entry((*mail, index)).or_default() += report
                    .recipients
                    .iter()
                    .filter(|named| **named == recipient)
                    .count();
            }
        }
        for ((mail, index), count) in told {
            let fate = &mut self.mails[mail].fates[index];
            fate.reports = count;
            if count > 0 {
                if let Some(listed) = &mut self.last {
                    listed.reports.insert((mail, index));
                }
                self.news |= fate.reported_at.is_none();
                fate.reported_at.get_or_insert(now);
            }
        }
        for share in &seen.shares {
            if let Some(mail) = self.known.get(&share.message_id) {
                let fates = self.mails[*mail].fates.iter_mut();
                for fate in fates.filter(|fate| share.received_by.contains(&fate.recipient)) {
                    self.news |= fate.acknowledged_at.is_none();
                    fate.acknowledged_at.get_or_insert(now);
                }
            }
        }
        for (mailbox, retrievals) in seen.retrievals {
            let on_their_way =
                retrievals.map(|all| all.iter().filter(|one| !one.progress.is_final()).count());
            let place = (name.to_owned(), mailbox.to_string());
            self.retrieving.insert(place, on_their_way);
        }
    }

    fn begin_to_read(&mut self, place: Place, message: String) {
        let Some(reader) = self.reader(place, message) else {
            return;
        };
        if !self.reading.insert(place) {
            self.again.insert(place);
            return;
        }
        let stage = self.stage.clone();
        self.readers
            .spawn(async move { (place, reading(reader.await), stage.now()) });
    }

    /// A recipient who reads when it is their turn: the octets that are what was written. None while it is not known what that was.
    fn reader(
        &self,
        (mail, index): Place,
        message: String,
    ) -> Option<impl Future<Output = anyhow::Result<u64>> + Send + use<>> {
        let letter = self.letters[mail].clone()?;
        let reader = self.stage.app(&self.mails[mail].fates[index].recipient).clone();
        let into = self.stage.folder.join("read").join(format!("{mail}-{index}"));
        let (how, places) = (self.stage.reading, self.places.clone());
        Some(async move {
            let _turn = places.acquire().await.expect("nobody closes it");
            read(&reader, &message, &letter, into, how).await
        })
    }

    fn read(&mut self, place: Place, reading: Reading, at: u64) {
        let (mail, index) = place;
        self.reading.remove(&place);
        let fate = &mut self.mails[mail].fates[index];
        fate.reading = reading;
        if matches!(fate.reading, Reading::Equal { .. } | Reading::Different { .. })
            && let Some(unread) = self.unread.get_mut(&fate.recipient.to_string())
        {
            unread.remove(&place);
        } else if self.again.remove(&place) {
            self.marks.remove(&fate.recipient.to_string());
        }
        if matches!(fate.reading, Reading::Equal { .. }) {
            self.news = true;
            fate.read_at = Some(at);
            let planned = &self.stage.plan.mails;
            if let Some(answer) = planned[mail].answered_by
                && planned[answer].author == fate.recipient
                && let Sending::Accepted { message_id, .. } = &self.mails[mail].sending
            {
                self.stage.replies.read(mail, message_id);
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.open.is_empty() && self.reading.is_empty()
    }

    /// What waits to be sent at each broker, and to be retrieved for each person.
    async fn left(&self) -> Vec<Left> {
        let mut left = Vec::new();
        for (site, administration) in &self.stage.brokers {
            let waiting = match administration.queue().await {
                Ok(queue) => queue
                    .into_iter()
                    .filter(|entry| entry.delivery == Delivery::Waiting)
                    .map(|entry| {
                        format!(
                            "{} to {} waits after {} tries: {}",
                            entry.message_id, entry.recipient, entry.failed, entry.last
                        )
                    })
                    .collect(),
                Err(error) => vec![format!("its queue cannot be known: {error}")],
            };
            left.push(Left {
                place: format!("broker of {site}"),
                waiting,
            });
        }
        for ((person, mailbox), count) in &self.retrieving {
            let waiting = match count {
                Some(0) => Vec::new(),
                Some(count) => vec![format!("{count} retrievals are on their way")],
                None => vec!["the retrievals cannot be known: the mailbox does not answer".to_owned()],
            };
            left.push(Left {
                place: format!("retrievals of {person} at {mailbox}"),
                waiting,
            });
        }
        left
    }
}

/// What has changed at a person's nodes, as far as it says what became of mails.
fn touched(homes: &[Home], before: &[Marks], now: &[Marks]) -> Wanted {
    let mut wanted = Wanted::default();
    for (place, (home, now)) in homes.iter().zip(now).enumerate() {
        let before = before.get(place).copied().unwrap_or_default();
        if home.is_broker && (before.folders, before.messages) != (now.folders, now.messages) {
            let folders = FOLDERS.into_iter().zip(now.folders);
            let used = folders.filter(|(_, mark)| mark.is_set());
            wanted.folders.extend(used.map(|(folder, _)| folder));
        }
        let receipts = home.mailbox.iter().filter(|_| before.receipts != now.receipts);
        wanted.shares.extend(receipts.cloned());
    }
    wanted
}

#[cfg(test)]
mod tests;
