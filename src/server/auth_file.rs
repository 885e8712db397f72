//! The file of `-Y`: a line `USER:PASSWORD` for each who may log in.

use std::path::Path;

use super::Refusal;
use crate::session::credentials::Credential;

/// Lines, at most. memcached reads eight and forgets the rest.
const ENTRIES_MAX: usize = 256;

/// Bytes of a line, at most.
const LINE_SIZE_MAX: usize = 255;

/// Reads the file. What is refused says where it is wrong, and nothing of what is there.
pub(super) fn read(file: &Path) -> Result<Vec<Credential>, Refusal> {
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
        entries.push(Credential {
            user: line[..colon].to_owned(),
            password: line[colon + 1..].to_owned(),
        });
    }
    if entries.len() > ENTRIES_MAX {
        return Err(refused(format!(
            "Authfile [{name}] has more than {ENTRIES_MAX} entries"
        )));
    }
    Ok(entries)
}
