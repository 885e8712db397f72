//! The file of `-Y` or `-S`: a line `USER:PASSWORD` for each who may log in.
//!
//! For SASL memcached lets more fields follow, so the password ends at any later colon there as well as at the line's end.

use std::path::Path;

use super::Refusal;
use crate::session::credentials::Credential;

/// Lines, at most. memcached reads eight and forgets the rest.
const ENTRIES_MAX: usize = 256;

/// Bytes of a line, at most.
const LINE_SIZE_MAX: usize = 255;

/// Reads the file. What is refused says where it is wrong, and nothing of what is there.
pub(super) fn read(file: &Path, is_sasl: bool) -> Result<Vec<Credential>, Refusal> {
    let name = file.display();
    let refused = |message: String| Refusal { message, code: 1 };
    let text = std::fs::read(file).map_err(|error| {
        refused(format!(
            "Could not open authfile [{name}] for reading, error {error}"
        ))
    })?;
    let lines = text
        .strip_suffix(b"\n")
        .unwrap_or(&text)
        .split(|byte| *byte == b'\n');
    let mut entries = Vec::new();
    for line in lines.take_while(|_| !text.is_empty()) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = line.iter().position(|byte| *byte == b':');
        let Some(colon) = colon.filter(|_| line.len() <= LINE_SIZE_MAX) else {
            let message = format!("Authfile [{name}] has a malformed entry. Should be 'user:password'");
            return Err(refused(message));
        };
        let (user, rest) = (&line[..colon], &line[colon + 1..]);
        let fields = (0..rest.len()).filter(|&at| is_sasl && rest[at] == b':');
        entries.extend(fields.chain([rest.len()]).map(|end| Credential {
            user: user.to_owned(),
            password: rest[..end].to_owned(),
        }));
    }
    if entries.len() > ENTRIES_MAX {
        return Err(refused(format!(
            "Authfile [{name}] has more than {ENTRIES_MAX} entries"
        )));
    }
    Ok(entries)
}
