//! Writing a placeholder, strictly.

use super::model::{Invalid, Placeholder};

pub(super) fn encode(_placeholder: &Placeholder) -> Result<Vec<u8>, Invalid> {
    todo!()
}
