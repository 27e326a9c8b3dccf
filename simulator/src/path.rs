//! Ways that things can go. A scenario that was made to show one says so: if nothing went that way, it has shown nothing.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A way that things can go, as the log of the nodes tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// A broker took a message by the web channel.
    WebChannel,
    /// A broker took a message by SMTP.
    Smtp,
    /// A broker gave a message by SMTP because the web channel that the DNS names stayed away.
    SmtpInstead,
    /// A message could not be given to a broker at once.
    SentLater,
    /// A message came again, and was answered as before.
    CameAgain,
    /// A destination could not be told of a mail at once.
    ToldLater,
    /// A destination could not have everything at once.
    FetchedLater,
    /// A fetch went on behind what the destination had.
    GoneOn,
    /// A destination had everything, and asked for permission alone.
    AlreadyThere,
    /// An origin could not be believed.
    NotBelieved,
    /// A message, a notification or a fetch was refused for good.
    Refused,
    /// A peer was cut off that sent what nobody may send, or took nothing.
    CutOff,
    /// Something was refused for want of room.
    NoRoom,
    /// A message went to junk.
    Junk,
    /// An author was told that a mail has not arrived.
    Reported,
}

impl Path {
    /// Its name in scenarios and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebChannel => "web-channel",
            Self::Smtp => "smtp",
            Self::SmtpInstead => "smtp-instead",
            Self::SentLater => "sent-later",
            Self::CameAgain => "came-again",
            Self::ToldLater => "told-later",
            Self::FetchedLater => "fetched-later",
            Self::GoneOn => "gone-on",
            Self::AlreadyThere => "already-there",
            Self::NotBelieved => "not-believed",
            Self::Refused => "refused",
            Self::CutOff => "cut-off",
            Self::NoRoom => "no-room",
            Self::Junk => "junk",
            Self::Reported => "reported",
        }
    }

    /// Whether a line of a node's log tells of it: the message, and its fields, each with a space before it.
    fn is_told(self, message: &str, fields: &str) -> bool {
        let has = |field: &str| fields.split(' ').any(|one| one == field);
        match self {
            Self::WebChannel => message == "accepted" && fields.contains(" how=web channel "),
            Self::Smtp => message == "accepted" && has("how=smtp"),
            Self::SmtpInstead => message == "the web channel that the DNS names stays away: SMTP",
            Self::SentLater => message == "not given yet",
            Self::CameAgain => message == "came again; the answer is the same",
            Self::ToldLater => message == "the destination could not be told yet",
            Self::FetchedLater => message == "not yet" && has("step=retrieve"),
            Self::GoneOn => {
                message == "a fetch is granted" && fields.contains(" skipped=") && !has("skipped=0")
            }
            Self::AlreadyThere => message == "a fetch is granted" && has("wanted=0"),
            Self::NotBelieved => message == "the origin cannot be believed",
            Self::Refused => matches!(
                message,
                "a message was not taken"
                    | "a recipient was refused"
                    | "a notification was refused"
                    | "a peer was refused"
            ),
            Self::CutOff => message == "a peer was cut off",
            Self::NoRoom => message == "a request was refused for want of room",
            Self::Junk => message == "accepted" && has("folder=junk"),
            Self::Reported => message == "the sender is told",
        }
    }

    /// Those of which a line of a node's log tells.
    pub(crate) fn told_by(message: &str, fields: &str) -> impl Iterator<Item = Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(move |path| path.is_told(message, fields))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(message: &str, fields: &str) -> Vec<&'static str> {
        Path::told_by(message, fields).map(Path::name).collect()
    }

    #[test]
    fn a_line_tells_of_what_it_says_and_of_nothing_else() {
        let taken =
            " message_id=<1@foo.test> step=accept recipient=bob@bar.test how=web channel folder=junk entry=7";
        assert_eq!(told("accepted", taken), ["web-channel", "junk"]);
        let sent = " message_id=<1@foo.test> step=send domain=bar.test recipient=bob@bar.test";
        assert_eq!(told("accepted", sent), [] as [&str; 0]);
        let granted = |rest: &str| format!(" agent=_rra.bar.test resources=3 {rest}");
        assert_eq!(
            told("a fetch is granted", &granted("wanted=1 skipped=0")),
            [] as [&str; 0]
        );
        assert_eq!(
            told("a fetch is granted", &granted("wanted=1 skipped=10")),
            ["gone-on"]
        );
        assert_eq!(
            told("a fetch is granted", &granted("wanted=0")),
            ["already-there"]
        );
        assert_eq!(told("not yet", " step=receipt due=1"), [] as [&str; 0]);
        assert_eq!(told("not yet", " step=retrieve due=1"), ["fetched-later"]);
    }

    #[test]
    fn every_name_is_the_one_that_scenarios_are_read_with() {
        for path in Path::value_variants() {
            let read: Path = serde_json::from_value(path.name().into()).expect("a name");
            assert_eq!(read, *path);
        }
    }
}
