//! The people write their mails: in the order of the plan, so many at once as the scenario says, while sites stop and
//! start at their points.
//!
//! What always holds: a mail counts as accepted when its author's broker has answered so; a node that is away is tried
//! again with the same message, so that a lost answer makes no second mail.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cargomail_node::app::compose::{ComposeError, Composed};
use cargomail_node::app::{App, Letter, Unwatched, Watch};
use cargomail_protocol::fault::{Fault as Whose, Faulty};
use cargomail_protocol::placeholder::Mailbox;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ground::Ground;
use crate::history::{Act, Fault, Sending};
use crate::hostile;
use crate::run::Stage;
use crate::scenario::How;

/// From a try that failed to the next.
const AGAIN: Duration = Duration::from_millis(300);

/// What became of writing one mail.
pub(crate) struct Sent {
    /// Its place in the plan.
    pub(crate) mail: usize,
    /// Whether it was accepted.
    pub(crate) sending: Sending,
    /// What was written.
    pub(crate) letter: Letter,
}

/// Writes every mail of the plan; which sites were stopped and started meanwhile, and what was done to do harm.
///
/// # Errors
/// When a site does not start again, or nobody could do the harm that the scenario names.
pub(crate) async fn write_all(
    stage: Arc<Stage>,
    ground: &mut Ground,
    out: mpsc::Sender<Sent>,
) -> anyhow::Result<(Vec<Fault>, Vec<Act>)> {
    let places = Arc::new(Semaphore::new(stage.scenario.concurrent));
    let mut writing = JoinSet::new();
    let (mut faults, mut acts) = (Vec::new(), Vec::new());
    let mails = stage.plan.mails.len();
    for mail in 0..mails {
        stage.turn_of(mail).await;
        fail_before(mail + 1, &stage, ground, &mut faults).await?;
        if let Some(world) = ground.world() {
            hostile::act_before(mail + 1, &stage, world, &mut acts).await?;
        }
        // Who has to read something before they answer takes their place then.
        let permit = match stage.plan.mails[mail].answers {
            None => Some(places.clone().acquire_owned().await?),
            Some(_) => None,
        };
        let writer = write(stage.clone(), mail, permit, places.clone());
        let out = out.clone();
        writing.spawn(async move {
            let sent = writer.await;
            // Nobody listens any more only when the run has failed elsewhere.
            let _ = out.send(sent).await;
        });
        // Whoever is done is kept no longer: a task is ten KiB.
        while let Some(written) = writing.try_join_next() {
            written.context("somebody's program failed")?;
        }
    }
    fail_before(mails + 1, &stage, ground, &mut faults).await?;
    let patience = tokio::time::sleep(Duration::from_secs(stage.scenario.patience));
    tokio::pin!(patience);
    let mut is_over = false;
    loop {
        tokio::select! {
            biased;
            written = writing.join_next() => match written {
                Some(written) => written.context("somebody's program failed")?,
                None => break,
            },
            () = &mut patience, if !is_over => {
                is_over = true;
                stage.replies.end();
            }
        }
    }
    Ok((faults, acts))
}

/// Stops and starts the sites whose point this is.
async fn fail_before(
    number: usize,
    stage: &Stage,
    ground: &mut Ground,
    faults: &mut Vec<Fault>,
) -> anyhow::Result<()> {
    for fault in &stage.scenario.faults {
        let site = fault.site.as_str();
        let (begins, is_over) = fault.how.told();
        let what = if fault.stop_before == number {
            ground.fail(fault).await?;
            begins
        } else if fault.start_before == Some(number) {
            ground.mend(fault).await?;
            is_over
        } else {
            continue;
        };
        stage.view.happened(&format!("{site} {what}"), number);
        tracing::info!(site, what, before_mail = number, "as the scenario says");
        let told = |what| Fault {
            site: site.to_owned(),
            with: fault.with.iter().map(ToString::to_string).collect(),
            what,
            before_mail: number,
            at: stage.now(),
        };
        faults.push(told(what));
        if fault.how == How::OldKeyWithdrawn {
            faults.push(told(is_over));
        }
    }
    Ok(())
}

/// Writes one mail. The place is given back between tries, so that those whose nodes are away hold up nobody.
async fn write(
    stage: Arc<Stage>,
    mail: usize,
    mut permit: Option<OwnedSemaphorePermit>,
    places: Arc<Semaphore>,
) -> Sent {
    let mut letter = letter(&stage, mail);
    if let Some(answered) = stage.plan.mails[mail].answers {
        letter.in_reply_to = stage.replies.wait(answered).await;
        if letter.in_reply_to.is_none() {
            return Sent {
                mail,
                sending: Sending::NotDue,
                letter,
            };
        }
        permit = places.clone().acquire_owned().await.ok();
    }
    let author = stage.app(&stage.plan.mails[mail].author);
    let until = Instant::now() + Duration::from_secs(stage.scenario.patience);
    let mut composed = None;
    let sending = loop {
        let error = match hand_in(author, &letter, &mut composed).await {
            Ok(sent) => break accepted(&stage, sent),
            Err(error) => error,
        };
        permit = None;
        if !matches!(error.fault(), Whose::TryLater(_)) || Instant::now() >= until {
            break Sending::Not {
                why: error.to_string(),
            };
        }
        tokio::time::sleep(AGAIN).await;
        match places.clone().acquire_owned().await {
            Ok(place) => permit = Some(place),
            Err(closed) => {
                break Sending::Not {
                    why: closed.to_string(),
                };
            }
        }
    };
    drop(permit);
    Sent {
        mail,
        sending,
        letter,
    }
}

/// Composes the letter, unless that is done already, and gives it to the broker.
async fn hand_in<'a>(
    author: &App,
    letter: &Letter,
    composed: &'a mut Option<Composed>,
) -> Result<&'a Composed, ComposeError> {
    let ready = match composed.take() {
        Some(ready) => ready,
        None => {
            let unwatched: Arc<dyn Watch> = Arc::new(Unwatched);
            author.compose(letter, &unwatched).await?
        }
    };
    let ready = composed.insert(ready);
    author.hand_over(ready, letter.channel).await?;
    Ok(ready)
}

fn accepted(stage: &Stage, sent: &Composed) -> Sending {
    Sending::Accepted {
        message_id: sent.message_id.clone(),
        origin: sent.origin.clone(),
        resources: sent
            .resources
            .iter()
            .map(|part| part.posted.cid.clone())
            .collect(),
        octets: sent.resources.iter().map(|part| part.posted.size).sum(),
        at: stage.now(),
    }
}

fn letter(stage: &Stage, mail: usize) -> Letter {
    let planned = &stage.plan.mails[mail];
    let mut letter = Letter::new(planned.category.clone());
    letter.to = planned.to.iter().cloned().map(Mailbox::bare).collect();
    letter.subject = match planned.answers {
        Some(answered) => format!("Re: Mail {}", answered + 1),
        None => format!("Mail {}", mail + 1),
    };
    letter.text = Some(stage.plan.text(mail));
    letter.files = planned.files.iter().map(|file| stage.file(*file)).collect();
    letter.origin.clone_from(&planned.origin);
    letter.channel = Some(planned.channel);
    letter
}
