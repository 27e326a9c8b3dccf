//! The codes with which the command line ends.

use std::process::ExitCode;

use cargomail_protocol::fault::{Fault, Faulty};

use crate::accounts::AccountError;
use crate::app::{AppError, ComposeError, ReadError};
use crate::keeping::{CollectError, HoldError};

/// What stands below every help.
pub(super) const HELP: &str = "\
Codes: 0 done, 1 failed, 2 wrong usage, 3 not allowed or not logged in, 4 not there, 5 a check found something wrong, 75 try again later.
Logs go to standard error; CARGOMAIL_LOG=debug says more.";

/// A check that was asked for found something wrong; what it found is printed already.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CheckFailed(pub String);

/// What was asked for is not there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotThere(pub String);

/// What was asked for cannot be told now, and may be later.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Later(pub String);

/// The code for an error.
#[must_use]
pub fn code(error: &anyhow::Error) -> ExitCode {
    let own = error.chain().find_map(|cause| {
        let codes = [
            (cause.is::<CheckFailed>(), 5),
            (cause.is::<NotThere>(), 4),
            (cause.is::<Later>(), 75),
        ];
        codes.into_iter().find(|(is, _)| *is)
    });
    if let Some((_, code)) = own {
        return ExitCode::from(code);
    }
    let fault = error.chain().find_map(|cause| {
        fault::<AppError>(cause)
            .or_else(|| fault::<ComposeError>(cause))
            .or_else(|| fault::<ReadError>(cause))
            .or_else(|| fault::<AccountError>(cause))
            .or_else(|| fault::<HoldError>(cause))
            .or_else(|| fault::<CollectError>(cause))
    });
    ExitCode::from(match fault {
        Some(Fault::Unauthenticated | Fault::Refused | Fault::NoSuchUser) => 3,
        Some(Fault::NotFound) => 4,
        Some(Fault::TryLater(_)) => 75,
        _ => 1,
    })
}

fn fault<E: Faulty + 'static>(cause: &(dyn std::error::Error + 'static)) -> Option<Fault> {
    cause.downcast_ref::<E>().map(Faulty::fault)
}
